"""Start, resume and stop runs from a front end: prepare the folder, then ask the host.

Knows nothing of screens or torch.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from corpora.selection import Selection
from sessions.client import Client
from sessions.errors import Failure
from sessions.training import events, runs
from sessions.training.events import RunCancelled, RunEvent, RunFailed
from sessions.training.recipe import Recipe
from sessions.workspace import Workspace


async def start_run(
    workspace: Workspace,
    client: Client,
    *,
    adapter: str,
    recipe: Recipe,
    parent: str | None = None,
    selection: Selection | None = None,
) -> str:
    """Take a snapshot of the selected replies and have a worker train on it; returns the run's ID.

    Raises NothingToTrain, RunError.
    """

    def prepare() -> str:
        return runs.prepare(
            workspace.paths,
            workspace.store,
            model=client.model,
            adapter=adapter,
            recipe=recipe,
            parent=parent,
            selection=selection,
        )

    run = await asyncio.to_thread(prepare)
    await _handed_over(workspace, client, run, lambda error: RunCancelled())
    return run


async def resume_run(workspace: Workspace, client: Client, run: str) -> None:
    """Go on with a stopped or failed run from its last checkpoint. Raises RunError where it cannot."""
    await asyncio.to_thread(runs.resume, workspace.paths, run)
    await _handed_over(workspace, client, run, lambda error: RunFailed(failure=Failure.of(error), resumable=True))


async def _handed_over(workspace: Workspace, client: Client, run: str, ending: Callable[[Exception], RunEvent]) -> None:
    """Ask the host to start a run; where it does not, the run ends, so that none seems to wait for a worker."""
    try:
        await client.start_run(run)
    except Exception as error:
        if runs.state(workspace.paths, run).phase == "prepared":
            events.append(workspace.paths.run(run), ending(error))
        raise
