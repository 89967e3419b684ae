"""The top line of every main screen: the screens, the model, what answers at which strength, a run's progress."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from sessions.protocol import BASE
from tui import render
from tui.glance import answers, run_share

if TYPE_CHECKING:
    from tui.app import LlamaTuiApp

TITLES = {"chat": "Chat", "corpus": "Corpus", "train": "Train", "adapters": "Adapters", "compare": "Compare"}
GAP, SHORT = 2, 24
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
        yield ModeState(id="modebar-state")

    def on_resize(self) -> None:
        """What answers is shown at any width."""
        self.set_class(self.size.width < TINY, "-tiny")

    def show(self) -> None:
        """Draw the state again."""
        for state in self.query(ModeState):
            state.refresh()


class ModeState(Widget):
    """Progress of a run, model, what answers, what is offered: as much as there is room for."""

    def render(self) -> Content:
        """One line; what answers is left out last."""
        app, room = cast("LlamaTuiApp", self.app), self.size.width
        share = Content.styled(render.line(run_share(app.bridge.active)), "$text-success")
        model, version, offer = Content(render.line(app.model_name)), _version(app, SHORT), _offer(app)
        choices = ((share, model, version, offer), (share, version, offer), (version, offer), (version,))
        fitting = (_joined(parts) for parts in choices)
        return next((line for line in fitting if line.cell_length <= room), _version(app, room))


class ModeTab(Static):
    """One mode; a click opens it."""

    def __init__(self, mode: str, title: str, active: bool) -> None:
        super().__init__(title, markup=False, classes="-active" if active else "")
        self.mode = mode

    async def on_click(self) -> None:
        """Open the mode."""
        await self.run_action(f"app.mode('{self.mode}')")


def _version(app: LlamaTuiApp, room: int) -> Content:
    """`mine/v3 x0.7`; a long name is cut, never the number or the strength."""
    name, slash, number = app.adapter.rpartition("/")
    shown = answers(f"{slash}{number}", app.chat.strength if app.opened.is_set() else 1.0)
    name = render.line(name, max(2, min(SHORT, room - len(shown))))
    return Content.styled(f"{name}{shown}", "" if app.adapter == BASE else "bold $text-accent")


def _offer(app: LlamaTuiApp) -> Content:
    offered = app.answering.offered
    if offered is None:
        return Content("")
    return Content.styled(f"{render.line(offered.adapter, SHORT)}/v{offered.version} ready: Ctrl+G", "$text-warning")


def _joined(parts: tuple[Content, ...]) -> Content:
    return Content(" " * GAP).join([part for part in parts if part])
