"""The top line of every main screen: the screens, the model, what answers at which strength, a run's progress."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.content import Content
from textual.widgets import Static

from sessions.protocol import BASE
from tui import render
from tui.glance import answers, run_share

if TYPE_CHECKING:
    from tui.app import LlamaTuiApp

TITLES = {"chat": "Chat", "corpus": "Corpus", "train": "Train", "adapters": "Adapters", "compare": "Compare"}
GAP = 2
TINY = 64
"""Cells below which only the title of the open screen is shown."""


class ModeBar(Horizontal):
    """One line; the app calls `show` whenever its content has changed."""

    def __init__(self, mode: str) -> None:
        super().__init__()
        self.mode = mode

    def compose(self) -> ComposeResult:
        """The modes at the left, the state at the right."""
        for name, title in TITLES.items():
            yield ModeTab(name, title, name == self.mode)
        yield Static("", id="modebar-state", markup=False)

    def on_mount(self) -> None:
        """Show what is known already."""
        self.show()

    def on_resize(self) -> None:
        """What answers is shown at any width."""
        self.set_class(self.size.width < TINY, "-tiny")
        self.call_after_refresh(self.show)

    def show(self) -> None:
        """Update the state."""
        for state in self.query("#modebar-state").results(Static):
            state.update(self._state(state.size.width))

    def _state(self, room: int) -> Content:
        """As much as there is room for; what answers is left out last."""
        app = cast("LlamaTuiApp", self.app)
        share = Content.styled(render.line(run_share(app.bridge.active)), "$text-success")
        model, offer = Content(render.line(app.model_name)), self._offer(app)
        version = self._version(app)
        choices = ((share, model, version, offer), (share, version, offer), (version, offer), (version,))
        fitting = (_joined(parts) for parts in choices)
        return next((line for line in fitting if line.cell_length <= room), version.truncate(room, ellipsis=True))

    def _version(self, app: LlamaTuiApp) -> Content:
        strength = app.chat.strength if app.opened.is_set() else 1.0
        name, slash, number = app.adapter.rpartition("/")
        shown = f"{render.line(name, 24)}{slash}{number}"
        return Content.styled(answers(shown, strength), "" if app.adapter == BASE else "bold $text-accent")

    def _offer(self, app: LlamaTuiApp) -> Content:
        offered = app.answering.offered
        if offered is None:
            return Content("")
        return Content.styled(f"{render.line(offered.adapter, 24)}/v{offered.version} ready: Ctrl+G", "$text-warning")


class ModeTab(Static):
    """One mode; a click opens it."""

    def __init__(self, mode: str, title: str, active: bool) -> None:
        super().__init__(title, markup=False, classes="-active" if active else "")
        self.mode = mode

    async def on_click(self) -> None:
        """Open the mode."""
        await self.run_action(f"app.mode('{self.mode}')")


def _joined(parts: tuple[Content, ...]) -> Content:
    return Content(" " * GAP).join([part for part in parts if part])
