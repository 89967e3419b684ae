"""The table of preference pairs: where each comes from, prompt, chosen, rejected, age. Knows nothing of the store."""

from __future__ import annotations

from rich.segment import Segment
from rich.style import Style

from corpora.dialog import Preference
from tui import render
from tui.widgets.paged_table import PagedTable, age_of, fit


class PairTable(PagedTable[Preference]):
    """Pairs by number."""

    COMPONENT_CLASSES = {"table--chosen", "table--rejected"}
    DEFAULT_CSS = """
    PairTable {
        & > .table--chosen { color: $text-success; }
        & > .table--rejected { color: $text-error; }
    }
    """

    def heads(self, width: int) -> list[tuple[str, int]]:
        """The columns."""
        return list(zip(("", "From", "Prompt", "Chosen", "Rejected", "Age"), _widths(width), strict=True))

    def segments(self, row: Preference, width: int, base: Style, dim: Style) -> list[Segment]:
        """One pair."""
        _, source, prompt, chosen, rejected, age = _widths(width)
        good, bad = (self.get_component_rich_style(f"table--{name}", partial=True) for name in ("chosen", "rejected"))
        asked = row.dialog[-1].content if row.dialog else ""
        return [
            self.mark(row, base),
            Segment(fit(render.line(row.source, 80), source), base + dim),
            Segment(fit(render.line(asked, 300), prompt), base),
            Segment(fit(render.line(row.chosen, 300), chosen), base + good),
            Segment(fit(render.line(row.rejected, 300), rejected), base + bad),
            Segment(fit(age_of(row.created), age), base + dim),
        ]


def _widths(width: int) -> tuple[int, int, int, int, int, int]:
    """Cells of mark, source, prompt, chosen, rejected and age."""
    mark, source, age = 2, 12, 4
    text = max(0, width - mark - source - age)
    return mark, source, text - 2 * (text // 3), text // 3, text // 3, age
