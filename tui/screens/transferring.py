"""Import and export from the corpus screen: ask, run in a thread with progress, tell what came of it."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass

from textual.message import Message

from corpora import transfer
from corpora.transfer import ImportProgress, ImportReport
from sessions.errors import Cancelled
from tui import render
from tui.messages import CorpusChanged
from tui.screens.background import background
from tui.screens.curating import Curating
from tui.screens.exporting import Exporting
from tui.widgets.file_dialogs import ExportDialog, ImportDialog, ImportTold, ImportWanted, now


class Transferring(Curating, Exporting):
    """Files into the corpus and out of it."""

    @dataclass
    class ImportWent(Message):
        """An import has come so far."""

        progress: ImportProgress

        def can_replace(self, message: Message) -> bool:
            """Only the newest figure counts."""
            return isinstance(message, Transferring.ImportWent)

    stopping: threading.Event | None = None
    """While an import goes on; set to stop it."""

    @background("transfer")
    async def action_import(self) -> None:
        """Ask for a file, bring it in, list what was refused; a dry run can be followed by the real one."""
        wanted: ImportWanted | None = await self.app.push_screen_wait(ImportDialog())
        while wanted is not None:
            try:
                report = await self._import(wanted)
            except Cancelled as stopped:
                self.llama.notify(str(stopped), timeout=10)
                return
            again = await self.app.push_screen_wait(ImportTold(report, wanted))
            wanted = now(wanted) if again else None

    async def _import(self, wanted: ImportWanted) -> ImportReport:
        stopping = self.stopping = threading.Event()

        def went(progress: ImportProgress) -> None:
            self.post_message(self.ImportWent(progress))
            if stopping.is_set():
                raise Cancelled("Stopped. What had come in stays; the same import again brings the rest.")

        self.say_task("Reading …")
        try:
            report = await asyncio.to_thread(
                transfer.import_files,
                self.store,
                [wanted.path],
                format=wanted.format,
                status=wanted.status,
                dry_run=wanted.dry_run,
                progress=went,
            )
        finally:
            self.stopping = None
            self.say_task("")
            if not wanted.dry_run:
                self.llama.tell(CorpusChanged())
        return report

    def action_back(self) -> None:
        """Stop a long import first."""
        if self.stopping is not None:
            self.stopping.set()
        else:
            super().action_back()

    def on_transferring_import_went(self, message: ImportWent) -> None:
        """Say how far an import is."""
        if self.query_one("#task-line").display:
            path, rows = render.line(str(message.progress.path), 50), message.progress.rows
            self.say_task(f"Reading {path}: {rows:,} rows · esc stops")

    @background("transfer")
    async def action_export(self) -> None:
        """Ask for a file and a format, write it whole."""
        proposed = self.llama.workspace.paths.exports / "corpus.jsonl"
        wanted = await self.app.push_screen_wait(ExportDialog(proposed, self.table.count))
        if wanted is not None:
            await self.write_out(wanted, self.filters.where if wanted.shown else None)
