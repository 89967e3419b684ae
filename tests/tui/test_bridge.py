"""What the app is told of runs: each ending once, versions of its own model alone, the host always reached."""

from __future__ import annotations

from pathlib import Path

import pytest

from sessions.protocol import RunChanged
from sessions.settings import Settings
from sessions.training import runs
from tests.tui.driving import Driven, driven
from tests.tui.test_app import publish, write_run
from tests.tui.worlds import PASSED
from tui.messages import AdaptersChanged, OfferChanged, RunEnded


def told(it: Driven, kind: type) -> int:
    """How often, each screen's copy of a message counted with the first."""
    return len(
        {
            id(next(iter(vars(message)[name] for name in ("state", "offered") if name in vars(message)), None))
            for message in it.messages
            if isinstance(message, kind)
        }
    )


async def test_the_end_of_a_run_is_told_once(tmp_path: Path) -> None:
    async with driven(tmp_path) as it:
        publish(it.app.workspace.registry, "mine")
        run = write_run(it)
        it.app.bridge.heard(RunChanged(run=run, alive=True))
        await it.until(lambda: told(it, RunEnded) == 1)
        it.app.bridge.heard(RunChanged(run=run, alive=False))
        await it.pilot.pause(0.3)
        assert (told(it, RunEnded), told(it, OfferChanged)) == (1, 1)
        it.app.bridge.heard(RunChanged(run=run, alive=True))
        await it.until(lambda: told(it, RunEnded) == 2)


async def test_an_end_that_was_not_followed_is_told(tmp_path: Path) -> None:
    async with driven(tmp_path) as it:
        publish(it.app.workspace.registry, "mine")
        it.app.bridge.heard(RunChanged(run=write_run(it), alive=False))
        await it.until(lambda: told(it, RunEnded) == 1 and told(it, OfferChanged) == 1)


async def test_a_version_of_another_model_is_neither_offered_nor_used(tmp_path: Path) -> None:
    async with driven(tmp_path, settings=Settings(auto_use="passed")) as it:
        publish(it.app.workspace.registry, "mine", PASSED, model="another")
        it.app.bridge.follow(write_run(it, model="another"))
        await it.until(lambda: told(it, RunEnded))
        assert it.app.adapter == "base" and told(it, AdaptersChanged) and not told(it, OfferChanged)
    async with driven(tmp_path / "offer") as it:
        it.app.bridge.follow(write_run(it, model="another"))
        await it.until(lambda: told(it, RunEnded))
        assert not told(it, OfferChanged)


async def test_the_host_is_reached_whatever_the_runs_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(paths: object) -> list[runs.RunState]:
        raise ValueError("one run too odd")

    monkeypatch.setattr(runs, "states", broken)
    async with driven(tmp_path, size=(100, 30)) as it:
        await it.until(lambda: "one run too odd" in it.shown())
        assert it.app.client.connected
