"""Small windows over a screen: yes or no, one line, a long text, a list to read. Each returns its answer.

Know nothing of what the answer is for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Static, TextArea

from corpora.errors import LlamaTuiError
from tui import render
from tui.widgets.path_suggester import PathField, PathSuggester
from tui.widgets.safe_area import SafeInput, SafeTextArea

Answer = TypeVar("Answer")


class Dialog(ModalScreen[Answer], Generic[Answer]):
    """What all small windows look like."""

    DEFAULT_CSS = """
    Dialog {
        align: center middle;
        & > .window {
            width: 90%; max-width: 100; height: auto; max-height: 90%;
            background: $surface; border: round $primary; padding: 0 1;
            border-title-color: $foreground; border-title-style: bold;
        }
        & .body { height: auto; margin: 1 0; }
        & .error { height: auto; color: $text-error; display: none; }
        & .error.-shown { display: block; }
        & .keys { height: 1; color: $text-muted; }
        & .buttons { height: 1; margin-bottom: 1; align-horizontal: right; }
        & .buttons Button { margin-left: 2; }
    }
    """
    BINDINGS = [Binding("escape", "leave", "Cancel", id="dialog.cancel")]

    def window(self, title: str, *classes: str) -> Vertical:
        """The frame that everything stands in."""
        frame = Vertical(classes=" ".join(("window", *classes)))
        frame.border_title = render.text(render.line(title, 90)).markup
        return frame

    def action_leave(self) -> None:
        """Close without an answer."""
        self.dismiss(None)

    def say_error(self, error: LlamaTuiError | str) -> None:
        """Say beneath the field what is wrong with the answer."""
        told = self.query_one(".error", Static)
        told.update(render.text(str(error)))
        told.add_class("-shown")


class Confirm(Dialog[bool]):
    """A question; True for yes. The safe answer has the focus."""

    BINDINGS = [
        Binding("y", "answer(True)", "Yes"),
        Binding("n", "answer(False)", "No"),
        Binding("left", "app.focus_previous", "", show=False),
        Binding("right", "app.focus_next", "", show=False),
    ]

    def __init__(self, title: str, question: str, *, yes: str = "Yes", no: str = "No") -> None:
        super().__init__()
        self.title_text, self.question, self.yes, self.no = title, question, yes, no

    def compose(self) -> ComposeResult:
        """The question and two buttons."""
        with self.window(self.title_text):
            yield Static(render.text(self.question), classes="body")
            with Horizontal(classes="buttons"):
                yield Button(render.text(f"{self.no} (n)"), compact=True, id="no")
                yield Button(render.text(f"{self.yes} (y)"), variant="warning", compact=True, id="yes")

    def on_mount(self) -> None:
        """Nothing happens by a stray Enter."""
        self.query_one("#no").focus()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """A button answers."""
        event.stop()
        self.dismiss(event.button.id == "yes")

    def action_answer(self, answer: bool) -> None:
        """A key answers."""
        self.dismiss(answer)


class AskLine(Dialog[str]):
    """One line, or a `folder` that is completed; `check` raises LlamaTuiError where the answer will not do."""

    def __init__(
        self,
        title: str,
        value: str = "",
        *,
        hint: str = "",
        check: Callable[[str], object] | None = None,
        folder: bool = False,
    ) -> None:
        super().__init__()
        self.title_text, self.value, self.hint, self.check, self.folder = title, value, hint, check, folder

    def compose(self) -> ComposeResult:
        """A hint, the field, what is wrong with it."""
        with self.window(self.title_text):
            yield Static(render.text(self.hint), classes="body")
            value = render.line(self.value)
            if self.folder:
                yield PathField(value, compact=True, suggester=PathSuggester(folders=True))
            else:
                yield SafeInput(value, compact=True)
            yield Static("", classes="error", markup=False)
            yield Static("enter saves · esc cancels", classes="keys", markup=False)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter answers, if the answer will do."""
        event.stop()
        try:
            if self.check is not None:
                self.check(event.value.strip())
        except LlamaTuiError as error:
            self.say_error(error)
        else:
            self.dismiss(event.value.strip())


class EditText(Dialog[str]):
    """A long text with what stands above it. Escape asks again before it throws changes away."""

    DEFAULT_CSS = """
    EditText {
        & > .window { height: 90%; }
        & .context { height: auto; max-height: 40%; color: $text-muted; margin: 0 0 1 0; }
        & TextArea { height: 1fr; border: none; background: $panel; padding: 0; }
    }
    """
    BINDINGS = [
        Binding("ctrl+s", "done", "Save", priority=True, id="dialog.save"),
        # The editor keeps Escape for itself where Tab indents.
        Binding("escape", "leave", "Cancel", priority=True),
        Binding("ctrl+l", "clear", "Clear", priority=True, show=False),
    ]

    def __init__(
        self, title: str, text: str, *, context: Content | str = "", may_be_empty: bool = False, error: str = ""
    ) -> None:
        super().__init__()
        self.title_text, self.text, self.context, self.may_be_empty = title, text, context, may_be_empty
        self.error = error
        self._warned = False

    def compose(self) -> ComposeResult:
        """Context, the text, the keys."""
        with self.window(self.title_text):
            if self.context:
                with VerticalScroll(classes="context", can_focus=False):
                    yield Static(self.context if isinstance(self.context, Content) else render.text(self.context))
            yield SafeTextArea(self.text, soft_wrap=True, compact=True, tab_behavior="indent")
            yield Static("", classes="error", markup=False)
            yield Static("ctrl+s saves · esc cancels · ctrl+l clears", classes="keys", markup=False)

    def on_mount(self) -> None:
        """The caret stands at the end."""
        area = self.query_one(TextArea)
        area.move_cursor(area.document.end)
        area.focus()
        if self.error:
            self.say_error(self.error)

    def on_text_area_changed(self) -> None:
        """A further change asks again."""
        self._warned = False

    def action_clear(self) -> None:
        """Start from an empty text; the editor's own undo brings it back."""
        self.query_one(TextArea).clear()

    def action_done(self) -> None:
        """Hand the text over."""
        text = self.query_one(TextArea).text.strip()
        if not text and not self.may_be_empty:
            self.say_error("There is nothing to save yet.")
            return
        self.dismiss(text)

    def action_leave(self) -> None:
        """Close; a changed text is given up at the second Escape."""
        if self.query_one(TextArea).text == self.text.replace("\r\n", "\n") or self._warned:
            self.dismiss(None)
            return
        self._warned = True
        self.say_error("Changed: ctrl+s saves it, esc once more gives it up.")


class Reading(Dialog[None]):
    """Something to read and close; long lists scroll."""

    DEFAULT_CSS = """
    Reading VerticalScroll { height: auto; max-height: 75vh; }
    """
    BINDINGS = [Binding("enter,q", "leave", "Close")]

    def __init__(self, title: str, parts: Sequence[Content]) -> None:
        super().__init__()
        self.title_text, self.parts = title, parts

    def compose(self) -> ComposeResult:
        """The parts, one below the other."""
        with self.window(self.title_text):
            with VerticalScroll():
                for part in self.parts:
                    yield Static(part, classes="body")
            yield Static("esc closes", classes="keys", markup=False)
