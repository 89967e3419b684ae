"""The corpus: browse, filter, read, correct, keep or reject; one by one in the inbox, many at a time.

Workers ask the store, handlers change widgets. What keys do to exchanges stands in `curating.py`, what they do
with files in `transferring.py`.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.timer import Timer
from textual.widgets import Input, Static

from corpora.dialog import Exchange, Status
from corpora.store import Filter, Store
from tui import render
from tui.messages import CorpusChanged, RunEnded, StoreOpened
from tui.screens.background import background
from tui.screens.transferring import Transferring
from tui.widgets.exchange_detail import ExchangeDetail, Shown
from tui.widgets.exchange_table import PAGE, ExchangeTable
from tui.widgets.filter_bar import TABS, FilterBar

LOOK = 0.04
NARROW = 100


@dataclass(frozen=True, slots=True)
class Look:
    """What to read: the filter and order, the cursor's row and exchange, and the pages in view."""

    where: Filter
    order: str
    cursor: int
    exchange_id: int | None
    pages: range


@dataclass(frozen=True, slots=True)
class Read:
    """What one look found: how many match, the pages around the cursor, and the cursor's row."""

    count: int
    pages: dict[int, list[Exchange]]
    cursor: int


class CorpusScreen(Transferring):
    """A table of exchanges and the one under the cursor whole."""

    MODE: ClassVar[str] = "corpus"
    CSS_PATH = "corpus.tcss"
    AUTO_FOCUS = "ExchangeTable"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f", "filters", "Filters", show=False, id="corpus.filters"),
        Binding("n", "step(1)", "Next one", show=False, id="corpus.on"),
        Binding("p", "step(-1)", "Previous one", show=False, id="corpus.back"),
        Binding("z", "zoom", "Whole", show=False, id="corpus.zoom"),
        Binding("escape", "back", "Back", show=False, id="corpus.escape"),
        *(Binding(str(place), f"status({place - 1})", show=False) for place in range(1, len(TABS) + 1)),
        Binding("J", "scroll_detail(3)", "Scroll down", show=False),
        Binding("K", "scroll_detail(-3)", "Scroll up", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.order = "newest"
        self._stale = False
        self._pause: Timer | None = None

    def body(self) -> ComposeResult:
        """Filter above; table and detail beside or below each other."""
        yield FilterBar(id="filters")
        yield Static("", id="inbox-line", markup=False)
        yield Static("", id="task-line", markup=False)
        with Horizontal(id="corpus-panes"):
            yield ExchangeTable(id="exchanges")
            yield ExchangeDetail(id="detail")

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

    # when to look into the store

    def on_mount(self) -> None:
        """Look as soon as there is a store."""
        if self.llama.opened.is_set():
            self.look()

    def on_store_opened(self, message: StoreOpened) -> None:
        """The first look."""
        self.look()

    def on_corpus_changed(self, message: CorpusChanged) -> None:
        """Look again now, or when this screen is shown next."""
        self._changed()

    def on_run_ended(self, message: RunEnded) -> None:
        """More exchanges are trained."""
        self._changed()

    def on_screen_resume(self) -> None:
        """Catch up."""
        if self._stale:
            self.look()

    def on_filter_bar_changed(self, message: FilterBar.Changed) -> None:
        """Other rows, from the first."""
        self.look(from_top=True)

    def on_filter_bar_status_chosen(self, message: FilterBar.StatusChosen) -> None:
        """A tab was clicked."""
        self.leave_inbox()
        self.filters.choose(message.status)

    def on_filter_bar_left(self, message: FilterBar.Left) -> None:
        """Back to the rows."""
        self.table.focus()

    def _changed(self) -> None:
        if self.is_current and self.llama.opened.is_set():
            self.look()
        else:
            self._stale = True

    # looking

    @background("look")
    async def look(self, *, from_top: bool = False, at: int | None = None) -> None:
        """Read the matches anew; the cursor stays on its exchange, or at its row where that one is gone."""
        if not self.llama.opened.is_set():
            return
        self._stale = False
        self._show(await asyncio.to_thread(_read, self.store, self._look(from_top, at)))
        self.filters.show_counts(await asyncio.to_thread(self.store.stats))

    def _look(self, from_top: bool, at: int | None) -> Look:
        table, where = self.table, self.filters.where
        if at is not None:
            return Look(where, self.order, at, None, range(at // PAGE, at // PAGE + 1))
        if from_top:
            return Look(where, self.order, 0, None, range(1))
        current = table.current
        return Look(where, self.order, table.cursor, current.id if current else None, table.visible_pages)

    def _show(self, read: Read) -> None:
        self.table.show(read.count, read.pages, cursor=read.cursor)
        self.filters.show_found(read.count, self.table.selected)
        self.query_one("#inbox-line", Static).update(self._inbox_line(read.count))

    @background("pages", exclusive=False)
    async def on_exchange_table_page_wanted(self, message: ExchangeTable.PageWanted) -> None:
        """Bring a page that was scrolled to."""
        where, order = self.filters.where, self.order
        offset = message.page * PAGE
        rows = await asyncio.to_thread(self.store.page, where, limit=PAGE, offset=offset, order=order)
        self.table.fill(message.page, message.generation, rows)

    def on_exchange_table_cursor_moved(self, message: ExchangeTable.CursorMoved) -> None:
        """Show the exchange in full once the cursor rests."""
        if self._pause is not None:
            self._pause.stop()
        exchange = message.exchange
        self.query_one("#inbox-line", Static).update(self._inbox_line(self.table.count))
        self._pause = self.set_timer(LOOK, lambda: self.read_whole(exchange))

    @background("detail")
    async def read_whole(self, exchange: Exchange | None) -> None:
        """The dialog above an exchange, and what has learned it."""
        if exchange is None:
            self.detail.show(None)
            return
        shown = await asyncio.to_thread(_whole, self.store, exchange)
        self.detail.show(shown)
        if self.tokens_shown:
            self.preview_tokens(shown)

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

    def on_exchange_table_opened(self, message: ExchangeTable.Opened) -> None:
        """Enter: the exchange on the whole screen."""
        self.action_zoom()

    def on_exchange_table_selection_changed(self, message: ExchangeTable.SelectionChanged) -> None:
        """Say how many are marked."""
        self.filters.show_found(self.table.count, self.table.selected)

    def action_search(self) -> None:
        """Type what to look for."""
        self.leave_inbox()
        self.query_one("#search", Input).focus()

    def action_filters(self) -> None:
        """Choose tags, corrected, trained, source."""
        self.leave_inbox()
        self.query_one("#tags", Input).focus()

    def action_status(self, place: int) -> None:
        """Show one status, or all."""
        self.leave_inbox()
        self.filters.choose(TABS[place])

    def action_select(self) -> None:
        """Mark or unmark the exchange under the cursor."""
        self.table.toggle()

    def action_step(self, by: int) -> None:
        """The next or previous exchange, whatever has the focus."""
        self.table.action_move(by)

    def action_scroll_detail(self, by: int) -> None:
        """Scroll the exchange without leaving the table."""
        self.detail.scroll_relative(y=by, animate=False)

    def action_zoom(self) -> None:
        """The exchange on the whole screen, or beside the table again."""
        zoomed = not self.has_class("-zoomed")
        self.set_class(zoomed, "-zoomed")
        (self.detail if zoomed else self.table).focus()

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
        """One step back: from a field, the inbox, the whole exchange, a selection, a filter; else from toasts."""
        if isinstance(self.focused, Input):
            self.table.focus()
        elif self.has_class("-inbox"):
            self.action_inbox()
        elif self.has_class("-zoomed"):
            self.action_zoom()
        elif self.table.selected:
            self.table.select(())
        elif self.filters.active:
            self.filters.clear()
        else:
            self.app.clear_notifications()
            self.table.focus()

    def on_resize(self) -> None:
        """Beside each other where there is room, else below."""
        self.set_class(self.size.width < NARROW, "-narrow")

    def _inbox_line(self, left: int) -> str:
        if not self.has_class("-inbox"):
            return ""
        if not left:
            return "Inbox: nothing is pending. escape goes back to the table."
        place = self.table.cursor + 1
        return render.line(f"Inbox: {place} of {left:,} pending · y keep · c correct · x reject · d defer · n next")


def _read(store: Store, look: Look) -> Read:
    count = store.count(look.where)
    cursor = max(0, min(look.cursor, count - 1))
    numbers = {number for number in (*look.pages, cursor // PAGE) if number * PAGE < count}
    pages = {n: store.page(look.where, limit=PAGE, offset=n * PAGE, order=look.order) for n in numbers}
    found = (
        n * PAGE + place for n, rows in pages.items() for place, row in enumerate(rows) if row.id == look.exchange_id
    )
    return Read(count, pages, next(found, cursor))


def _whole(store: Store, exchange: Exchange) -> Shown:
    path = store.path_to(exchange.id)
    return Shown(path[-1] if path else exchange, path, store.trained_in(exchange.id))
