"""What is asked and answered in a comparison: the prompt, the choices, both replies in one scroll.

What is typed where no text is taken is handed on in the order in which the app reads it: a key is read while those
before it may still wait in a widget's own queue. Knows nothing of comparisons.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, TypeAlias

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Select

from sessions.protocol import BASE
from tui.widgets.ordered import in_order
from tui.widgets.reply_column import ReplyColumn
from tui.widgets.safe_area import SafeTextArea

Typed: TypeAlias = events.Key | events.Paste
HandOn: TypeAlias = Callable[[Typed], bool]


class HandingOn(Widget):
    """Takes no text itself: `hand_on` is asked first, and returns whether it took what was typed.

    Comes after the widget among a class's bases: style is inherited from the first alone.
    """

    hand_on: HandOn

    def post_message(self, message: Message) -> bool:
        """What is typed comes here at the moment when the app reads it."""
        if isinstance(message, events.Key | events.Paste) and self.has_focus and self.hand_on(message):
            return True
        return super().post_message(message)


class Side(Select[str], HandingOn):
    """The adapter on one side."""

    def __init__(self, side: str, hand_on: HandOn) -> None:
        super().__init__([(BASE, BASE)], value=BASE, allow_blank=False, compact=True, id=f"{side}-adapter")
        self.hand_on = hand_on


class Answers(VerticalScroll, HandingOn, can_focus=True):
    """Both columns in one scroll; arrows to the sides are votes."""

    DEFAULT_CSS = """
    Answers { height: 1fr; scrollbar-size-vertical: 1; }
    Answers > Horizontal { height: auto; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left", "screen.vote('left')", "Left is better", show=False, priority=True),
        Binding("right", "screen.vote('right')", "Right is better", show=False, priority=True),
        Binding("j", "scroll_down", "Down", show=False),
        Binding("k", "scroll_up", "Up", show=False),
    ]

    following = False

    def __init__(self, hand_on: HandOn) -> None:
        super().__init__(id="answers")
        self.hand_on = hand_on

    def begin(self) -> None:
        """New replies, from their top."""
        self.following = False
        self.anchor(False)
        self.scroll_home(animate=False)

    def follow(self) -> None:
        """Keep the end in sight once it leaves the screen, until the person scrolls."""
        if not self.following and self.max_scroll_y > 0:
            self.following = True
            self.anchor()

    def compose(self) -> ComposeResult:
        """Left and right."""
        with Horizontal():
            yield ReplyColumn(0)
            yield ReplyColumn(1)


class Question(SafeTextArea):
    """The prompt of a comparison: Enter asks, Ctrl+J starts a new line.

    `asked` is what was asked last; it gives way to what is typed next. While `waiting` for replies another prompt can
    be typed, not asked. `typed` says that something was typed since: the person is at the next prompt already.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "ask", "Ask both", priority=True, id="compare.ask"),
        Binding("ctrl+j,shift+enter", "newline", "New line", show=False, priority=True),
    ]

    class Asked(Message):
        """The person asks; `asked` holds what."""

    class AskedTooEarly(Message):
        """The person asks while replies to the last prompt are still coming."""

    def __init__(self) -> None:
        self.asked = ""
        self.waiting = False
        self.typed = False
        super().__init__(
            id="question",
            placeholder="Ask both the same. ctrl+l takes the chat's last prompt",
            soft_wrap=True,
            compact=True,
            highlight_cursor_line=False,
            tab_behavior="focus",
        )

    def post_message(self, message: Message) -> bool:
        """Note what is typed at the moment when the app reads it."""
        if isinstance(message, events.Paste) or (isinstance(message, events.Key) and message.is_printable):
            self.typed = True
        return super().post_message(message)

    @property
    def spent(self) -> bool:
        """True while nothing but what was asked stands here."""
        return self.text == self.asked

    def put(self, text: str) -> None:
        """Another text, the caret at its end."""
        self.text, self.typed = text, False
        self.move_cursor(self.document.end)

    def on_focus(self) -> None:
        """What was asked already gives way to what is typed next."""
        if self.text and self.spent:
            self.select_all()

    def unmark(self) -> None:
        """Nothing is marked where nobody types."""
        self.move_cursor(self.selection.end)

    def action_ask(self) -> None:
        """Ask, once what was typed before has arrived."""
        self.typed = False
        self.ask()

    @in_order
    def ask(self) -> None:
        """Ask what stands here, if there is something to ask."""
        if self.waiting:
            self.post_message(self.AskedTooEarly())
        elif self.text.strip():
            self.asked, self.waiting = self.text, True
            self.select_all()
            self.post_message(self.Asked())

    @in_order
    def action_newline(self) -> None:
        """Start a new line."""
        self.insert("\n")

    def end(self, begun: bool) -> None:
        """Another prompt can be asked. One that was not `begun` is the person's own to change again."""
        self.waiting = False
        if not begun:
            self.asked = ""
            self.move_cursor(self.document.end)
