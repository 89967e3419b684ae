"""Tokens in rows, each piece with its id below it. Lays out for the width it has, draws only what is in view.

Is given cells; knows nothing of tokenizers.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.segment import Segment
from textual.geometry import Size
from textual.strip import Strip
from textual.widget import Widget

from tui import token_cells
from tui.token_cells import Cell


class TokenGrid(Widget):
    """Two lines for each row of tokens: the pieces, and muted below them the ids."""

    ALLOW_SELECT = False
    COMPONENT_CLASSES = {"tokens--plain", "tokens--trained", "tokens--special", "tokens--id"}
    DEFAULT_CSS = """
    TokenGrid {
        height: auto;
        margin-bottom: 1;
        border-left: outer $accent;
        padding-left: 1;
        & > .tokens--plain { color: $foreground; }
        & > .tokens--trained { color: $text-success; text-style: bold; }
        & > .tokens--special { text-style: reverse; }
        & > .tokens--id { color: $text-muted; }
    }
    """

    def __init__(self) -> None:
        super().__init__()
        self.cells: Sequence[Cell] = ()
        self.display = False
        self._laid: tuple[int, list[range]] = (0, [])

    def show(self, cells: Sequence[Cell]) -> None:
        """Show these tokens; none takes the widget away."""
        self.cells, self._laid = cells, (0, [])
        self.display = bool(cells)
        self.refresh(layout=True)

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """As many lines as the rows take at this width."""
        return 2 * len(self._rows(width))

    def render_line(self, y: int) -> Strip:
        """The pieces of a row, or their ids."""
        width = self.size.width
        row, below = divmod(y, 2)
        if row >= len(self._rows(width)):
            return Strip.blank(width, self.rich_style)
        places = self._rows(width)[row]
        cells = self.cells[places.start : places.stop]
        segments = self._ids(cells, width) if below else self._pieces(cells, width)
        return Strip(segments).adjust_cell_length(width, self.rich_style)

    def _rows(self, width: int) -> list[range]:
        if self._laid[0] != width:
            self._laid = (width, token_cells.rows(self.cells, width))
        return self._laid[1]

    def _pieces(self, cells: Sequence[Cell], width: int) -> list[Segment]:
        segments = []
        for cell, text in zip(cells, token_cells.texts(cells, width), strict=True):
            style = self.get_component_rich_style("tokens--trained" if cell.trained else "tokens--plain")
            special = self.get_component_rich_style("tokens--special", partial=True)
            shown = text.rstrip(" ")
            segments += [
                Segment(shown, style + special if cell.special else style),
                Segment(text[len(shown) :], self.rich_style),
            ]
        return segments

    def _ids(self, cells: Sequence[Cell], width: int) -> list[Segment]:
        style = self.get_component_rich_style("tokens--id")
        return [Segment(text, style) for text in token_cells.ids(cells, width)]
