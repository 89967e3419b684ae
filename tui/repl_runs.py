"""Runs followed beside the chat: their state for the toolbar, a word when they end, the version they offer.

Knows nothing of how it is shown.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from sessions.errors import LlamaTuiError
from sessions.paths import Paths
from sessions.training import runs
from sessions.training.events import AnyRunEvent, Warned
from sessions.training.runs import RunState

JUST_NOW = 2.0
"""Seconds: what a run said earlier than this before it was followed is no news."""


class RunWatch:
    """Follows every run that goes on; `ended` is awaited at each end, `changed` called at each event."""

    def __init__(
        self,
        paths: Paths,
        changed: Callable[[RunState], None],
        warned: Callable[[str], Awaitable[None]],
        ended: Callable[[RunState], Awaitable[None]],
    ) -> None:
        self._paths = paths
        self._changed = changed
        self._warned = warned
        self._ended = ended
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self.states: dict[str, RunState] = {}

    @property
    def active(self) -> RunState | None:
        """The run that is going on."""
        return next((state for state in reversed(self.states.values()) if not state.over), None)

    async def find(self) -> None:
        """Follow what goes on already."""
        for state in await asyncio.to_thread(runs.states, self._paths):
            if state.alive:
                self.follow(state.id)

    def follow(self, run: str) -> None:
        """Follow a run to its end, once."""
        if run not in self._tasks or self._tasks[run].done():
            self.states[run] = RunState(run)
            self._tasks[run] = asyncio.create_task(self._follow(run, time.time()))

    async def wait(self, run: str) -> RunState:
        """Until a followed run is over and its end was told."""
        await asyncio.shield(self._tasks[run])
        return self.states[run]

    async def close(self) -> None:
        """Stop looking; the runs go on."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _follow(self, run: str, since: float) -> None:
        state = self.states[run]
        try:
            async for event in runs.follow(self._paths, run):
                state.apply(event)
                self._changed(state)
                await self._pass_on(event, since)
        except LlamaTuiError as error:
            await self._warned(str(error))
        else:
            await self._ended(state)

    async def _pass_on(self, event: AnyRunEvent, since: float) -> None:
        if isinstance(event, Warned) and event.time > since - JUST_NOW:
            await self._warned(event.text)
