"""What a run would train on, before it starts; True to start it."""

from __future__ import annotations

from collections.abc import Sequence

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from tui import render
from tui.plan import Line
from tui.widgets.dialogs import Dialog

STYLES = {"": "", "bold": "bold", "dim": "dim", "yellow": "$text-warning"}


class PlanDialog(Dialog[bool]):
    """Enter starts the run, Escape does not."""

    DEFAULT_CSS = """
    PlanDialog VerticalScroll { height: auto; max-height: 16; }
    """
    BINDINGS = [Binding("enter,ctrl+s", "start", "Start", priority=True)]

    def __init__(self, plan: Sequence[Line]) -> None:
        super().__init__()
        self.plan = plan

    def compose(self) -> ComposeResult:
        """The plan and the keys."""
        with self.window("Train"):
            with VerticalScroll():
                yield Static(shown(self.plan), classes="body", markup=False)
            yield Static("enter starts · esc cancels", classes="keys", markup=False)

    def action_start(self) -> None:
        """Start the run."""
        self.dismiss(True)


def shown(plan: Sequence[Line]) -> Content:
    """A plan as it is shown on a screen."""
    return Content("\n").join(render.text(render.line(text, 400), STYLES[style]) for text, style in plan)
