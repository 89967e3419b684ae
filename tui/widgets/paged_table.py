"""A table that holds only the pages in view: 100,000 rows open as fast as ten.

Asks for pages with a message and is given rows; what a row is, and how it is drawn, is its subclass's.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual.binding import Binding
from textual.events import Click
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

PAGE = 100
KEPT_PAGES = 12


class Numbered(Protocol):
    """What a row can be."""

    @property
    def id(self) -> int: ...


Row = TypeVar("Row", bound=Numbered)


class PagedTable(ScrollView, Generic[Row], can_focus=True):
    """Rows by number; `row` is None where a page has not come yet."""

    COMPONENT_CLASSES = {
        "table--head",
        "table--cursor",
        "table--blurred-cursor",
        "table--even",
        "table--selected",
    }
    DEFAULT_CSS = """
    PagedTable {
        background: $surface;
        color: $foreground;
        overflow-x: hidden;
        scrollbar-gutter: stable;
        scrollbar-size-vertical: 1;
        & > .table--head { background: $panel; color: $foreground; text-style: bold; }
        & > .table--cursor { background: $block-cursor-background; color: $block-cursor-foreground; }
        & > .table--blurred-cursor { background: $block-cursor-blurred-background; }
        & > .table--even { background: $surface; }
        & > .table--selected { color: $accent; text-style: bold; }
    }
    """
    BINDINGS = [
        Binding("j,down", "move(1)", "Next", show=False, id="corpus.next"),
        Binding("k,up", "move(-1)", "Previous", show=False, id="corpus.previous"),
        Binding("pagedown,ctrl+f", "move_page(1)", "Page down", show=False),
        Binding("pageup,ctrl+b", "move_page(-1)", "Page up", show=False),
        Binding("g,home", "first", "First", show=False),
        Binding("G,end", "last", "Last", show=False),
        Binding("enter", "open", "Open", show=False, id="corpus.open"),
    ]

    @dataclass
    class PageWanted(Message):
        """Rows from `page * PAGE` on are needed; `generation` goes back with them."""

        page: int
        generation: int

    class CursorMoved(Message):
        """Another row is under the cursor, or none in an empty table."""

    class Opened(Message):
        """Enter or a double click on a row."""

    class SelectionChanged(Message):
        """Rows were marked or unmarked."""

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self.count = 0
        self.cursor = 0
        self.generation = 0
        self.selected: set[int] = set()
        self._pages: dict[int, list[Row]] = {}
        self._asked: set[int] = set()

    # for subclasses

    def heads(self, width: int) -> list[tuple[str, int]]:
        """The name of each column and its cells."""
        raise NotImplementedError

    def segments(self, row: Row, width: int, base: Style, dim: Style) -> list[Segment]:
        """A row, column by column."""
        raise NotImplementedError

    # what is shown

    def show(self, count: int, pages: dict[int, list[Row]], *, cursor: int | None = None) -> None:
        """Replace everything: the number of rows, the pages that are there, and the cursor's row."""
        self.generation += 1
        self.count, self._pages, self._asked = count, dict(pages), set()
        self.cursor = max(0, min(self.cursor if cursor is None else cursor, count - 1))
        self.virtual_size = Size(0, count + 1)
        self._keep_in_view()
        self.refresh()
        self._moved()

    def fill(self, page: int, generation: int, rows: list[Row]) -> None:
        """Take a page that was asked for; one of an older generation is ignored."""
        if generation != self.generation:
            return
        self._asked.discard(page)
        self._pages[page] = rows
        for old in sorted(self._pages, key=lambda number: abs(number - page))[KEPT_PAGES:]:
            del self._pages[old]
        self.refresh()
        if self.cursor // PAGE == page:
            self._moved()

    def row(self, index: int) -> Row | None:
        """The row at a place; asks for its page where it is not there."""
        if not 0 <= index < self.count:
            return None
        page, place = divmod(index, PAGE)
        rows = self._pages.get(page)
        if rows is None:
            self._ask(page)
            return None
        return rows[place] if place < len(rows) else None

    @property
    def current(self) -> Row | None:
        """The row under the cursor."""
        return self.row(self.cursor)

    @property
    def targets(self) -> tuple[int, ...]:
        """Ids that an action is for: the marked ones, else the one under the cursor."""
        if self.selected:
            return tuple(sorted(self.selected))
        return (self.current.id,) if self.current else ()

    @property
    def visible_pages(self) -> range:
        """Numbers of the pages in view, the cursor's included; at least one."""
        first = min(self.scroll_offset.y, self.cursor)
        last = max(self.scroll_offset.y + self.size.height, self.cursor)
        return range(first // PAGE, max(0, min(last, self.count - 1)) // PAGE + 1)

    def select(self, ids: Iterable[int]) -> None:
        """Mark these rows, and no others."""
        self.selected = set(ids)
        self.refresh()
        self.post_message(self.SelectionChanged())

    # moving

    def move_to(self, index: int) -> None:
        """Put the cursor on a row and keep it in view."""
        self.cursor = max(0, min(index, self.count - 1))
        self._keep_in_view()
        self.refresh()
        self._moved()

    def action_move(self, by: int) -> None:
        """One row on or back."""
        self.move_to(self.cursor + by)

    def action_move_page(self, by: int) -> None:
        """One screenful on or back."""
        self.move_to(self.cursor + by * max(1, self.size.height - 2))

    def action_first(self) -> None:
        """The first row."""
        self.move_to(0)

    def action_last(self) -> None:
        """The last row."""
        self.move_to(self.count - 1)

    def action_open(self) -> None:
        """Look at the whole row."""
        if self.current is not None:
            self.post_message(self.Opened())

    def toggle(self) -> None:
        """Mark or unmark the row, and go on to the next."""
        if (row := self.current) is not None:
            self.select(self.selected ^ {row.id})
            self.move_to(self.cursor + 1)

    def on_click(self, event: Click) -> None:
        """A click moves the cursor, a double click opens."""
        index = event.get_content_offset_capture(self).y + self.scroll_offset.y - 1
        if 0 <= index < self.count:
            self.move_to(index)
            if event.chain == 2:
                self.action_open()

    # drawing

    def render_line(self, y: int) -> Strip:
        """Line 0 is the head and stays; the others are rows."""
        width = self.scrollable_content_region.width
        if y == 0:
            return self._head(width)
        index = self.scroll_offset.y + y - 1
        if index >= self.count:
            return Strip.blank(width, self.rich_style)
        return self._line(index, width)

    def on_resize(self) -> None:
        """The cursor stays in view when the terminal shrinks."""
        self._keep_in_view()

    def mark(self, row: Row, base: Style) -> Segment:
        """Whether a row is selected."""
        chosen = self.get_component_rich_style("table--selected", partial=True)
        return Segment(fit("●" if row.id in self.selected else " ", 2), base + chosen)

    def _head(self, width: int) -> Strip:
        style = self.get_component_rich_style("table--head")
        cells = [Segment(fit(name, size), style) for name, size in self.heads(width)]
        return Strip(cells).adjust_cell_length(width, style)

    def _line(self, index: int, width: int) -> Strip:
        row = self.row(index)
        base = self._row_style(index)
        if row is None:
            return Strip([Segment(fit("  …", width), base)], width)
        dim = Style() if index == self.cursor else Style(dim=True)
        return Strip(self.segments(row, width, base, dim)).adjust_cell_length(width, base)

    def _row_style(self, index: int) -> Style:
        if index == self.cursor:
            name = "table--cursor" if self.has_focus else "table--blurred-cursor"
            return self.get_component_rich_style(name)
        return self.get_component_rich_style("table--even")

    # within

    def _ask(self, page: int) -> None:
        if page not in self._asked:
            self._asked.add(page)
            self.post_message(self.PageWanted(page, self.generation))

    def _keep_in_view(self) -> None:
        if self.size.height > 1:
            region = Region(0, self.cursor, 1, 2)
            self.scroll_to_region(region, animate=False, force=True)

    def _moved(self) -> None:
        if self.current is not None or not self.count:
            self.post_message(self.CursorMoved())


def age_of(created: float) -> str:
    """How long ago, in the largest unit: `5m`, `3h`, `2d`, `4w`, `1y`."""
    seconds = max(0.0, time.time() - created)
    for size, unit in ((365 * 86400, "y"), (7 * 86400, "w"), (86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size:
            return f"{int(seconds // size)}{unit}"
    return "now"


def fit(text: str, width: int) -> str:
    """The text in exactly `width` cells, a blank at its end, with an ellipsis where it was cut."""
    if width <= 0:
        return ""
    text = text.replace("\t", " ")
    if cell_len(text) > width - 1:
        return set_cell_size(set_cell_size(text, max(0, width - 2)) + "…", width)
    return set_cell_size(text, width)
