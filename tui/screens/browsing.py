"""Browsing rows of the store: a query above, a table that pages, the row under the cursor whole beside it.

Workers ask the store, handlers change widgets. What a row is, and what keys do to it, is the subclasses'.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.timer import Timer
from textual.widgets import Input, Static

from tui.messages import CorpusChanged, StoreOpened
from tui.screens.background import background
from tui.screens.changing import Changing
from tui.widgets.paged_table import PAGE, Numbered, PagedTable
from tui.widgets.query_bar import QueryBar

Row = TypeVar("Row", bound=Numbered)
Where = TypeVar("Where")
LOOK = 0.04
NARROW = 100


@dataclass(frozen=True, slots=True)
class Look(Generic[Where]):
    """What to read: the filter, the cursor's row and its id, and the pages in view."""

    where: Where
    cursor: int
    row_id: int | None
    pages: range


@dataclass(frozen=True, slots=True)
class Read(Generic[Row]):
    """What one look found: how many match, the pages around the cursor, and the cursor's row."""

    count: int
    pages: dict[int, list[Row]]
    cursor: int


class Browsing(Changing, Generic[Row, Where]):
    """A table of rows and the one under the cursor whole."""

    MODE: ClassVar[str] = "corpus"
    CSS_PATH = "corpus.tcss"
    AUTO_FOCUS = "PagedTable"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("n", "step(1)", "Next one", show=False, id="corpus.on"),
        Binding("p", "step(-1)", "Previous one", show=False, id="corpus.back"),
        Binding(
            "z", "zoom", "Whole", show=False, tooltip="The one under the cursor, on the whole screen", id="corpus.zoom"
        ),
        Binding("a", "select_all", "Select all", show=False, id="corpus.all"),
        Binding("escape", "leave_whole", "Back", tooltip="Back to the table", id="corpus.escape"),
        Binding("escape", "back", "Back", show=False, id="corpus.escape"),
        Binding("J", "scroll_detail(3)", "Scroll down", show=False),
        Binding("K", "scroll_detail(-3)", "Scroll up", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._stale = False
        self._pause: Timer | None = None

    def body(self) -> ComposeResult:
        """The query above; table and detail beside or below each other."""
        yield self.make_bar()
        yield Static("", id="inbox-line", markup=False)
        yield Static("", id="task-line", markup=False)
        with Horizontal(id="corpus-panes"):
            yield from self.panes()

    # for subclasses

    @abstractmethod
    def make_bar(self) -> QueryBar[Where]:
        """The bar above."""

    @abstractmethod
    def panes(self) -> ComposeResult:
        """The table and the detail."""

    @property
    @abstractmethod
    def filters(self) -> QueryBar[Where]:
        """The bar above."""

    @property
    @abstractmethod
    def table(self) -> PagedTable[Row]:
        """The rows."""

    @property
    @abstractmethod
    def detail(self) -> VerticalScroll:
        """The row under the cursor."""

    @abstractmethod
    def count_of(self, where: Where) -> int:
        """How many rows match. In a thread."""

    @abstractmethod
    def page_of(self, where: Where, offset: int) -> list[Row]:
        """A page of rows. In a thread."""

    @abstractmethod
    def ids_of(self, where: Where) -> list[int]:
        """The ids of all rows that match. In a thread."""

    @abstractmethod
    def read_whole(self, row: Row | None) -> object:
        """Show the row under the cursor whole, in the background."""

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
        self.changed()

    def on_screen_resume(self) -> None:
        """Catch up."""
        if self._stale:
            self.look()

    def on_query_bar_changed(self, message: QueryBar.Changed) -> None:
        """Other rows, from the first."""
        self.look(from_top=True)

    def on_query_bar_left(self, message: QueryBar.Left) -> None:
        """Back to the rows."""
        self.table.focus()

    def changed(self) -> None:
        """The store holds something else."""
        if self.is_current and self.llama.opened.is_set():
            self.look()
        else:
            self._stale = True

    # looking

    @background("look")
    async def look(self, *, from_top: bool = False, at: int | None = None) -> None:
        """Read the matches anew; the cursor stays on its row, or at its place where that one is gone."""
        if not self.llama.opened.is_set():
            return
        self._stale = False
        self.show_read(await asyncio.to_thread(self._read, self._look(from_top, at)))
        self.filters.show_counts(await asyncio.to_thread(self.store.stats))

    def _look(self, from_top: bool, at: int | None) -> Look[Where]:
        table, where = self.table, self.filters.where
        if at is not None:
            return Look(where, at, None, range(at // PAGE, at // PAGE + 1))
        if from_top:
            return Look(where, 0, None, range(1))
        current = table.current
        return Look(where, table.cursor, current.id if current else None, table.visible_pages)

    def _read(self, look: Look[Where]) -> Read[Row]:
        count = self.count_of(look.where)
        cursor = max(0, min(look.cursor, count - 1))
        numbers = {number for number in (*look.pages, cursor // PAGE) if number * PAGE < count}
        pages = {number: self.page_of(look.where, number * PAGE) for number in numbers}
        found = (
            number * PAGE + place
            for number, rows in pages.items()
            for place, row in enumerate(rows)
            if row.id == look.row_id
        )
        return Read(count, pages, next(found, cursor))

    def show_read(self, read: Read[Row]) -> None:
        """Show what a look has found."""
        self.table.show(read.count, read.pages, cursor=read.cursor)
        self.filters.show_found(read.count, self.table.selected)

    @background("pages", exclusive=False)
    async def on_paged_table_page_wanted(self, message: PagedTable.PageWanted) -> None:
        """Bring a page that was scrolled to."""
        where = self.filters.where
        rows = await asyncio.to_thread(self.page_of, where, message.page * PAGE)
        self.table.fill(message.page, message.generation, rows)

    def on_paged_table_cursor_moved(self, message: PagedTable.CursorMoved) -> None:
        """Show the row in full once the cursor rests."""
        if self._pause is not None:
            self._pause.stop()
        row = self.table.current
        self._pause = self.set_timer(LOOK, lambda: self.read_whole(row))

    # moving about

    def on_paged_table_opened(self, message: PagedTable.Opened) -> None:
        """Enter: the row on the whole screen."""
        self.action_zoom()

    def on_paged_table_selection_changed(self, message: PagedTable.SelectionChanged) -> None:
        """Say how many are marked."""
        self.filters.show_found(self.table.count, self.table.selected)

    def action_search(self) -> None:
        """Type what to look for."""
        self.filters.field.focus()

    def action_select(self) -> None:
        """Mark or unmark the row under the cursor."""
        self.table.toggle()

    @background("select")
    async def action_select_all(self) -> None:
        """Mark all that the filter shows; again: none."""
        if len(self.table.selected) >= self.table.count:
            self.table.select(())
            return
        self.table.select(await asyncio.to_thread(self.ids_of, self.filters.where))

    def action_step(self, by: int) -> None:
        """The next or previous row, whatever has the focus."""
        self.table.action_move(by)

    def action_scroll_detail(self, by: int) -> None:
        """Scroll the row without leaving the table."""
        self.detail.scroll_relative(y=by, animate=False)

    def action_zoom(self) -> None:
        """The row on the whole screen, or beside the table again."""
        zoomed = not self.has_class("-zoomed")
        self.set_class(zoomed, "-zoomed")
        (self.detail if zoomed else self.table).focus()

    def action_leave_whole(self) -> None:
        """From the row on the whole screen back to the table."""
        self.action_back()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """The way back from the whole screen stands at the foot; a field comes first."""
        if action == "leave_whole":
            return self.has_class("-zoomed") and not isinstance(self.focused, Input)
        return super().check_action(action, parameters)

    def action_back(self) -> None:
        """One step back: from a field, the whole row, a selection, a filter; else from toasts."""
        if isinstance(self.focused, Input):
            self.table.focus()
        elif self.has_class("-zoomed"):
            self.action_zoom()
        elif self.table.selected:
            self.table.select(())
        elif self.filters.active:
            self.filters.clear()
        else:
            self.leave()

    def leave(self) -> None:
        """There is nothing to step back from: clear the toasts."""
        self.app.clear_notifications()
        self.table.focus()

    def on_resize(self) -> None:
        """Beside each other where there is room, else below."""
        self.set_class(self.size.width < NARROW, "-narrow")
