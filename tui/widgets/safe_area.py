"""Fields that can hold any text: control codes are shown as pictures and stay what they are."""

from __future__ import annotations

from rich.text import Text
from textual.geometry import Region
from textual.strip import Strip
from textual.widgets import Input, TextArea

from tui import render


class SafeTextArea(TextArea):
    """A TextArea whose lines are clean on the screen; `text` is as it was typed, pasted or given."""

    def get_line(self, line_index: int) -> Text:
        """One line as it is shown: a picture for each code, so that places stay the same."""
        return Text(render.pictured(self.document.get_line(line_index)), end="", no_wrap=True)

    def render_lines(self, crop: Region) -> list[Strip]:
        """Blank once it is taken away: a painting that was under way asks still, and Textual finds no colours then."""
        return super().render_lines(crop) if self.is_attached else [Strip.blank(crop.width)] * crop.height


class SafeInput(Input):
    """An Input whose line is clean on the screen; `value` is as it was typed, pasted or given."""

    @property
    def _value(self) -> Text:
        return Text(render.pictured(self.value), no_wrap=True, overflow="ignore", end="")
