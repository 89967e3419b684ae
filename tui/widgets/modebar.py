"""The top line of every main screen: where one is, the model, the adapter in use, a run's progress."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.content import Content
from textual.widgets import Static

from sessions.protocol import BASE
from tui import render
from tui.glance import run_share

if TYPE_CHECKING:
    from tui.app import LlamaTuiApp

TITLES = {"chat": "Chat", "corpus": "Corpus", "train": "Train", "adapters": "Adapters", "compare": "Compare"}


class ModeBar(Horizontal):
    """One line; the app calls `show` whenever what it tells has changed."""

    def __init__(self, mode: str) -> None:
        super().__init__()
        self.mode = mode

    def compose(self) -> ComposeResult:
        """The modes at the left, the state at the right."""
        for name, title in TITLES.items():
            yield ModeTab(name, title, name == self.mode)
        yield Static("", id="modebar-state", markup=False)

    def on_mount(self) -> None:
        """Say what is known already."""
        self.show()

    def show(self) -> None:
        """Write the state anew."""
        for state in self.query("#modebar-state").results(Static):
            state.update(self._state())

    def _state(self) -> Content:
        app = cast("LlamaTuiApp", self.app)
        adapter = render.line(app.adapter)
        parts = [
            Content.styled(render.line(run_share(app.bridge.active)), "$text-success"),
            Content(render.line(app.model_name)),
            Content.styled(adapter, "" if adapter == BASE else "bold $text-accent"),
        ]
        return Content("  ").join([part for part in parts if part])


class ModeTab(Static):
    """One mode; a click goes there."""

    def __init__(self, mode: str, title: str, active: bool) -> None:
        super().__init__(title, markup=False, classes="-active" if active else "")
        self.mode = mode

    async def on_click(self) -> None:
        """Go to the mode."""
        await self.run_action(f"app.mode('{self.mode}')")
