"""Runs that a host refuses: no ghost is left that seems to wait for its worker."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sessions.client import Client
from sessions.errors import HostError
from sessions.launch import resume_run, start_run
from sessions.paths import Paths
from sessions.settings import Settings
from sessions.training import events, runs
from sessions.training.recipe import Recipe
from sessions.workspace import Workspace
from tests.sessions.training_help import keep, opened


class Refusing(Client):
    """A client whose host takes no run, or dies after the worker `began`."""

    began = False

    async def start_run(self, run: str) -> None:
        if self.began:
            events.append(self.paths.run(run), events.WorkerStarted(pid=1, node="elsewhere"))
        raise HostError("Another run is going on.")


@pytest.fixture
def workspace(paths: Paths) -> Iterator[Workspace]:
    with opened(paths) as store:
        keep(store)
    found = Workspace(paths, Settings())
    yield found
    found.close()


async def test_a_refused_start_leaves_no_ghost(workspace: Workspace) -> None:
    with pytest.raises(HostError, match="Another run"):
        await start_run(workspace, Refusing(workspace.paths, "demo"), adapter="mine", recipe=Recipe())
    (state,) = runs.states(workspace.paths)
    assert state.phase == "cancelled"


async def test_a_run_that_began_all_the_same_goes_on(workspace: Workspace) -> None:
    client = Refusing(workspace.paths, "demo")
    client.began = True
    with pytest.raises(HostError):
        await start_run(workspace, client, adapter="mine", recipe=Recipe())
    assert runs.states(workspace.paths)[0].alive


async def test_a_refused_resume_can_be_tried_again(workspace: Workspace) -> None:
    paths = workspace.paths
    run = runs.prepare(paths, workspace.store, model="demo", adapter="mine", recipe=Recipe())
    with pytest.raises(HostError):
        await resume_run(workspace, Refusing(paths, "demo"), run)
    state = runs.state(paths, run)
    assert state.phase == "failed" and state.resumable and state.failure is not None
    assert state.failure.what == "Another run is going on."
