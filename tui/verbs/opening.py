"""What opens when no single verb is asked for: the app or the line REPL.

Knows nothing of what they show.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Coroutine
from typing import Any

from tui.verbs.call import Call


def app(call: Call) -> int | Coroutine[Any, Any, int]:
    """The Textual app; the line REPL where the terminal cannot carry it."""
    if not _can_draw():
        return repl(call)
    from tui.app import run

    return run(call.workspace, call.given.model, call.given.adapter)


def repl(call: Call) -> Coroutine[Any, Any, int]:
    """The line REPL."""
    from tui.repl import run

    return run(call)


def _can_draw() -> bool:
    terminal = sys.stdin.isatty() and sys.stdout.isatty()
    return terminal and os.environ.get("TERM", "dumb") not in ("", "dumb", "unknown")
