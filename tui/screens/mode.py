"""What the five main screens have in common: the bar above, the keys below, typed access to the app."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, cast

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import Screen

from tui.widgets.keys_bar import KeysBar
from tui.widgets.modebar import ModeBar

if TYPE_CHECKING:
    from tui.app import LlamaTuiApp


class ModeScreen(Screen[None]):
    """A main screen: subclasses set `MODE` and yield their widgets in `body`.

    Messages of `tui.messages` reach it by `on_…` handlers while it is mounted, shown or not.
    """

    MODE: ClassVar[str] = ""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "clear_toasts", "Clear messages", show=False, id="toasts.clear")
    ]

    @property
    def llama(self) -> LlamaTuiApp:
        """The app, with its type."""
        return cast("LlamaTuiApp", self.app)

    def on_mount(self) -> None:
        """Hear `tui.messages` from now on (handlers of subclasses run too)."""
        self.llama.hearers.add(self)

    def on_screen_resume(self) -> None:
        """What has changed while another screen was shown."""
        for bar in self.query(ModeBar):
            bar.show()
        for keys in self.query(KeysBar):
            keys.show()

    def action_clear_toasts(self) -> None:
        """Nothing said stands in the way any more."""
        self.llama.clear_notifications()

    def on_unmount(self) -> None:
        """Hear nothing more."""
        self.llama.hearers.discard(self)

    def compose(self) -> ComposeResult:
        """The bar, the body, the keys."""
        yield ModeBar(self.MODE)
        yield from self.body()
        yield KeysBar()

    def body(self) -> ComposeResult:
        """The screen's own widgets."""
        yield from ()
