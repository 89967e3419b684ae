"""The table of exchanges: status, rating, prompt, reply, tags, who wrote it, age. Knows nothing of the store."""

from __future__ import annotations

from rich.segment import Segment
from rich.style import Style

from corpora.dialog import Exchange, Status
from tui import render
from tui.widgets.paged_table import PagedTable, age_of, fit

MARKS = {Status.PENDING: "○", Status.KEPT: "✓", Status.REJECTED: "✗", Status.DEFERRED: "»"}
WIDE, MIDDLE = 100, 62


class ExchangeTable(PagedTable[Exchange]):
    """Exchanges by number."""

    COMPONENT_CLASSES = {*(f"table--{status.value}" for status in Status), "table--rating"}
    DEFAULT_CSS = """
    ExchangeTable {
        & > .table--pending { color: $text-warning; }
        & > .table--kept { color: $text-success; }
        & > .table--rejected { color: $text-error; }
        & > .table--deferred { color: $text-muted; }
        & > .table--rating { color: $text-warning; }
    }
    """

    def heads(self, width: int) -> list[tuple[str, int]]:
        """The columns there is room for."""
        names = ("", "★", "Prompt", "Reply", "Tags", "From", "Age")
        return list(zip(names, _widths(width), strict=True))

    def segments(self, row: Exchange, width: int, base: Style, dim: Style) -> list[Segment]:
        """One exchange."""
        mark, stars, prompt, reply, tags, source, age = _widths(width)
        status = self.get_component_rich_style(f"table--{row.status.value}", partial=True)
        rated = self.get_component_rich_style("table--rating", partial=True)
        written = "✎ " if row.corrected else ""
        return [
            self.mark(row, base),
            Segment(fit(MARKS[row.status], mark - 2), base + status),
            Segment(fit(f"{row.rating}★" if row.rating else "", stars), base + rated),
            Segment(fit(render.line(row.prompt, 300), prompt), base),
            Segment(fit(written + render.line(row.reply, 300), reply), base + dim),
            Segment(fit(render.line(" ".join(f"#{tag}" for tag in row.tags), 80), tags), base + dim),
            Segment(fit(render.line(_origin(row), 80), source), base + dim),
            Segment(fit(age_of(row.created), age), base + dim),
        ]


def _origin(exchange: Exchange) -> str:
    return exchange.adapter if exchange.source == "chat" else exchange.source


def _widths(width: int) -> tuple[int, int, int, int, int, int, int]:
    """Cells of mark, rating, prompt, reply, tags, origin and age; some fold away on a narrow screen."""
    mark, stars, age = 4, 3, 4
    tags, source = (14 if width >= WIDE else 0), (12 if width >= MIDDLE else 0)
    text = max(0, width - mark - stars - tags - source - age)
    prompt = text * 9 // 20
    return mark, stars, prompt, text - prompt, tags, source, age
