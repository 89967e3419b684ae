"""Completes a path as it is typed: Tab or the right arrow takes what is shown. Looks at folders only."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from textual.binding import Binding
from textual.suggester import Suggester

from tui import render
from tui.widgets.safe_area import SafeInput

MOST = 5000


class PathSuggester(Suggester):
    """Suggests the first entry that begins with what is typed; `folders` leaves files out."""

    def __init__(self, *, folders: bool = False) -> None:
        super().__init__(use_cache=False, case_sensitive=True)
        self.folders = folders

    async def get_suggestion(self, value: str) -> str | None:
        """The rest of the path, looked up in a thread as a home may be slow."""
        return await asyncio.to_thread(self._look, value) if value else None

    def _look(self, value: str) -> str | None:
        head, slash, tail = value.rpartition("/")
        folder = Path(f"{head}{slash}").expanduser() if slash else Path()
        try:
            with os.scandir(folder) as entries:
                found = [
                    f"{entry.name}/" if entry.is_dir() else entry.name
                    for entry, _ in zip(entries, range(MOST), strict=False)
                    if entry.name.startswith(tail) and (tail or not entry.name.startswith("."))
                    if entry.is_dir() or not self.folders
                ]
        except OSError:
            return None
        clean = sorted(name for name in found if render.clean(name) == name and "\n" not in name)
        return f"{head}{slash}{clean[0]}" if clean else None


class PathField(SafeInput):
    """A path; Tab takes the completion where there is one, and goes on to the next field where there is none."""

    BINDINGS = [Binding("tab", "complete", "Complete the path", show=False)]

    @property
    def offered(self) -> str:
        """The path that is offered, where it is more than what is typed."""
        return self._suggestion if len(self._suggestion) > len(self.value) else ""

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """With nothing to complete, Tab is the screen's."""
        return bool(self.offered) if action == "complete" else super().check_action(action, parameters)

    def action_complete(self) -> None:
        """Take what is offered."""
        self.value = self.offered
        self.cursor_position = len(self.value)
