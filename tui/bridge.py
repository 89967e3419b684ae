"""The one place where a host's event or a run's event becomes a Textual message.

One follower for each active run, whatever screens are open. Independent of widgets.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from sessions.errors import HostDied, LlamaTuiError
from sessions.hosting import REASON
from sessions.protocol import AnyEvent, Closing, LoadFailed, Loading, Preparing, Ready, RunChanged
from sessions.training.events import AnyRunEvent, Published
from tui.messages import (
    AdaptersChanged,
    AnchorsPrepared,
    HostLost,
    ModelLoading,
    ModelReady,
    RunEnded,
    RunEventHappened,
    VersionRefused,
)

if TYPE_CHECKING:
    from sessions.training.runs import RunState
    from tui.app import LlamaTuiApp


class Bridge:
    """Listens to the client and to the files of runs, and posts messages. `runs` are all runs seen alive, by id."""

    def __init__(self, app: LlamaTuiApp) -> None:
        self.app = app
        self.runs: dict[str, RunState] = {}
        self._following: set[str] = set()
        self._ended: set[str] = set()
        """Runs that were followed to their end: their ending, once more from the host, is no news."""

    @property
    def active(self) -> RunState | None:
        """The run that is going on, if one is."""
        alive = [state for state in self.runs.values() if state.alive]
        return alive[-1] if alive else None

    def attach(self) -> None:
        """Hear the client from now on."""
        self.app.client.listeners.append(self.heard)

    def heard(self, event: AnyEvent) -> None:
        """One event that concerns all terminals."""
        match event:
            case Loading():
                self.app.tell(ModelLoading(event))
            case Ready(model=model):
                self.app.tell(ModelReady(model))
            case LoadFailed(failure=failure):
                self.app.tell(HostLost(failure.error()))
            case Preparing():
                self.app.tell(AnchorsPrepared(event))
            case RunChanged(run=run, alive=alive):
                if alive or run not in self._ended:
                    self.follow(run)
            case Closing(reason=reason):
                self.app.tell(HostLost(_ended(reason)))

    async def find_runs(self) -> None:
        """Follow what was going on before this terminal came."""
        from sessions.training import runs

        for state in await asyncio.to_thread(runs.states, self.app.workspace.paths):
            if state.alive:
                self.follow(state.id)

    def follow(self, run: str) -> None:
        """Post the events of a run from now to its end; the earlier ones are folded into its state."""
        if run not in self._following:
            self._following.add(run)
            self.app.attempt(self._follow, run)

    async def _follow(self, run: str) -> None:
        from sessions.training import runs

        state = self.runs[run] = runs.RunState(run)
        posted_from = time.time() - 2.0
        try:
            async for event in runs.follow(self.app.workspace.paths, run):
                state.apply(event)
                if event.time >= posted_from:
                    await self._tell(state, event)
            self._ended.add(run)
        except (LlamaTuiError, OSError) as error:
            self.app.report(error)
        finally:
            self._following.discard(run)
        self.app.tell(RunEnded(state))

    async def _tell(self, state: RunState, event: AnyRunEvent) -> None:
        self.app.tell(RunEventHappened(state.id, event, state))
        if isinstance(event, Published):
            self.app.tell(AdaptersChanged())
            mine = state.created is None or state.created.model == self.app.client.model
            if mine and event.worse:
                self.app.tell(VersionRefused(event))


def _ended(reason: str) -> HostDied:
    return HostDied(
        reason or "The host has ended.",
        data="Everything said so far is saved.",
        remedy=f"The next prompt starts it again. {REASON}",
    )
