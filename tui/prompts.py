"""Prompts typed before, and texts that were being typed: both on disk, so that a crash costs a second.

The history's file is the line REPL's own (prompt_toolkit's FileHistory). Knows nothing of widgets.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import msgspec

from sessions.errors import UNREADABLE, UsageError
from sessions.paths import Paths, private_folder, private_open, write_all, write_atomic

LIMIT = 1000
READ_LIMIT = 1_000_000
"""The longest file that can be sent as a prompt, in characters."""


def prompt_file(name: str) -> str:
    """The text of a file that is to be sent as a prompt. Raises UsageError; nothing was sent then."""
    if not name:
        raise UsageError("Which file?", remedy="/read FILE; Tab completes it.")
    try:
        with Path(name).expanduser().open(encoding="utf-8") as file:
            text = file.read(READ_LIMIT + 1)
    except (OSError, UnicodeDecodeError) as error:
        why = "it is no UTF-8 text" if isinstance(error, UnicodeDecodeError) else error.strerror
        raise UsageError(f"{name:.200} cannot be read: {why}.", data="Nothing was sent.") from error
    if len(text) > READ_LIMIT or not text.strip():
        raise UsageError(f"{name:.200} is empty, or too long for any model's context.", data="Nothing was sent.")
    return text.strip()


class History:
    """Earlier prompts, the newest last; `earlier` and `later` walk, the text being typed is kept aside."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.entries = _read(path)[-LIMIT:]
        self._place = len(self.entries)
        self._typed = ""

    def add(self, prompt: str) -> None:
        """Remember a prompt; one that is like the last is not added again. Raises OSError: then only until the end."""
        if prompt.strip() and self.entries[-1:] != [prompt]:
            self.entries.append(prompt)
            _append(self.path, prompt)
        self._place = len(self.entries)

    def earlier(self, typed: str) -> str | None:
        """The prompt before, or None at the first."""
        if self._place == len(self.entries):
            self._typed = typed
        if self._place == 0:
            return None
        self._place -= 1
        return self.entries[self._place]

    def later(self) -> str | None:
        """The prompt after, at the end what was being typed; None where one is there already."""
        if self._place >= len(self.entries):
            return None
        self._place += 1
        return self._typed if self._place == len(self.entries) else self.entries[self._place]


class Draft(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was being typed: the prompt, and the text of an open editor on one exchange."""

    prompt: str = ""
    editing: int = 0
    what: str = ""
    text: str = ""


def load_draft(paths: Paths) -> Draft:
    """The draft of a home; empty where none can be read."""
    try:
        return msgspec.json.decode((paths.home / "draft.json").read_bytes(), type=Draft)
    except (OSError, *UNREADABLE):
        return Draft()


def save_draft(paths: Paths, draft: Draft) -> None:
    """Write the draft. Raises OSError."""
    write_atomic(paths.home / "draft.json", msgspec.json.encode(draft))


def _read(path: Path) -> list[str]:
    try:
        lines = path.read_text("utf-8", errors="replace").split("\n")
    except OSError:
        return []
    entries: list[str] = []
    current: list[str] = []
    for line in [*lines, ""]:
        if line.startswith("+"):
            current.append(line[1:])
        elif current:
            entries.append("\n".join(current))
            current = []
    return entries


def _append(path: Path, prompt: str) -> None:
    private_folder(path.parent)
    lines = "".join(f"+{line}\n" for line in prompt.split("\n"))
    entry = f"\n# {time.strftime('%Y-%m-%d %H:%M:%S')}\n{lines}"
    descriptor = private_open(str(path), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        write_all(descriptor, entry.encode("utf-8", errors="replace"))
    finally:
        os.close(descriptor)
