"""The loss curve of a run with its held-out loss. Every point is kept; only the drawing is thinned.

Is given numbers; knows nothing of runs.
"""

from __future__ import annotations

from collections.abc import Sequence

from textual.app import ComposeResult
from textual.color import Color
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Static
from textual_plotext import PlotextPlot

Point = tuple[int, float]
DOTS = 2
"""Points that braille can show side by side in one cell."""


class LossPlot(Vertical):
    """A line of figures above the curve."""

    DEFAULT_CSS = """
    LossPlot {
        & > .legend { height: 1; padding: 0 1; text-overflow: ellipsis; text-wrap: nowrap; }
        & > PlotextPlot { height: 1fr; }
        & > .waiting { height: 1fr; content-align: center middle; color: $text-muted; display: none; }
        &.-empty > .waiting { display: block; }
        &.-empty > PlotextPlot, &.-empty > .legend { display: none; }
    }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id, classes="-empty")
        self.loss: tuple[Point, ...] = ()
        self.held_out: tuple[Point, ...] = ()

    def compose(self) -> ComposeResult:
        """Figures, curve, and what stands there before the first point."""
        yield Static("", classes="legend", markup=False)
        yield PlotextPlot()
        yield Static("The loss curve starts with the first step.", classes="waiting", markup=False)

    def show(self, loss: Sequence[Point], held_out: Sequence[Point]) -> None:
        """Draw these points: (step, loss) in order."""
        self.loss, self.held_out = tuple(loss), tuple(held_out)
        self.set_class(not self.loss, "-empty")
        self.query_one(".legend", Static).update(self._legend())
        self._draw()

    def on_resize(self) -> None:
        """Thin for the new width."""
        self._draw()

    def on_mount(self) -> None:
        """Follow the theme's colours."""
        self.app.theme_changed_signal.subscribe(self, lambda theme: self._draw())

    def _draw(self) -> None:
        widget = self.query_one(PlotextPlot)
        plot = widget.plt
        plot.clear_data()
        plot.yfrequency(5)
        if self.loss:
            plot.xticks(*_ticks(self.loss[0][0], self.loss[-1][0]))
            most = max(8, (self.size.width - 8) * DOTS)
            self._line(plot, thinned(self.loss, most), "primary")
            self._line(plot, self.held_out, "warning")
        widget.refresh()

    def _line(self, plot: object, points: Sequence[Point], colour: str) -> None:
        if points:
            steps, values = zip(*points, strict=True)
            rgb = Color.parse(self.app.theme_variables[colour]).rgb
            draw = plot.scatter if len(points) == 1 else plot.plot  # type: ignore[attr-defined]
            draw(steps, values, marker="braille", color=rgb)

    def _legend(self) -> Content:
        parts = [Content.styled(f"━ loss {self.loss[-1][1]:.4g}", "$primary")] if self.loss else []
        if self.held_out:
            best = min(self.held_out, key=lambda point: point[1])
            last = f"━ held-out {self.held_out[-1][1]:.4g}"
            parts.append(Content.styled(last, "$warning"))
            parts.append(Content.styled(f"best {best[1]:.4g} at {best[0]}", "dim"))
        return Content("   ").join(parts)


def _ticks(first: int, last: int) -> tuple[list[int], list[str]]:
    """Whole steps along the axis."""
    places = sorted({first + round((last - first) * part / 4) for part in range(5)})
    return places, [str(place) for place in places]


def thinned(points: Sequence[Point], most: int) -> list[Point]:
    """At most `most` points: means of neighbours, the last point itself."""
    if len(points) <= most:
        return list(points)
    size = -(-len(points) // (most - 1))
    groups = [points[at : at + size] for at in range(0, len(points) - 1, size)]
    return [(group[len(group) // 2][0], sum(value for _, value in group) / len(group)) for group in groups] + [
        points[-1]
    ]
