"""What opens when no single verb is asked for: the app or the line REPL.

Knows nothing of what they show.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Coroutine
from typing import Any

from tui.verbs.call import Call


def app(call: Call) -> int | Coroutine[Any, Any, int]:
    """The Textual app; the line REPL where the terminal cannot carry it."""
    if not _can_draw():
        return repl(call)
    # Collecting garbage costs a quarter of the time to the first frame, after which the app does it again.
    gc.disable()
    from tui.app import run

    return run(call.workspace, call.given.model, call.given.adapter)


def repl(call: Call) -> Coroutine[Any, Any, int]:
    """The line REPL."""
    from tui.repl import run

    return run(call)


def _can_draw() -> bool:
    # Textual draws on stderr.
    terminal = all(stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr))
    return terminal and os.environ.get("TERM", "dumb") not in ("", "dumb", "unknown")
