"""The settings of a run that differ from their defaults, each reset by one key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from tui import render
from tui.plan import Change

TITLE = "Differs from the default (enter resets one, d all)"


class ChangesList(Vertical):
    """Hidden while nothing differs."""

    DEFAULT_CSS = """
    ChangesList {
        height: auto; margin: 1 0 0 0; padding: 0 1; border-left: outer $accent; display: none;
        &.-shown { display: block; }
        & .title { height: 1; color: $text-muted; }
        & OptionList {
            height: auto; max-height: 8; border: none; padding: 0; background: $background;
            scrollbar-size-vertical: 1;
        }
    }
    """

    @dataclass
    class ResetWanted(Message):
        """The person wants the default of one setting."""

        name: str

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.names: list[str] = []

    def compose(self) -> ComposeResult:
        """A title and one line for each setting."""
        yield Static(TITLE, classes="title", markup=False)
        yield _Lines(compact=True, markup=False)

    def show(self, changes: Sequence[Change]) -> None:
        """Draw the settings; nothing hides the list."""
        lines = self.query_one(_Lines)
        before = lines.highlighted
        self.names = [each.name for each in changes]
        lines.set_options([Option(_line(each)) for each in changes])
        if changes and before is not None:
            lines.highlighted = min(before, len(changes) - 1)
        self.set_class(bool(changes), "-shown")

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Reset the setting."""
        event.stop()
        self.post_message(self.ResetWanted(self.names[event.option_index]))

    def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        """Keep the event from the screen, whose own list is another one."""
        event.stop()


class _Lines(OptionList):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter,delete,backspace", "select", "Reset this setting", id="train.reset")
    ]


def _line(change: Change) -> Content:
    value, default = render.line(change.value, 60) or "(empty)", render.line(change.default, 40) or "(empty)"
    return Content.assemble((f"{change.name:<18}", "bold"), value, (f"   default: {default}", "dim"))
