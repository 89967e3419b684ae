"""The line below the prompt: the current activity at the left, speed and context at the right."""

from __future__ import annotations

from textual.content import Content
from textual.reactive import reactive
from textual.widget import Widget

from tui import render
from tui.widgets.exchange import speed

CELLS = 10


class StatusBar(Widget):
    """Set the fields; the line follows. `used` and `context` are in tokens, `rate` in tokens a second.

    `anchors` is the progress of the background build, dimmed after the state and cut first on narrow terminals.
    """

    state: reactive[str] = reactive("")
    rate: reactive[float] = reactive(0.0)
    used: reactive[int] = reactive(0)
    context: reactive[int] = reactive(0)
    kept: reactive[str] = reactive("")
    anchors: reactive[str] = reactive("")

    def render(self) -> Content:
        """Return the whole line; the right half is never cut."""
        right = self._right()
        room = max(0, self.content_size.width - right.cell_length - 2)
        left = render.text(render.line(self.state))
        if self.anchors:
            left += Content.styled(f"{' · ' if self.state else ''}{self.anchors}", "$text-muted")
        left = left.truncate(room, ellipsis=True)
        return left + Content(" " * (room - left.cell_length + 2)) + right

    def _right(self) -> Content:
        parts = [render.text(self.kept)] if self.kept else []
        if self.rate:
            parts.append(Content(speed(self.rate)))
        if self.context:
            parts.append(self._filled())
        return Content("   ").join(parts)

    def _filled(self) -> Content:
        share = min(1.0, self.used / self.context)
        full = round(share * CELLS)
        style = "$text-error" if share > 0.9 else "$text-warning" if share > 0.75 else "$text-accent"
        bar = Content.styled("━" * full, style) + Content.styled("━" * (CELLS - full), "$foreground 20%")
        return bar + Content(f" {self.used:,}/{self.context:,}")
