"""Preference pairs: browse, search, change, swap, remove and export what corrections and votes have made.

Stands over the corpus screen, and tells it by `tab` or `exchange_id` what is wanted there when it is left.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from corpora import queries
from corpora.dialog import Preference
from corpora.errors import UsageError
from corpora.store import PairFilter, Store
from tui import render
from tui.screens.background import background
from tui.screens.browsing import Browsing
from tui.screens.exporting import Exporting
from tui.widgets.dialogs import Confirm, EditText
from tui.widgets.file_dialogs import ExportDialog
from tui.widgets.filter_bar import PairBar
from tui.widgets.paged_table import PAGE
from tui.widgets.pair_detail import PairDetail, ShownPair
from tui.widgets.pair_table import PairTable
from tui.widgets.query_bar import PAIRS, TABS, QueryBar

MANY = 50
CONTEXT = 1500
THEM = "this pair, or the marked ones"
SEARCH = "Words of the dialog and both replies, and source:vote"


class PairsScreen(Browsing[Preference, PairFilter], Exporting):
    """A table of pairs and the one under the cursor whole."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("c", "edit('chosen')", "Edit chosen", tooltip="Rewrite the chosen reply", id="pairs.chosen"),
        Binding("r", "edit('rejected')", "rejected", tooltip="Rewrite the rejected reply", id="pairs.rejected"),
        Binding("w", "swap", "Swap", tooltip="Choose the rejected reply instead", id="pairs.swap"),
        Binding("x,delete", "remove", "Remove", key_display="x", tooltip=f"Remove {THEM}", id="pairs.remove"),
        Binding("u", "undo", "Undo", tooltip="Take the last action back, many deep", id="corpus.undo"),
        Binding("e", "exchange", "Exchange", tooltip="Go to the exchange that was corrected", id="pairs.exchange"),
        Binding("slash", "search", "Search", key_display="/", tooltip=SEARCH, id="corpus.search"),
        Binding("f", "source", "Next source", tooltip="Only corrections, only votes, …, all again", id="pairs.source"),
        Binding("E", "export", "Export", tooltip="Write pairs to a file, for DPO", id="corpus.export"),
        Binding("space", "select", "Select", tooltip="Mark one; keys then act on all marked", id="corpus.select"),
        *(
            Binding(str(place), f"tab('{tab}')", f"Show {tab}", show=False, id=f"corpus.show_{tab}")
            for place, tab in enumerate(TABS, 1)
        ),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.tab: str | None = None
        self.exchange_id: int | None = None

    def make_bar(self) -> PairBar:
        """Words and sources."""
        return PairBar(id="filters")

    def panes(self) -> ComposeResult:
        """Pairs."""
        yield PairTable(id="pairs", classes="rows")
        yield PairDetail(id="pair", classes="whole")

    # typed access

    @property
    def filters(self) -> PairBar:
        """The bar above."""
        return self.query_one(PairBar)

    @property
    def table(self) -> PairTable:
        """The rows."""
        return self.query_one(PairTable)

    @property
    def detail(self) -> PairDetail:
        """The pair under the cursor."""
        return self.query_one(PairDetail)

    # asking the store

    def count_of(self, where: PairFilter) -> int:
        """How many pairs match."""
        return self.store.count_preferences(where)

    def page_of(self, where: PairFilter, offset: int) -> list[Preference]:
        """A page of pairs."""
        return self.store.preferences(PAGE, offset, where=where)

    def ids_of(self, where: PairFilter) -> list[int]:
        """All that match."""
        return self.store.preference_ids(where)

    @background("detail")
    async def read_whole(self, row: Preference | None) -> None:
        """The pair, and the vote that it was made of."""
        if row is None:
            self.detail.show(None, filtered=self.filters.active)
        else:
            self.detail.show(await asyncio.to_thread(_whole, self.store, row))

    # changing

    @background("write")
    async def action_edit(self, which: str) -> None:
        """Rewrite one of the replies; what cannot be saved is said and stays in the editor."""
        pair = self.table.current
        if pair is None:
            return
        text: str | None = pair.chosen if which == "chosen" else pair.rejected
        error = ""
        while text is not None:
            text = await self.app.push_screen_wait(self._editor(pair, which, text, error))
            if text is None:
                return
            chosen, rejected = (text, pair.rejected) if which == "chosen" else (pair.chosen, text)
            try:
                await self.change("", partial(self.store.edit_preference, pair.id, chosen, rejected))
                return
            except UsageError as refused:
                error = str(refused)

    def _editor(self, pair: Preference, which: str, text: str, error: str) -> EditText:
        other, reply = ("rejected", pair.rejected) if which == "chosen" else ("chosen", pair.chosen)
        asked = pair.dialog[-1].content if pair.dialog else ""
        context = render.clean(f"{asked[:CONTEXT]}\n\n{other}: {reply[:CONTEXT]}")
        return EditText(f"The {which} reply", text, context=context, error=error)

    @background("write")
    async def action_swap(self) -> None:
        """Choose the rejected reply instead."""
        pair = self.table.current
        if pair is not None:
            await self.change("Swapped.", lambda: self.store.swap_preference(pair.id))

    @background("write")
    async def action_remove(self) -> None:
        """Take the pair, or all marked ones, out; very many are asked about first."""
        ids = self.table.targets
        if not ids or (len(ids) > MANY and not await self._sure(len(ids))):
            return
        told = f"{len(ids):,} pairs removed" if len(ids) > 1 else "Pair removed"
        await self.change(f"{told}. u takes it back.", lambda: self.store.remove_preferences(ids))
        self.table.select(())

    async def _sure(self, count: int) -> bool:
        question = f"{count:,} pairs are removed. One undo (u) takes it back."
        return await self.app.push_screen_wait(Confirm("Many at once", question)) is True

    # moving about

    @background("source")
    async def action_source(self) -> None:
        """Show the pairs of the next source, then all again."""
        known = list(await asyncio.to_thread(self.store.preference_sources))
        now = self.filters.where.sources
        place = known.index(now[0]) + 1 if now and now[0] in known else len(known) if now else 0
        query = queries.replaced(self.filters.query_text, "source", known[place : place + 1])
        self.filters.put(query)

    def action_exchange(self) -> None:
        """Go to the exchange that was corrected."""
        pair = self.table.current
        if pair is None:
            return
        if pair.exchange_id is None:
            self.llama.notify(f"This pair comes from {_made_by(pair)}; no exchange belongs to it.", timeout=4)
            return
        self.exchange_id = pair.exchange_id
        self.dismiss(None)

    def action_tab(self, tab: str) -> None:
        """Back to the exchanges of a status."""
        self.tab = None if tab == PAIRS else tab
        self.dismiss(None)

    def on_query_bar_tab_chosen(self, message: QueryBar.TabChosen) -> None:
        """A tab was clicked."""
        if message.tab != PAIRS:
            self.action_tab(message.tab)

    def leave(self) -> None:
        """Back to the exchanges as they were."""
        self.dismiss(None)

    @background("transfer")
    async def action_export(self) -> None:
        """Ask for a file and write the pairs for DPO."""
        proposed = self.llama.workspace.paths.exports / "pairs.jsonl"
        wanted = await self.app.push_screen_wait(ExportDialog(proposed, self.table.count, pairs=True))
        if wanted is not None:
            await self.write_out(wanted, pairs=self.filters.where if wanted.shown else PairFilter())


def _whole(store: Store, pair: Preference) -> ShownPair:
    return ShownPair(pair, store.vote_of(pair.id))


def _made_by(pair: Preference) -> str:
    return "a vote on the Compare screen" if pair.source == "vote" else render.line(pair.source, 60)
