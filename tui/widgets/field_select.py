"""A choice among the fields of a form: arrows go to the fields beside it, Enter opens it."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.widgets import Select


class FieldSelect(Select[str]):
    """A Select that does not open where an arrow passes it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down", "app.focus_next", "Next field", show=False),
        Binding("up", "app.focus_previous", "Previous field", show=False),
        Binding("enter,space", "show_overlay", "Choose", show=False),
    ]
