"""What keys do to the exchanges of the corpus screen: verdicts, ratings, corrections, tags, notes, checks, figures."""

from __future__ import annotations

import asyncio
import time
from abc import abstractmethod
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.widgets import Input

from corpora import curation
from corpora.dialog import Exchange, Status
from corpora.errors import LlamaTuiError
from corpora.findings import Finding
from corpora.store import Filter
from tui import render
from tui.messages import CorpusChanged
from tui.screens.background import background
from tui.screens.browsing import Browsing
from tui.stars import stars
from tui.widgets.dialogs import AskLine, Confirm, EditText
from tui.widgets.exchange_detail import ExchangeDetail, Shown
from tui.widgets.exchange_table import ExchangeTable
from tui.widgets.findings import Findings, found
from tui.widgets.rating import AskRating
from tui.widgets.stats_panel import StatsPanel, lengths, statistics
from tui.widgets.token_preview import token_preview

MANY = 50
THEM = "this exchange, or the marked ones"
CORRECT = "Rewrite the reply and keep it; both make a preference pair"
TOKENS = "The exact ids that the model sees, below each piece of text; again: take them away"
SEARCH = "Words, and filters such as tag:x rating:>=4 len:>200 date:7d"
WORDS = {Status.KEPT: "kept", Status.REJECTED: "rejected", Status.DEFERRED: "deferred", Status.PENDING: "pending again"}


class Curating(Browsing[Exchange, Filter]):
    """The corpus screen's keys and actions; the marked exchanges, or else the one under the cursor."""

    BINDINGS: ClassVar[list[BindingType]] = [
        # One id, so that another key for it is another key for all three; the first that can be done is done.
        Binding("escape", "end_tokens", "Close tokens", tooltip="Take the ids away", id="corpus.escape"),
        Binding("escape", "leave_whole", "Back", tooltip="Back to the table", id="corpus.escape"),
        Binding("escape", "back", "Back", show=False, id="corpus.escape"),
        Binding("y", "verdict('kept')", "Keep", tooltip=f"Keep {THEM} for training", id="corpus.keep"),
        Binding("c", "correct", "Correct", tooltip=CORRECT, id="corpus.correct"),
        Binding("x", "verdict('rejected')", "Reject", tooltip=f"Reject {THEM}", id="corpus.reject"),
        Binding("d", "verdict('deferred')", "Defer", tooltip=f"Put {THEM} aside for later", id="corpus.defer"),
        Binding("asterisk", "rate", "Rate", key_display="*", tooltip=f"1 to 5 stars for {THEM}", id="corpus.rate"),
        Binding("u", "undo", "Undo", tooltip="Take the last action back, many deep", id="corpus.undo"),
        Binding("i", "inbox", "Inbox", tooltip="Work the pending ones one by one", id="corpus.inbox"),
        Binding("slash", "search", "Search", key_display="/", tooltip=SEARCH, id="corpus.search"),
        Binding("f", "filters", "Filters", tooltip="All filters as fields, with their choices", id="corpus.filters"),
        Binding("t", "tags", "Tags", tooltip=f"The tags of {THEM}", id="corpus.tags"),
        Binding("space", "select", "Select", tooltip="Mark one; keys then act on all marked", id="corpus.select"),
        Binding("I", "import", "Import", tooltip="Bring a file or a folder in", id="corpus.import"),
        Binding("E", "export", "Export", tooltip="Write what is kept, or shown, to a file", id="corpus.export"),
        Binding("s", "statistics", "Stats", tooltip="The corpus in figures", id="corpus.stats"),
        Binding("h", "check", "Check", tooltip="Find duplicates, conflicts, secrets and more", id="corpus.check"),
        Binding("v", "tokens", "Tokens", tooltip=TOKENS, id="corpus.tokens"),
        Binding("o", "verdict('pending')", "Reopen", show=False, tooltip=f"Ask again: {THEM}", id="corpus.reopen"),
        Binding("e", "edit_prompt", "Edit prompt", show=False, tooltip="Change the stored prompt", id="corpus.edit"),
        Binding("m", "note", "Note", show=False, tooltip="A note of your own, never trained on", id="corpus.note"),
    ]

    tokens_shown = False

    @property
    @abstractmethod
    def table(self) -> ExchangeTable:
        """The rows."""

    @property
    @abstractmethod
    def detail(self) -> ExchangeDetail:
        """The exchange under the cursor."""

    @abstractmethod
    def go_to(self, exchange_id: int) -> object:
        """Put the cursor on an exchange."""

    # verdicts

    def action_verdict(self, status: str) -> None:
        """Keep, reject, defer or reopen; the inbox goes on at once, so that no key is waited for."""
        if ids := self.table.targets:
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

    @background("rating")
    async def action_rate(self) -> None:
        """Give the exchange, or all marked ones, 1 to 5 stars, or take them away."""
        ids, exchange = self.table.targets, self.table.current
        if not ids or exchange is None:
            return
        rating = await self.app.push_screen_wait(AskRating(_count(ids), exchange.rating))
        if rating is not None:
            said = f"{stars(rating)} for {_count(ids)}." if rating else f"No rating for {_count(ids)}."
            await self.change(said if len(ids) > 1 else "", lambda: self.store.rate(ids, rating or None), ids)

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
        ids, exchange = self.table.targets, self.table.current
        if not ids or exchange is None:
            return
        hint = f"Words between blanks. They replace the tags of {_count(ids)}."
        typed = await self.app.push_screen_wait(AskLine("Tags", " ".join(exchange.tags), hint=hint))
        if typed is not None:
            tags = tuple(dict.fromkeys(tag for word in typed.replace(",", " ").split() if (tag := word.lstrip("#"))))
            said = f"Tags of {_count(ids)} set." if len(ids) > 1 else ""
            await self.change(said, lambda: self.store.set_tags(ids, tags), ids)

    async def _edited(self, title: str, text: str, above: str, *, empty: bool = False) -> str | None:
        context = render.clean(above[:4000])
        return await self.app.push_screen_wait(EditText(title, text, context=context, may_be_empty=empty))

    # looking closer

    def action_tokens(self) -> None:
        """Show or hide the ids that the model would see; they stay while the cursor moves."""
        self.tokens_shown = not self.tokens_shown and self.table.current is not None
        if self.tokens_shown and self.table.current is not None:
            self.read_tokens(self.table.current)
        else:
            self.detail.show_tokens(None)
        self.refresh_bindings()

    def action_end_tokens(self) -> None:
        """Hide the ids."""
        self.action_tokens()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Escape ends the innermost thing, and says at the foot what that is; a field comes first."""
        if action == "end_tokens":
            return self.tokens_shown and not isinstance(self.focused, Input)
        return super().check_action(action, parameters)

    @background("tokens")
    async def read_tokens(self, exchange: Exchange) -> None:
        """The dialog above, then the preview."""
        path = await asyncio.to_thread(self.store.path_to, exchange.id)
        self.preview_tokens(Shown(exchange, path, ()))

    @background("tokens")
    async def preview_tokens(self, shown: Shown) -> None:
        """Encode in a thread, as training would."""
        model = self.llama.client.model
        tokens = await asyncio.to_thread(token_preview, model, shown)
        if self.tokens_shown:
            self.detail.show_tokens(tokens)

    @background("check")
    async def action_check(self) -> None:
        """Duplicates, conflicts, cut-off replies, tags, secrets and more, each with its fix."""
        self.say_task("Checking …")
        try:
            result = await asyncio.to_thread(found, self.store, self.llama.client.model)
        finally:
            self.say_task("")
        if not result.findings:
            self.llama.notify(" ".join(filter(None, ("The checks found nothing.", result.left_out))), timeout=3)
            return
        chosen = await self.app.push_screen_wait(Findings(result, self._fix))
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
        """Counts and bars over everything; lengths in tokens come a moment later."""
        panel = StatsPanel()
        await self.app.push_screen(panel)
        panel.show(*await asyncio.to_thread(statistics, self.store, time.time()))
        panel.show_lengths(await asyncio.to_thread(lengths, self.store, self.llama.client.model))


def _count(ids: tuple[int, ...]) -> str:
    return "this exchange" if len(ids) == 1 else f"{len(ids):,} exchanges"
