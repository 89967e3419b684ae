"""What keys do to the exchanges of the corpus screen: verdicts, corrections, tags, notes, undo, files.

Each action writes in a thread and then tells `CorpusChanged`; the screen looks again when it hears that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.widgets import Static

from corpora import curation
from corpora.dialog import Exchange, Status
from corpora.errors import LlamaTuiError
from corpora.findings import Finding
from corpora.store import Store
from tui import render
from tui.messages import CorpusChanged
from tui.screens.background import background
from tui.screens.mode import ModeScreen
from tui.widgets.dialogs import AskLine, Confirm, EditText, Reading
from tui.widgets.exchange_detail import ExchangeDetail, Shown
from tui.widgets.exchange_table import ExchangeTable
from tui.widgets.filter_bar import FilterBar
from tui.widgets.findings import Findings, found
from tui.widgets.stats_panel import statistics
from tui.widgets.token_preview import token_preview

MANY = 50
WORDS = {Status.KEPT: "kept", Status.REJECTED: "rejected", Status.DEFERRED: "deferred", Status.PENDING: "pending again"}


class Curating(ModeScreen):
    """The corpus screen's keys and actions; the marked exchanges, or else the one under the cursor."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "verdict('kept')", "Keep", id="corpus.keep"),
        Binding("c", "correct", "Correct", id="corpus.correct"),
        Binding("x", "verdict('rejected')", "Reject", id="corpus.reject"),
        Binding("d", "verdict('deferred')", "Defer", id="corpus.defer"),
        Binding("u", "undo", "Undo", id="corpus.undo"),
        Binding("i", "inbox", "Inbox", id="corpus.inbox"),
        Binding("slash", "search", "Search", key_display="/", id="corpus.search"),
        Binding("I", "import", "Import", id="corpus.import"),
        Binding("o", "verdict('pending')", "Reopen", show=False, id="corpus.reopen"),
        Binding("e", "edit_prompt", "Edit prompt", show=False, id="corpus.edit"),
        Binding("t", "tags", "Tags", id="corpus.tags"),
        Binding("m", "note", "Note", show=False, id="corpus.note"),
        Binding("v", "tokens", "Tokens", id="corpus.tokens"),
        Binding("a", "select_all", "Select all", show=False, id="corpus.all"),
        Binding("space", "select", "Select", id="corpus.select"),
        Binding("s", "statistics", "Stats", id="corpus.stats"),
        Binding("h", "check", "Check", id="corpus.check"),
        Binding("E", "export", "Export", id="corpus.export"),
    ]

    tokens_shown = False

    @property
    def filters(self) -> FilterBar:
        """The bar above."""
        raise NotImplementedError

    @property
    def table(self) -> ExchangeTable:
        """The rows."""
        raise NotImplementedError

    @property
    def detail(self) -> ExchangeDetail:
        """The exchange under the cursor."""
        raise NotImplementedError

    @property
    def store(self) -> Store:
        """The corpus."""
        return self.llama.workspace.store

    @property
    def targets(self) -> tuple[int, ...]:
        """What an action is for: the marked ones, else the one under the cursor."""
        if self.table.selected:
            return tuple(sorted(self.table.selected))
        return (self.table.current.id,) if self.table.current else ()

    async def change(self, what: str, write: Callable[[], object], ids: tuple[int, ...] = ()) -> None:
        """Write in a thread; tell it when it is on disk."""
        await asyncio.to_thread(write)
        if what:
            self.llama.notify(what, timeout=2)
        await self.refresh_chat(ids)
        self.llama.tell(CorpusChanged(ids))

    async def refresh_chat(self, ids: tuple[int, ...]) -> None:
        """The chat shows the same exchanges."""
        if not ids or any(exchange.id in ids for exchange in self.llama.chat.branch):
            await self.llama.chat.refresh()

    def say_task(self, words: str) -> None:
        """Say what is being done; nothing takes the line away."""
        line = self.query_one("#task-line", Static)
        line.update(words)
        line.display = bool(words)

    def go_to(self, exchange_id: int) -> object:
        """Put the cursor on an exchange."""
        raise NotImplementedError

    # verdicts

    def action_verdict(self, status: str) -> None:
        """Keep, reject, defer or reopen; the inbox goes on at once, so that no key is waited for."""
        if ids := self.targets:
            self.judge(ids, Status(status))
            if self.has_class("-inbox"):
                self.table.action_move(1)

    @background("verdicts", exclusive=False)
    async def judge(self, ids: tuple[int, ...], verdict: Status) -> None:
        """Write a verdict; many at once are asked about first."""
        if len(ids) > MANY and not await self._sure(len(ids), verdict):
            return
        what = f"{len(ids):,} {WORDS[verdict]}" if len(ids) > 1 else ""
        await self.change(what, lambda: self.store.set_status(ids, verdict), ids)
        if self.table.selected:
            self.table.select(())

    async def _sure(self, count: int, verdict: Status) -> bool:
        question = f"{count:,} exchanges become {WORDS[verdict]}. One undo (u) takes it back."
        answer = await self.app.push_screen_wait(Confirm("Many at once", question))
        return answer is True

    @background("write")
    async def action_correct(self) -> None:
        """Rewrite the reply; it is kept, the original stays, and the two make a preference pair."""
        exchange = self.table.current
        if exchange is None:
            return
        text = await self._edited("Correct the reply", exchange.reply, exchange.prompt)
        if text is not None and text != exchange.reply:
            done = "Corrected and kept; the original stays, and the two make a preference pair."
            await self.change(done, lambda: self.store.correct(exchange.id, text), (exchange.id,))

    @background("write")
    async def action_edit_prompt(self) -> None:
        """Change the prompt of the stored exchange."""
        exchange = self.table.current
        if exchange is None:
            return
        text = await self._edited("Edit the prompt", exchange.prompt, "")
        if text is not None and text != exchange.prompt:
            await self.change("Prompt changed.", lambda: self.store.edit_prompt(exchange.id, text), (exchange.id,))

    @background("write")
    async def action_note(self) -> None:
        """A note of one's own, never trained on."""
        exchange = self.table.current
        if exchange is None:
            return
        text = await self._edited("Note", exchange.note, exchange.prompt, empty=True)
        if text is not None:
            await self.change("", lambda: self.store.set_note(exchange.id, text), (exchange.id,))

    @background("write")
    async def action_tags(self) -> None:
        """Tags of the exchange, or of all marked ones."""
        ids, exchange = self.targets, self.table.current
        if not ids or exchange is None:
            return
        hint = f"Words between blanks. They replace the tags of {_count(ids)}."
        typed = await self.app.push_screen_wait(AskLine("Tags", " ".join(exchange.tags), hint=hint))
        if typed is not None:
            tags = tuple(dict.fromkeys(tag for word in typed.replace(",", " ").split() if (tag := word.lstrip("#"))))
            await self.change("", lambda: self.store.set_tags(ids, tags), ids)

    @background("undo", exclusive=False)
    async def action_undo(self) -> None:
        """Take the last action back, whichever screen it came from."""
        undone = await asyncio.to_thread(self.store.undo)
        self.llama.notify(f"Taken back: {undone}" if undone else "There is nothing to take back.", timeout=3)
        await self.refresh_chat(())
        self.llama.tell(CorpusChanged())

    async def _edited(self, title: str, text: str, above: str, *, empty: bool = False) -> str | None:
        context = render.clean(above[:4000])
        return await self.app.push_screen_wait(EditText(title, text, context=context, may_be_empty=empty))

    # many

    @background("select")
    async def action_select_all(self) -> None:
        """Mark all that the filter shows; again: none."""
        if len(self.table.selected) >= self.table.count:
            self.table.select(())
            return
        self.table.select(await asyncio.to_thread(self.store.ids, self.filters.where))

    # looking closer

    def action_tokens(self) -> None:
        """Show or hide the ids that the model would see."""
        self.tokens_shown = not self.tokens_shown
        if not self.tokens_shown:
            self.detail.show_tokens(None)
        elif self.table.current is not None:
            self.read_tokens(self.table.current)

    @background("tokens")
    async def read_tokens(self, exchange: Exchange) -> None:
        """The dialog above, then the preview."""
        path = await asyncio.to_thread(self.store.path_to, exchange.id)
        self.preview_tokens(Shown(exchange, path, ()))

    @background("tokens")
    async def preview_tokens(self, shown: Shown) -> None:
        """Encode in a thread, as training would."""
        model = self.llama.client.model
        self.detail.show_tokens(await asyncio.to_thread(token_preview, model, shown))

    @background("check")
    async def action_check(self) -> None:
        """Duplicates, conflicts, cut-off replies, tags, secrets and more, each with its fix."""
        self.say_task("Checking …")
        try:
            findings, prompts = await asyncio.to_thread(found, self.store)
        finally:
            self.say_task("")
        if not findings:
            self.llama.notify("The checks found nothing.", timeout=3)
            return
        chosen = await self.app.push_screen_wait(Findings(findings, prompts, self._fix))
        if chosen is not None:
            self.go_to(chosen)

    async def _fix(self, finding: Finding) -> bool:
        try:
            done = await asyncio.to_thread(curation.apply, self.store, finding)
        except LlamaTuiError as error:
            self.llama.report(error)
            return False
        self.llama.tell(CorpusChanged((finding.exchange_id,)))
        return done

    @background("stats")
    async def action_statistics(self) -> None:
        """Counts and bars over everything."""
        parts = await asyncio.to_thread(statistics, self.store)
        await self.app.push_screen_wait(Reading("The corpus in figures", parts))


def _count(ids: tuple[int, ...]) -> str:
    return "this exchange" if len(ids) == 1 else f"{len(ids):,} exchanges"
