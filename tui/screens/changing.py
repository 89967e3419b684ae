"""What screens that change the store have in common: write in a thread, tell it, take it back, say what goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from textual.widgets import Static

from corpora.store import Store
from tui.messages import CorpusChanged
from tui.screens.background import background
from tui.screens.mode import ModeScreen


class Changing(ModeScreen):
    """Each action writes in a thread and then tells `CorpusChanged`; the screens look again when they hear that."""

    @property
    def store(self) -> Store:
        """The corpus."""
        return self.llama.workspace.store

    async def change(self, what: str, write: Callable[[], object], ids: tuple[int, ...] | None = None) -> None:
        """Write in a thread; tell it when it is on disk. `ids` are the exchanges that changed, None for none."""
        await asyncio.to_thread(write)
        if what:
            self.llama.notify(what, timeout=2)
        if ids is not None:
            await self.refresh_chat(ids)
        self.llama.tell(CorpusChanged(ids or ()))

    async def refresh_chat(self, ids: tuple[int, ...]) -> None:
        """The chat shows the same exchanges."""
        if not ids or any(exchange.id in ids for exchange in self.llama.chat.branch):
            await self.llama.chat.refresh()

    def say_task(self, words: str) -> None:
        """Say what is being done; nothing takes the line away."""
        line = self.query_one("#task-line", Static)
        line.update(words)
        line.display = bool(words)

    @background("undo", exclusive=False)
    async def action_undo(self) -> None:
        """Take the last action back, whichever screen it came from."""
        before = await asyncio.to_thread(self.undoing)
        undone = await asyncio.to_thread(self.store.undo)
        after = await asyncio.to_thread(self.undoing)
        self.llama.notify(f"Taken back: {undone}" if undone else "There is nothing to take back.", timeout=3)
        await self.refresh_chat(())
        self.llama.tell(CorpusChanged())
        self.call_later(self.undone, before, after)  # after the look that every change brings

    def undoing(self) -> list[int]:
        """Ids to compare before and after an undo. In a thread."""
        return []

    def undone(self, before: list[int], after: list[int]) -> None:
        """Show what an undo brought back."""
