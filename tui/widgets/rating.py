"""The one-key question for a rating."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.binding import Binding
from textual.content import Content
from textual.widgets import Static

from tui.stars import MOST, stars
from tui.widgets.dialogs import Dialog


class AskRating(Dialog[int]):
    """One key answers: 1 to 5, or 0 for no rating."""

    DEFAULT_CSS = """
    AskRating > .window { width: auto; max-width: 76; padding: 0 2; }
    AskRating Static { width: auto; }
    """
    BINDINGS = [
        *(Binding(str(number), f"answer({number})", f"{number}★", show=False) for number in range(1, MOST + 1)),
        Binding("0,delete,backspace", "answer(0)", "No rating", show=False),
    ]

    def __init__(self, what: str, now: int | None) -> None:
        super().__init__()
        self.what, self.now = what, now

    def compose(self) -> ComposeResult:
        """The stars that there are, and the keys."""
        with self.window(f"Rate {self.what}"):
            yield Static(Content.styled(stars(self.now or 0), "$text-warning"), classes="body")
            yield Static("1 to 5 sets · 0 clears · esc cancels", classes="keys", markup=False)

    def action_answer(self, rating: int) -> None:
        """A digit answers."""
        self.dismiss(rating)
