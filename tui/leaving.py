"""How the app ends: asked by the person, told by a signal, or because its terminal is gone. Always cleanly."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING

from textual.widgets import Input, TextArea

from tui.log import logger
from tui.prompts import save_draft

if TYPE_CHECKING:
    from tui.app import LlamaTuiApp

GRACE = 5.0
"""Seconds for a clean end after the terminal is gone."""
TWICE = 2.0
"""Seconds within which a second Ctrl+C leaves."""
GOES_ON = "A run is going on. It goes on without this terminal; start llama-tui again to see it."


def watch(app: LlamaTuiApp) -> None:
    """End on SIGHUP and SIGTERM, and when the terminal is gone without a signal."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGHUP, signal.SIGTERM):
        # Not every loop can: tests run the app outside of the main thread.
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
            loop.add_signal_handler(number, end, app, 128 + number)
    if not app.is_headless:
        app.set_interval(1.0, lambda: None if terminal_is_there() else end(app, 128 + signal.SIGHUP))
        threading.Thread(target=_outlive_nothing, name="watch", daemon=True).start()


def _outlive_nothing() -> None:
    """Once the terminal is gone, the process ends within seconds, also where a write to it blocks the loop.

    Replies are saved as they come and drafts within a second, so nothing waits for the loop.
    """
    while terminal_is_there():
        time.sleep(1.0)
    time.sleep(GRACE)
    logger.error("the terminal is gone and the screen did not end by itself")
    os._exit(128 + signal.SIGHUP)


def end(app: LlamaTuiApp, code: int = 0) -> None:
    """Save what is being typed and leave; a reply under way keeps what has come."""
    if app.chat_screen is not None and app.opened.is_set():
        try:
            save_draft(app.workspace.paths, app.chat_screen.draft())
        except OSError as error:
            logger.error("the draft could not be saved", exc_info=error)
    app.exit(return_code=code)


def terminal_is_there() -> bool:
    """False once the other end of the terminal is closed."""
    try:
        poll = select.poll()
        poll.register(sys.__stdin__.fileno() if sys.__stdin__ else 0, select.POLLIN)
        return not any(event & (select.POLLHUP | select.POLLERR | select.POLLNVAL) for _, event in poll.poll(0))
    except (OSError, ValueError):
        return os.isatty(0)


async def leave(app: LlamaTuiApp) -> None:
    """Leave; where a run is going on, say what becomes of it and ask."""
    if app.bridge.active is not None:
        from tui.widgets.dialogs import Confirm

        if not await app.push_screen_wait(Confirm("Leave?", GOES_ON, yes="Leave", no="Stay")):
            return
    end(app)


async def interrupt(app: LlamaTuiApp) -> None:
    """Ctrl+C: copy what is selected; else stop the reply; else, at the second time, leave."""
    focused = app.focused
    chosen = focused.selected_text if isinstance(focused, (TextArea, Input)) else app.screen.get_selected_text()
    if chosen:
        from tui.clipboard import copy

        app.notify(await copy(app, app.workspace.paths, chosen), timeout=3)
        app.screen.clear_selection()
    elif app.opened.is_set() and app.chat.busy:
        await app.chat.stop()
    elif time.monotonic() - app.asked_to_leave <= TWICE:
        end(app)
    else:
        app.asked_to_leave = time.monotonic()
        goes_on = f" {GOES_ON}" if app.bridge.active is not None else ""
        app.notify(f"Ctrl+C once more leaves.{goes_on}", timeout=TWICE)
