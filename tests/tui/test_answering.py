"""Which version answers in the app: accepted, followed where it moves, replaced by the base where it cannot."""

from __future__ import annotations

from pathlib import Path

import pytest

from sessions.engine.fake import FakeEngine
from sessions.protocol import BASE
from sessions.registry import Registry
from sessions.settings import Settings, load
from sessions.workspace import Workspace
from tests.tui import worlds
from tests.tui.driving import Driven, driven, paths_in
from tui.widgets.dialogs import Confirm


def header(it: Driven) -> str:
    return it.shown().splitlines()[0]


def elsewhere(it: Driven) -> Workspace:
    """Another terminal on the same home."""
    return Workspace(it.app.workspace.paths, load(it.app.workspace.paths.config))


async def test_a_rename_elsewhere_changes_the_name_and_nothing_else(tmp_path: Path) -> None:
    paths = paths_in(tmp_path)
    Registry(paths).use(worlds.publish(paths))
    async with driven(tmp_path) as it:
        await it.ask("hello")
        elsewhere(it).rename("mine", "ours")
        worlds.publish(paths)
        await it.until(lambda: header(it).endswith("ours/v1 "))
        await it.ask("again")
        assert it.last.reply == "ours/v1 heard: again"
        await it.until(lambda: it.shown().count("ours/v1 ·") == 2 and "mine/v1 ·" not in it.shown())
        assert it.app.workspace.settings.adapter == "ours"
    async with driven(tmp_path, settings=load(paths.config)) as it:
        assert it.app.adapter == "ours/v1"


async def test_a_rename_in_the_app_goes_on_with_the_same_version(tmp_path: Path) -> None:
    paths = paths_in(tmp_path)
    Registry(paths).use(worlds.publish(paths))
    async with driven(tmp_path) as it:
        await it.ask("hello")
        it.app.workspace.rename("mine", "ours")
        await it.app.answering.follow()
        assert it.app.adapter == "ours/v1"
        await it.until(lambda: "ours/v1 ·" in it.shown() and header(it).endswith("ours/v1 "))


async def test_a_removal_elsewhere_leaves_the_base_and_says_so(tmp_path: Path) -> None:
    paths = paths_in(tmp_path)
    Registry(paths).use(worlds.publish(paths))
    async with driven(tmp_path) as it:
        elsewhere(it).remove("mine")
        await it.until(lambda: "The base answers: mine/v1 was removed." in it.shown() and header(it).endswith("base "))
        await it.ask("hello")
        assert it.last.reply == "base heard: hello" and it.last.adapter == BASE
        assert "The base answers: mine/v1 was removed." in it.shown()


async def test_a_version_that_cannot_be_loaded_is_not_used_silently(tmp_path: Path) -> None:
    paths = paths_in(tmp_path)
    Registry(paths).use(worlds.publish(paths))
    async with driven(tmp_path, FakeEngine(known=())) as it:
        await it.until(lambda: "The base answers: There is no adapter mine/v1." in it.shown())
        assert it.app.adapter == BASE and Registry(paths).current("mine") == "mine/v1"


async def test_a_damaged_lineage_is_told_at_the_start(tmp_path: Path) -> None:
    paths = paths_in(tmp_path)
    Registry(paths).use(worlds.publish(paths))
    (paths.adapter("mine", 1) / "lineage.json").write_bytes(b"{")
    async with driven(tmp_path) as it:
        await it.until(lambda: "The version of mine that you accepted" in " ".join(it.shown().split()))
        assert it.app.adapter == BASE


async def test_a_version_that_failed_is_used_only_after_a_question(tmp_path: Path) -> None:
    paths = paths_in(tmp_path)
    made = worlds.publish(paths, gate=worlds.FAILED)
    async with driven(tmp_path, size=(100, 30)) as it:
        for answer, adapter in (("n", BASE), ("y", made)):
            await it.say(f"/adapter {made}")
            await it.until(lambda: isinstance(it.app.screen, Confirm))
            assert "9 of 30 earlier replies were lost." in it.shown()
            await it.pilot.press(answer)
            await it.until(lambda: not isinstance(it.app.screen, Confirm))
            await it.until(lambda adapter=adapter: it.app.adapter == adapter)
        await it.say("/adapter base")
        await it.until(lambda: it.app.adapter == BASE)
        await it.say(f"/adapter {made}!")
        await it.until(lambda: it.app.adapter == made)


async def test_the_offered_version_is_meant_by_its_name(tmp_path: Path) -> None:
    made = worlds.publish(paths_in(tmp_path), offer=True, gate=worlds.PASSED)
    async with driven(tmp_path) as it:
        await it.until(lambda: f"{made} ready: Ctrl+G" in header(it))
        assert "99 of 100 general replies unchanged" in " ".join(it.shown().split())
        await it.say("/adapter mine")
        await it.until(lambda: it.app.adapter == made and "ready" not in header(it))


@pytest.mark.parametrize("key", ["f3", "f4", "f5", "f6"])
async def test_an_offer_is_accepted_from_any_screen(tmp_path: Path, key: str) -> None:
    made = worlds.publish(paths_in(tmp_path), offer=True)
    async with driven(tmp_path) as it:
        await it.pilot.press(key)
        await it.until(lambda: f"base  {made} ready: Ctrl+G" in header(it))
        await it.pilot.press("ctrl+g")
        await it.until(lambda: header(it).endswith(f"{made} "))
        assert Registry(it.app.workspace.paths).current("mine") == made


@pytest.mark.parametrize("width", [30, 40, 64, 80, 120, 200])
async def test_what_answers_is_shown_at_any_width(tmp_path: Path, width: int) -> None:
    paths = paths_in(tmp_path)
    name = "a-name-that-is-far-too-long-to-be-shown-whole"
    Registry(paths).use(worlds.publish(paths, name))
    worlds.publish(paths, offer=True)
    async with driven(tmp_path, size=(width, 24), settings=Settings(adapter=name)) as it:
        await it.app.actions.set("strength 0.7")
        for key in ("f2", "f3", "f4", "f5", "f6"):
            await it.pilot.press(key)
            await it.until(lambda: "/v1 x0.7" in header(it))
        assert ("mine/v1 ready: Ctrl+G" in header(it)) == (width in (64, 120, 200))
        await it.pilot.resize_terminal(80, 24)
        await it.until(lambda: "/v1 x0.7" in header(it))


async def test_the_status_says_what_answers_and_what_is_ready(tmp_path: Path) -> None:
    paths = paths_in(tmp_path)
    Registry(paths).use(worlds.publish(paths))
    worlds.publish(paths, offer=True)
    async with driven(tmp_path, size=(120, 40)) as it:
        await it.say("/set strength 0.7")
        await it.say("/status")
        await it.until(lambda: "answers    mine/v1 x0.7 · mine/v2 is ready: ctrl+g uses it" in it.shown())
