"""Writing rows of the store to a file, from any screen that shows them."""

from __future__ import annotations

import asyncio
from pathlib import Path

from corpora import transfer
from corpora.store import Branch, Filter, PairFilter
from tui import render
from tui.screens.changing import Changing
from tui.widgets.file_dialogs import ExportWanted


class Exporting(Changing):
    """Files out of the corpus."""

    async def write_out(
        self, wanted: ExportWanted, where: Filter | None = None, pairs: PairFilter = PairFilter()
    ) -> None:
        """Write in a thread, and say what came of it. Raises what an export raises."""
        left_out: list[str] = []

        def note(branch: Branch, reason: str) -> None:
            left_out.append(reason)

        def write() -> int:
            path, format, force = wanted.path, wanted.format, wanted.force
            return transfer.export_file(self.store, path, format, where, pairs=pairs, force=force, left_out=note)

        self.say_task(f"Writing {render.line(str(wanted.path), 60)} …")
        try:
            rows = await asyncio.to_thread(write)
            self.llama.notify(_told(rows, left_out, wanted.path), timeout=10)
        finally:
            self.say_task("")


def _told(rows: int, left_out: list[str], path: Path) -> str:
    said = f"{rows:,} rows written to {path}."
    if left_out:
        said += f"\n{len(left_out):,} left out; the first: {left_out[0]}"
    return said
