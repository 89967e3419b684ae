"""The line below the prompt: what goes on at the left, speed and context at the right."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.content import Content
from textual.reactive import reactive
from textual.widgets import Static

from tui import render
from tui.widgets.exchange import speed

CELLS = 10


class StatusBar(Horizontal):
    """Set the fields; the line follows. `used` and `context` are in tokens, `rate` in tokens a second."""

    state: reactive[str] = reactive("")
    rate: reactive[float] = reactive(0.0)
    used: reactive[int] = reactive(0)
    context: reactive[int] = reactive(0)
    kept: reactive[str] = reactive("")

    def compose(self) -> ComposeResult:
        """Two halves."""
        yield Static("", id="status-left", markup=False)
        yield Static("", id="status-right", markup=False)

    def on_mount(self) -> None:
        """Write once."""
        self._write()

    def watch_state(self) -> None:
        """The state has changed."""
        self._write()

    def watch_rate(self) -> None:
        """The speed has changed."""
        self._write()

    def watch_used(self) -> None:
        """The context has filled."""
        self._write()

    def watch_context(self) -> None:
        """Another model."""
        self._write()

    def watch_kept(self) -> None:
        """Other counts."""
        self._write()

    def _write(self) -> None:
        if self.is_mounted:
            self.query_one("#status-left", Static).update(render.text(render.line(self.state)))
            self.query_one("#status-right", Static).update(self._right())

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
