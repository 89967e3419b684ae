"""One reply, drawn line by line: closed blocks as Markdown, the open one as plain text that grows.

A single widget whatever the length, so that long lists and code stream without stalls.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from rich.segment import Segment
from rich.style import Style
from rich.text import Text
from textual.geometry import Region, Size
from textual.selection import Selection
from textual.strip import Strip
from textual.widget import Widget

from tui import render
from tui.look import Look, look_of
from tui.markdown import Blocks, Tail

PAINT_EVERY = 0.06
"""Seconds between paints of a reply that is being written."""


@dataclass(slots=True)
class _Drawing:
    """The lines at one width and look; blocks before `done` are in `lines`, settled rows of the tail in `tail`."""

    width: int
    look: Look
    lines: list[Strip] = field(default_factory=list)
    done: int = 0
    tail: list[Strip] = field(default_factory=list)
    shown: list[Strip] | None = None


class Reply(Widget):
    """The text of a reply. `feed` while it streams, then `finish`; or `show` it whole."""

    DEFAULT_CSS = "Reply { height: auto; width: 1fr; }"
    ALLOW_SELECT = True

    def __init__(self, text: str = "", **options: str) -> None:
        super().__init__(markup=False, **options)  # type: ignore[arg-type]
        self._blocks = Blocks()
        self._settled: list[str] = []
        self._stream = render.Stream()
        self._pending = ""
        self._painting = False
        self._drawing: _Drawing | None = None
        self._tail: Tail | None = None
        self._style = Style.null()
        self._take(render.clean(text))
        self._settled += self._blocks.close()

    def feed(self, piece: str) -> None:
        """More text has come; it is painted soon."""
        self._pending += piece
        if not self._painting:
            self._painting = True
            self.set_timer(PAINT_EVERY, self._paint)

    def finish(self) -> None:
        """The reply has ended: all of it is drawn as Markdown."""
        self._take(self._stream.feed(self._pending) + self._stream.flush())
        self._pending = ""
        self._settled += self._blocks.close()
        self._tail = None
        self._stale()
        self.refresh(layout=True)

    def show(self, text: str) -> None:
        """Another text in place of this one."""
        self._blocks, self._settled, self._stream, self._pending = Blocks(), [], render.Stream(), ""
        self._drawing = self._tail = None
        self._take(render.clean(text))
        self._settled += self._blocks.close()
        self.refresh(layout=True)

    def _paint(self) -> None:
        self._painting = False
        before = self._height()
        self._take(self._stream.feed(self._pending))
        self._pending = ""
        self.refresh(layout=self._height() != before)

    def _take(self, piece: str) -> None:
        closed = self._blocks.feed(piece)
        self._settled += closed
        self._stale()
        if self._tail is None:
            return
        if closed:
            self._tail = None
        else:
            self._tail.feed(piece)

    # drawing

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """As many rows as there are lines at this width."""
        return max(1, len(self._lines(width)))

    def render_line(self, y: int) -> Strip:
        """One row, selected text marked."""
        width = self.size.width
        lines = self._lines(width)
        strip = lines[y] if y < len(lines) else Strip.blank(width)
        if (selection := self.text_selection) is not None and (span := selection.get_span(y)) is not None:
            strip = self._marked(strip, span)
        return strip.apply_style(self._style).adjust_cell_length(width, self._style).apply_offsets(0, y)

    def render_lines(self, crop: Region) -> list[Strip]:
        """The rows that are seen; their style is found once for all."""
        self._style = self.rich_style
        return super().render_lines(crop)

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        """The selected part of what is drawn."""
        return selection.extract("\n".join(strip.text.rstrip() for strip in self._lines(self.size.width))), "\n"

    def _marked(self, strip: Strip, span: tuple[int, int]) -> Strip:
        text = Text.assemble(*((segment.text, segment.style or "") for segment in strip), end="")
        start, end = span
        text.stylize(self.screen.get_component_rich_style("screen--selection"), start, len(text) if end < 0 else end)
        return Strip(text.render(self.app.console), strip.cell_length)

    def _height(self) -> int:
        return len(self._lines(self._drawing.width)) if self._drawing else 0

    def _stale(self) -> None:
        if self._drawing is not None:
            self._drawing.shown = None

    def _lines(self, width: int) -> list[Strip]:
        look = look_of(self.app)
        drawing = self._drawing
        if drawing is None or (drawing.width, drawing.look) != (width, look):
            drawing = self._drawing = _Drawing(width, look)
            self._tail = None
        if drawing.shown is None:
            self._draw_closed(drawing)
            drawing.shown = [*drawing.lines, *self._draw_open(drawing)]
        return drawing.shown

    def _draw_open(self, drawing: _Drawing) -> list[Strip]:
        if not self._blocks.open.strip():
            return []
        if self._tail is None:
            self._tail, drawing.tail = Tail(drawing.width), []
            self._tail.feed(self._blocks.open)
        drawing.tail += [Strip([Segment(row)]) for row in self._tail.settled[len(drawing.tail) :]]
        gap = [Strip.blank(0)] if drawing.lines else []
        return [*gap, *drawing.tail, *(Strip([Segment(row)]) for row in self._tail.open)]

    def _draw_closed(self, drawing: _Drawing) -> None:
        if drawing.done < len(self._settled):
            from tui.drawing import draw  # late: it brings Pygments

            for block in self._settled[drawing.done :]:
                gap = [Strip.blank(0)] if drawing.lines else []
                drawing.lines += [*gap, *(Strip(line) for line in draw(block, drawing.width, drawing.look))]
            drawing.done = len(self._settled)
