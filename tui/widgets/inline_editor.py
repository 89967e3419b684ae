"""A text edited where it stands: a correction of a reply, or another prompt."""

from __future__ import annotations

from dataclasses import dataclass

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.message import Message
from textual.widgets import Static

from tui.widgets.safe_area import SafeTextArea

TITLES = {"correct": "Correct the reply", "edit": "Change the prompt and ask again"}
KEYS = "ctrl+s saves · esc cancels · ctrl+l clears · f7 opens your editor"


class InlineEditor(Vertical):
    """Edits `text` for one exchange; `what` is `correct` or `edit`."""

    BINDINGS = [
        Binding("ctrl+s", "save", "Save", priority=True, id="editor.save"),
        Binding("ctrl+l", "clear", "Clear", priority=True, show=False, id="editor.clear"),
        Binding("escape", "leave", "Cancel", priority=True, id="editor.leave"),
    ]

    @dataclass
    class Saved(Message):
        """The person is done."""

        exchange_id: int
        what: str
        text: str

    @dataclass
    class Left(Message):
        """The person gave up; nothing changes."""

        exchange_id: int

    def __init__(self, exchange_id: int, what: str, text: str) -> None:
        super().__init__()
        self.exchange_id = exchange_id
        self.what = what
        self._text = text

    def compose(self) -> ComposeResult:
        """A title, the text, the keys."""
        yield Static(TITLES[self.what], classes="title", markup=False)
        yield SafeTextArea(self._text, compact=True, highlight_cursor_line=False)
        yield Static(KEYS, classes="keys", markup=False)

    @property
    def area(self) -> SafeTextArea:
        """The text."""
        return self.query_one(SafeTextArea)

    @property
    def text(self) -> str:
        """The text as typed; the initial text while the text area is not mounted yet or is being removed."""
        areas = self.query(SafeTextArea)
        return areas.first().text if areas else self._text

    def on_mount(self) -> None:
        """Type at the end at once."""
        self.area.focus()
        self.area.move_cursor(self.area.document.end)

    def action_save(self) -> None:
        """Hand the text over, once the letters typed before have arrived."""
        self.area.call_later(self._save)

    def _save(self) -> None:
        self.post_message(self.Saved(self.exchange_id, self.what, self.area.text))

    def action_clear(self) -> None:
        """Start from an empty text; the editor's own undo brings it back."""
        self.area.call_later(self.area.clear)

    def action_leave(self) -> None:
        """Change nothing."""
        self.post_message(self.Left(self.exchange_id))
