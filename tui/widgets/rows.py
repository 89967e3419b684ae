"""Two columns of text: a name and what it means, wrapped within its own column. Knows nothing of keys or commands."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from textual.content import Content
from textual.geometry import Size
from textual.widget import Widget

from tui import render

LEAST = 12
"""Cells of the second column below which it starts on a line of its own."""


@dataclass(frozen=True, slots=True)
class Row:
    """A name, what it means, and a key that is marked at the end."""

    name: str
    what: str
    key: str = ""


class Rows(Widget):
    """Shows rows; the second column starts at cell `lead`, or below the name where there is no room."""

    DEFAULT_CSS = "Rows { height: auto; width: 1fr; }"

    def __init__(self, rows: Sequence[Row], lead: int, *, bold: bool = False, id: str = "", classes: str = "") -> None:
        super().__init__(id=id or None, classes=classes or None, markup=False)
        self.rows = rows
        self.lead = lead
        self.name_style = "bold" if bold else "$text-accent"

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """As many lines as there are at this width."""
        return len(self._lines(width))

    def render(self) -> Content:
        """All rows."""
        return Content("\n").join(self._lines(self.content_size.width))

    def _lines(self, width: int) -> list[Content]:
        lead = self.lead if width >= self.lead + LEAST else 2
        return [line for row in self.rows for line in self._row(row, lead, max(LEAST, width - lead))]

    def _row(self, row: Row, lead: int, room: int) -> list[Content]:
        name, key = render.line(row.name), render.line(row.key)
        wrapped = textwrap.wrap(f"{render.line(row.what)}  {key}".rstrip(), room) or [""]
        what = [Content(line) for line in wrapped]
        if key and wrapped[-1].endswith(key):
            what[-1] = Content(wrapped[-1].removesuffix(key)) + Content.styled(key, "$text-accent")
        if len(name) >= lead:
            return [Content.styled(name, self.name_style), *(Content(" " * lead) + line for line in what)]
        first = Content.styled(name.ljust(lead), self.name_style) + what[0]
        return [first, *(Content(" " * lead) + line for line in what[1:])]
