"""`/train` in the app: the plan first, then the run."""

from __future__ import annotations

from pathlib import Path

from corpora.dialog import Status
from corpora.selection import Selection
from sessions.training import runs
from tests.tui import worlds
from tests.tui.calling import fake_workers
from tests.tui.driving import driven, paths_in
from tui.screens.chat import ChatScreen
from tui.widgets.plan_dialog import PlanDialog


async def test_the_plan_is_shown_and_started_by_enter(tmp_path: Path) -> None:
    paths = paths_in(tmp_path)
    ids = worlds.fill_corpus(paths, 12)
    async with driven(tmp_path, workers=fake_workers(paths)) as it:
        it.app.workspace.store.set_tags([ids[3], ids[4]], ["cat"])
        it.app.workspace.store.set_status([ids[4]], Status.KEPT)
        await it.say("/train tag:cat rank=8")
        await it.until(lambda: isinstance(it.app.screen, PlanDialog))
        assert "1 new reply, from the base." in it.shown() and "Selected: tag:cat" in it.shown()
        assert "1 reply cannot be trained" in it.shown() and "rank 8 (default 16)" in it.shown()
        await it.pilot.press("escape")
        await it.until(lambda: isinstance(it.app.screen, ChatScreen))
        assert not list(paths.runs.glob("*"))
        await it.say("/train tag:cat rank=8")
        await it.until(lambda: isinstance(it.app.screen, PlanDialog))
        await it.pilot.press("enter")
        await it.until(lambda: [state for state in runs.states(paths) if state.over], seconds=20)
        (state,) = runs.states(paths)
        assert state.created is not None and state.created.selection == Selection(query="tag:cat", files=())
        assert runs.read_recipe(paths.run(state.id)).rank == 8


async def test_what_cannot_be_trained_is_said_at_once(tmp_path: Path) -> None:
    async with driven(tmp_path) as it:
        await it.say("/train")
        await it.until(lambda: "No reply is kept. Keep or correct one first." in it.shown())
        await it.say("/train tags:x")
        await it.until(lambda: "tags: is no filter" in it.shown())
        await it.say("/train ranks=8")
        await it.until(lambda: "no field" in it.shown())
        assert isinstance(it.app.screen, ChatScreen)
