"""The corpus: browse, filter, read, correct, keep or reject; one by one in the inbox, many at a time.

What keys do to exchanges stands in `curating.py`, what they do with files in `transferring.py`.
"""

from __future__ import annotations

import asyncio
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import Input, Static

from corpora.dialog import Exchange, Status
from corpora.store import Filter, Store
from tui.messages import RunEnded
from tui.screens.background import background
from tui.screens.browsing import Read
from tui.screens.pairs import PairsScreen
from tui.screens.transferring import Transferring
from tui.widgets.exchange_detail import ExchangeDetail, Shown
from tui.widgets.exchange_table import ExchangeTable
from tui.widgets.filter_bar import FilterBar
from tui.widgets.filter_panel import FilterPanel, choices_of
from tui.widgets.paged_table import PAGE, PagedTable
from tui.widgets.query_bar import ALL, PAIRS, TABS, QueryBar

INBOX_KEYS = ("y keep", "c correct", "x reject", "d defer", "* rate", "t tag", "n next")


class CorpusScreen(Transferring):
    """A table of exchanges and the one under the cursor whole."""

    BINDINGS: ClassVar[list[BindingType]] = [
        *(
            Binding(str(place), f"tab('{tab}')", f"Show {tab}", show=False, id=f"corpus.show_{tab}")
            for place, tab in enumerate(TABS, 1)
        ),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.order = "newest"

    def make_bar(self) -> FilterBar:
        """Filters of exchanges."""
        return FilterBar(id="filters")

    def panes(self) -> ComposeResult:
        """Exchanges."""
        yield ExchangeTable(id="exchanges", classes="rows")
        yield ExchangeDetail(id="detail", classes="whole")

    # typed access

    @property
    def filters(self) -> FilterBar:
        """The bar above."""
        return self.query_one(FilterBar)

    @property
    def table(self) -> ExchangeTable:
        """The rows."""
        return self.query_one(ExchangeTable)

    @property
    def detail(self) -> ExchangeDetail:
        """The exchange under the cursor."""
        return self.query_one(ExchangeDetail)

    # asking the store

    def count_of(self, where: Filter) -> int:
        """How many exchanges match."""
        return self.store.count(where)

    def page_of(self, where: Filter, offset: int) -> list[Exchange]:
        """A page of exchanges."""
        return self.store.page(where, limit=PAGE, offset=offset, order=self.order)

    def ids_of(self, where: Filter) -> list[int]:
        """All that match."""
        return self.store.ids(where)

    @background("detail")
    async def read_whole(self, row: Exchange | None) -> None:
        """The dialog above an exchange, and what has learned it."""
        if row is None:
            self.detail.show(None, filtered=self.filters.active)
            return
        shown = await asyncio.to_thread(_whole, self.store, row)
        self.detail.show(shown)
        if self.tokens_shown:
            self.preview_tokens(shown)

    # what has happened

    def on_run_ended(self, message: RunEnded) -> None:
        """More exchanges are trained."""
        self.changed()

    def on_query_bar_tab_chosen(self, message: QueryBar.TabChosen) -> None:
        """A tab was clicked."""
        self.action_tab(message.tab)

    def show_read(self, read: Read[Exchange]) -> None:
        """The inbox says how many are left, too."""
        super().show_read(read)
        self._show_inbox_line()

    def on_paged_table_cursor_moved(self, message: PagedTable.CursorMoved) -> None:
        """The inbox says which one it is."""
        self._show_inbox_line()

    @background("go")
    async def go_to(self, exchange_id: int) -> None:
        """Put the cursor on an exchange, the filter cleared."""
        self.leave_inbox()
        self.filters.clear(tell=False)
        ids = await asyncio.to_thread(self.store.ids)
        if exchange_id in ids:
            newest = len(ids) - 1 - ids.index(exchange_id)
            self.table.cursor = newest
            self.look(at=newest)

    # moving about

    def action_search(self) -> None:
        """Type what to look for."""
        self.leave_inbox()
        super().action_search()

    @background("filters")
    async def action_filters(self) -> None:
        """Choose filters by fields, with what there is to choose from."""
        self.leave_inbox()
        choices = await asyncio.to_thread(choices_of, self.store)
        query = await self.app.push_screen_wait(FilterPanel(self.filters.query_text, choices))
        if query is not None:
            self.filters.put(query)
            self.table.focus()

    def action_tab(self, tab: str) -> None:
        """Show one status, all, or the pairs."""
        self.leave_inbox()
        if tab == PAIRS:
            pairs = PairsScreen()
            self.app.push_screen(pairs, lambda _: self._back_from(pairs))
        else:
            self.filters.choose(None if tab == ALL else Status(tab))

    def _back_from(self, pairs: PairsScreen) -> None:
        """An exchange of a pair is wanted, or another tab."""
        if pairs.exchange_id is not None:
            self.go_to(pairs.exchange_id)
        elif pairs.tab is not None:
            self.action_tab(pairs.tab)

    def action_inbox(self) -> None:
        """Work the pending ones one by one, the oldest first; again: back to the table."""
        if self.has_class("-inbox"):
            self.leave_inbox()
            self.filters.choose(None)
            return
        self.add_class("-inbox", "-zoomed")
        self.order = "oldest"
        self.table.select(())
        self.filters.choose(Status.PENDING)
        self.detail.focus()

    def leave_inbox(self) -> None:
        """Back to browsing."""
        if self.has_class("-inbox"):
            self.remove_class("-inbox", "-zoomed")
            self.order = "newest"
            self.table.focus()

    def action_back(self) -> None:
        """One step back; from the inbox to the table."""
        if self.has_class("-inbox") and not isinstance(self.focused, Input):
            self.action_inbox()
        else:
            super().action_back()

    def undoing(self) -> list[int]:
        """What is pending, where the inbox is worked: what an undo brings back is shown."""
        return self.store.ids(self.filters.where) if self.has_class("-inbox") else []

    def undone(self, before: list[int], after: list[int]) -> None:
        """Show the first that came back."""
        known = set(before)
        back = next((place for place, each in enumerate(after) if each not in known), None)
        if back is not None:
            self.look(at=back)

    def _show_inbox_line(self) -> None:
        self.query_one("#inbox-line", Static).update(self._inbox_line(self.table.count))

    def _inbox_line(self, left: int) -> Content:
        if not self.has_class("-inbox"):
            return Content("")
        if not left:
            return Content("Inbox: nothing is pending. esc goes back to the table.")
        keys = [Content.assemble(" ", (key[0], "bold"), key[1:]) for key in INBOX_KEYS]
        return Content("").join([Content(f"Inbox: {self.table.cursor + 1:,} of {left:,} ·"), *keys])


def _whole(store: Store, exchange: Exchange) -> Shown:
    path = store.path_to(exchange.id)
    now = path[-1] if path else exchange
    earlier = tuple(store.corrections(exchange.id)) if now.corrected else ()
    return Shown(now, path, store.trained_in(exchange.id), earlier)
