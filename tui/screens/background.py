"""Work that a screen does beside everything else: errors are told, and none outlives its screen.

Textual cancels a screen's workers after its widgets are gone, so one may find them missing while the app closes.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, TypeAlias, TypeVar, cast

from textual.worker import Worker

from tui.screens.mode import ModeScreen

Given = ParamSpec("Given")
Place = TypeVar("Place", bound=ModeScreen)
Job: TypeAlias = Callable[Concatenate[Place, Given], Coroutine[Any, Any, None]]
Started: TypeAlias = Callable[Concatenate[Place, Given], Worker[None]]


def background(group: str, *, exclusive: bool = True) -> Callable[[Job[Place, Given]], Started[Place, Given]]:
    """Make a method start in a worker. An `exclusive` one ends others of its group on the same screen."""

    def wrap(job: Job[Place, Given]) -> Started[Place, Given]:
        @functools.wraps(job)
        def start(screen: Place, *args: Given.args, **options: Given.kwargs) -> Worker[None]:
            # A coroutine made here would never be awaited where the worker is ended before it begins.
            work = functools.partial(_told, screen, functools.partial(job, screen, *args, **options))
            return screen.run_worker(work, group=group, exclusive=exclusive)

        return cast("Started[Place, Given]", start)

    return wrap


async def _told(screen: ModeScreen, job: Callable[[], Coroutine[Any, Any, None]]) -> None:
    try:
        await job()
    except Exception as error:  # noqa: BLE001  the boundary of a screen's work: told, and logged where it is not ours
        if screen.app.is_running and screen.is_attached:
            screen.llama.report(error)
