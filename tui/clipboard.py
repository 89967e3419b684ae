"""Copying out of the terminal: tmux's buffer, else OSC 52, and a file where the text is too long for it."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from typing import Any

from textual.app import App

from sessions.paths import Paths, write_atomic

LIMIT = 74_000
"""Characters that terminals surely take by OSC 52."""


async def copy(app: App[Any], paths: Paths, text: str) -> str:
    """Copy; returns in words where the text went. Raises OSError."""
    if os.environ.get("TMUX") and shutil.which("tmux") and await _to_tmux(text):
        return "Copied to tmux and the clipboard."
    if len(text) <= LIMIT:
        app.copy_to_clipboard(text)
        return "Copied to the clipboard."
    file = paths.exports / f"reply-{time.strftime('%Y%m%d-%H%M%S')}.md"
    await asyncio.to_thread(write_atomic, file, text.encode())
    return f"Too long for the clipboard; written to {file}"


async def _to_tmux(text: str) -> bool:
    nowhere = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(
        "tmux", "load-buffer", "-w", "-", stdin=asyncio.subprocess.PIPE, stdout=nowhere, stderr=nowhere
    )
    await process.communicate(text.encode("utf-8", errors="replace"))
    return process.returncode == 0
