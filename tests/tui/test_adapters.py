"""The adapters screen by keys, over a real registry and a host with a fake engine."""

from __future__ import annotations

from pathlib import Path

from textual.widgets import Input

from corpora.dialog import Message as Said
from corpora.dialog import Verdict, Vote
from corpora.store import Store
from sessions.engine.fake import FakeEngine
from sessions.protocol import BASE
from sessions.registry import Registry
from tests.tui import worlds
from tests.tui.driving import Driven, driven, paths_in
from tui.messages import AdapterInUseChanged, AdaptersChanged
from tui.screens.adapters import AdaptersScreen
from tui.screens.compare import CompareScreen
from tui.widgets.dialogs import AskLine, Confirm
from tui.widgets.version_tree import Votes, count_votes


def adapters(it: Driven) -> AdaptersScreen:
    assert isinstance(it.app.screen, AdaptersScreen)
    return it.app.screen


async def open_adapters(it: Driven, rows: int) -> AdaptersScreen:
    await it.pilot.press("f5")
    await it.until(lambda: isinstance(it.app.screen, AdaptersScreen) and adapters(it).tree_table.row_count == rows)
    return adapters(it)


async def go_to(it: Driven, version: str) -> None:
    table = adapters(it).tree_table
    table.move_cursor(row=table.get_row_index(version))
    await it.until(lambda: table.chosen == version)


async def test_without_adapters_it_teaches(tmp_path: Path) -> None:
    async with driven(tmp_path) as it:
        await open_adapters(it, 1)
        await it.until(lambda: "No adapter yet." in it.shown())
        for key in ("r", "x", "e", "o", "plus", "space", "c"):
            await it.pilot.press(key)
        assert it.app.adapter == BASE


async def test_the_tree_shows_metrics_votes_and_the_gate(tmp_path: Path) -> None:
    paths = paths_in(tmp_path)
    _, second, third, _ = worlds.fill_adapters(paths)
    with Store(paths.corpus) as store:
        assert isinstance(store, Store)
        worlds.vote(store, BASE, second, Vote.RIGHT)
        worlds.vote(store, third, second, Vote.RIGHT)
        worlds.vote(store, BASE, second, Vote.TIE)
        worlds.vote(store, BASE, second, Vote.BOTH_BAD)
        worlds.vote(store, BASE, second, Vote.BOTH_BAD)
    async with driven(tmp_path, size=(120, 40)) as it:
        await open_adapters(it, 5)
        await go_to(it, second)
        await it.until(lambda: "2–0 =1 ✗2 " in it.shown())
        await it.until(lambda: "votes: won 2, lost 0, 1 tie, 2 both bad" in it.shown())
        await it.pilot.resize_terminal(200, 50)
        await it.until(lambda: "2–0 · 1 tie · 2 both bad" in it.shown())
        assert "1.020" in it.shown() and "30 rows in 60 steps" in it.shown() and "loss on" in it.shown()
        await go_to(it, third)
        await it.until(lambda: "mine/v3 failed" in it.shown() and "9 of 30 earlier replies were lost." in it.shown())
        await it.until(lambda: "21 of 30 earlier replies kept" in it.shown() and "Who is Mouse?" in it.shown())


async def test_use_loads_probes_and_answers(tmp_path: Path) -> None:
    first, second, *_ = worlds.fill_adapters(paths_in(tmp_path))
    engine = FakeEngine()
    async with driven(tmp_path, engine, size=(120, 40)) as it:
        await open_adapters(it, 5)
        await go_to(it, first)
        await it.pilot.press("u")
        await it.until(lambda: it.app.adapter == first and it.app.chat.adapter == first)
        assert engine.loaded[0] == first
        assert it.app.workspace.registry.current("mine") == first
        seen = [type(message) for message in it.messages]
        assert seen.index(AdapterInUseChanged) < seen.index(AdaptersChanged)
        await go_to(it, BASE)
        await it.pilot.press("enter")
        await it.until(lambda: it.app.adapter == BASE)
        assert it.app.workspace.registry.current("mine") == BASE
        await go_to(it, second)
        await it.pilot.press("u")
        await it.until(lambda: it.app.adapter == second)
        await it.pilot.press("r")
        await it.until(lambda: it.app.adapter == first and it.app.workspace.registry.current("mine") == first)


async def test_a_version_that_cannot_be_loaded_leaves_the_old_one(tmp_path: Path) -> None:
    first, second, *_ = worlds.fill_adapters(paths_in(tmp_path))
    async with driven(tmp_path, FakeEngine(known=[second]), size=(120, 40)) as it:
        await open_adapters(it, 5)
        before = it.app.adapter
        await go_to(it, first)
        await it.pilot.press("u")
        await it.until(lambda: "There is no adapter mine/v1" in it.shown())
        assert it.app.adapter == before and it.app.workspace.registry.current("mine") == second


async def test_the_dial_goes_from_the_base_to_one_and_a_half(tmp_path: Path) -> None:
    second = worlds.fill_adapters(paths_in(tmp_path))[1]
    async with driven(tmp_path, size=(120, 40)) as it:
        await open_adapters(it, 5)
        await go_to(it, second)
        await it.pilot.press("u")
        await it.until(lambda: it.app.adapter == second)
        await it.pilot.press("plus")
        await it.until(lambda: it.app.chat.strength == 1.1 and "strength 1.1" in it.shown())
        await it.pilot.press(*["plus"] * 8)
        await it.until(lambda: it.app.chat.strength == 1.5)
        await it.pilot.press(*["minus"] * 17)
        await it.until(lambda: it.app.chat.strength == 0.0 and "as the base" in it.shown())


async def test_remove_asks_and_refuses_what_is_in_use(tmp_path: Path) -> None:
    _, second, third, other = worlds.fill_adapters(paths_in(tmp_path))
    async with driven(tmp_path, size=(120, 40)) as it:
        await open_adapters(it, 5)
        await go_to(it, third)
        await it.pilot.press("x")
        await it.until(lambda: isinstance(it.app.screen, Confirm))
        await it.pilot.press("enter")
        await it.until(lambda: isinstance(it.app.screen, AdaptersScreen))
        assert it.app.workspace.registry.lineage(third)
        await it.pilot.press("x", "y")
        await it.until(lambda: isinstance(it.app.screen, AdaptersScreen) and adapters(it).tree_table.row_count == 4)
        await go_to(it, other)
        await it.pilot.press("x", "y")
        await it.until(lambda: "is the version in use" in it.shown() and "roll back first" in it.shown())
        await go_to(it, second)
        await it.pilot.press("u")
        await it.until(lambda: it.app.adapter == second)
        await it.pilot.press("x")
        await it.until(lambda: "answers in the chat." in it.shown())


async def test_rename_import_and_export(tmp_path: Path) -> None:
    worlds.fill_adapters(paths_in(tmp_path))
    folder = worlds.peft_folder(tmp_path / "a[b] c")
    async with driven(tmp_path, size=(120, 40)) as it:
        registry = it.app.workspace.registry
        await open_adapters(it, 5)
        await go_to(it, "persian/v1")
        await it.pilot.press("e")
        await it.until(lambda: isinstance(it.app.screen, AskLine))
        it.app.screen.query_one(Input).value = "no/name"
        await it.pilot.press("enter")
        await it.until(lambda: "cannot be a name" in it.shown())
        it.app.screen.query_one(Input).value = "farsi"
        await it.pilot.press("enter")
        await it.until(lambda: registry.names() == ["farsi", "mine"])
        await it.until(lambda: isinstance(it.app.screen, AdaptersScreen))
        await it.pilot.press("i")
        await it.until(lambda: isinstance(it.app.screen, AskLine))
        it.app.screen.query_one(Input).value = str(folder)
        await it.pilot.press("enter")
        await it.until(lambda: isinstance(it.app.screen, AskLine) and it.app.screen.query_one(Input).value == "a-b--c")
        await it.pilot.press("enter")
        await it.until(lambda: "a-b--c" in registry.names())
        await it.until(lambda: isinstance(it.app.screen, AdaptersScreen) and "a-b--c/v1" in it.shown())
        await go_to(it, "a-b--c/v1")
        await it.pilot.press("o")
        await it.until(lambda: isinstance(it.app.screen, AskLine))
        it.app.screen.query_one(Input).value = str(tmp_path / "out")
        await it.pilot.press("enter")
        await it.until((tmp_path / "out" / "adapter_config.json").exists)


async def test_a_broken_folder_is_refused_and_a_damaged_version_listed(tmp_path: Path) -> None:
    paths = paths_in(tmp_path)
    worlds.fill_adapters(paths)
    (paths.adapter("mine", 3) / "adapter_model.safetensors").write_bytes(b"short")
    async with driven(tmp_path, size=(120, 40)) as it:
        await open_adapters(it, 5)
        await it.until(lambda: "✗" in it.shown())
        adapters(it).tree_table.move_cursor(row=4)
        await it.until(lambda: "cut short" in it.shown())
        for key in ("u", "r", "x", "e", "o", "c", "space"):
            await it.pilot.press(key)


async def test_two_marked_versions_are_compared(tmp_path: Path) -> None:
    first, _, third, _ = worlds.fill_adapters(paths_in(tmp_path))
    async with driven(tmp_path, size=(120, 40)) as it:
        await open_adapters(it, 5)
        for version in (first, third):
            await go_to(it, version)
            await it.pilot.press("space")
        await it.pilot.press("c")
        await it.until(lambda: isinstance(it.app.screen, CompareScreen) and it.app.screen.pair == (first, third))


async def test_every_size(tmp_path: Path) -> None:
    worlds.fill_adapters(paths_in(tmp_path))
    async with driven(tmp_path) as it:
        await open_adapters(it, 5)
        for size in ((40, 12), (20, 5), (200, 60), (80, 24)):
            await it.pilot.resize_terminal(*size)
            await it.pilot.press("j", "k")
        await it.until(lambda: "mine/v2" in it.shown() and "u Use" in it.shown())


def test_votes_are_counted_for_both_sides() -> None:
    def verdict(left: str, right: str, vote: Vote) -> Verdict:
        return Verdict((Said("user", "x"),), "a", "b", left, right, vote, False)

    counted = count_votes(
        [
            verdict("a", "b", Vote.LEFT),
            verdict("b", "a", Vote.RIGHT),
            verdict("a", "b", Vote.TIE),
            verdict("a", "a", Vote.BOTH_BAD),
        ]
    )
    assert counted == {"a": Votes(2, 0, 1, 1), "b": Votes(0, 2, 1, 0)}
    assert str(counted["a"]) == "2–0 · 1 tie · 1 both bad" and counted["a"].short == "2–0 =1 ✗1"
    assert str(Votes(3, 1)) == Votes(3, 1).short == "3–1" and str(Votes()) == ""


async def test_what_another_terminal_changed_is_seen_when_the_screen_is_shown_again(tmp_path: Path) -> None:
    paths = paths_in(tmp_path)
    first, second, *_ = worlds.fill_adapters(paths)
    async with driven(tmp_path, size=(120, 40)) as it:
        await it.app.use_adapter(second)
        await open_adapters(it, 5)
        await go_to(it, second)
        await it.until(lambda: "mine/v2 current" in it.shown())
        await it.pilot.press("f2")
        await it.until(lambda: it.app.screen is it.chat)
        other = Registry(paths)
        assert other.rollback("mine") == first
        made = worlds.publish(paths, parent=first)
        await it.pilot.press("f5")
        await it.until(lambda: "mine/v1 current" in it.shown() and made in it.shown())
        assert "mine/v2 current" not in it.shown()
        assert it.app.adapter == it.app.chat.adapter == second
        assert adapters(it).tree_table.chosen == second
