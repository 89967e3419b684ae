"""What the compare screen consists of, typed access to it, and its line of words."""

from __future__ import annotations

from textual import events
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.content import Content
from textual.widgets import Select, Static

from corpora.dialog import Exchange, Verdict
from sessions.comparing import Comparison
from tui import render
from tui.screens.mode import ModeScreen
from tui.widgets.answers import Answers, Question, Side, Typed
from tui.widgets.reply_column import ColumnHead, ReplyColumn

TEACH = """Ask two versions the same and see what training has changed.

Choose left and right above, type a prompt, press enter. Both replies come at the same time.
Then vote: ← or 1 left, → or 2 right, t tie, x both bad; u takes it back.
ctrl+b hides the names until the vote. The next prompt is simply typed."""
KEYS = "← left · → right · t tie · x both bad"


class CompareParts(ModeScreen):
    """Choices, prompt, heads, columns, words; and what goes on in them."""

    def __init__(self) -> None:
        super().__init__()
        self.comparison: Comparison | None = None
        self.verdict: Verdict | None = None
        """The vote on the replies that are shown, once it is stored."""
        self.before: tuple[Exchange, ...] = ()
        self.failed = False
        self.casting = False
        self._invitation = ""

    def body(self) -> ComposeResult:
        """Choices, prompt, heads, columns, words."""
        with Horizontal(id="sides"):
            yield Side("left", self.hand_on)
            yield Static("against", id="against")
            yield Side("right", self.hand_on)
            yield Static("", id="blindness", markup=False)
        yield Question()
        with Horizontal(id="heads"):
            yield ColumnHead(0)
            yield ColumnHead(1)
        yield Static(Content(TEACH), id="compare-teach", markup=False)
        yield Answers(self.hand_on)
        yield Static("", id="verdict", markup=False)

    # typed access

    @property
    def question(self) -> Question:
        """The prompt."""
        return self.query_one(Question)

    @property
    def answers(self) -> Answers:
        """Both replies."""
        return self.query_one(Answers)

    @property
    def heads(self) -> tuple[ColumnHead, ColumnHead]:
        """Names and figures."""
        left, right = self.query(ColumnHead)
        return left, right

    @property
    def columns(self) -> tuple[ReplyColumn, ReplyColumn]:
        """The replies."""
        left, right = self.query(ReplyColumn)
        return left, right

    @property
    def pair(self) -> tuple[str, str]:
        """The chosen adapters, left and right."""
        left, right = (str(self.query_one(f"#{side}-adapter", Select).value) for side in ("left", "right"))
        return left, right

    # what goes on

    @property
    def busy(self) -> bool:
        """True from the moment a prompt is asked until its replies have ended."""
        return self.question.waiting

    @property
    def open_to_vote(self) -> bool:
        """True while both replies stand and have no vote."""
        comparison = self.comparison
        if comparison is None or self.busy or self.failed or self.casting:
            return False
        return comparison.whole and comparison.vote is None

    def hand_on(self, typed: Typed) -> bool:
        """Make what is typed beside the prompt the next prompt, unless it is a key of the screen.

        A key that has no use yet but will have (a vote while replies come) is no letter either.
        """
        if isinstance(typed, events.Key) and not self._begins_prompt(typed):
            return False
        if self.question.spent:
            self.before = ()
        self.set_focus(self.question)
        return self.question.post_message(typed)

    def _begins_prompt(self, key: events.Key) -> bool:
        return key.is_printable and key.character != " " and key.key not in self.active_bindings

    # words

    def say(self, words: str | Content) -> None:
        """Say it below the replies."""
        self._invitation = ""
        self._write(words)

    def invite(self, *words: str) -> None:
        """Say how to vote, after other words, as long as that is what can be done next."""
        self._invitation = " ".join([*words, "Which is better?"])
        self.invite_again()

    def invite_again(self) -> None:
        """Other keys vote where the focus has moved."""
        if self._invitation:
            first = "escape, then " if self.question.has_focus else ""
            self._write(f"{self._invitation}  {first}{KEYS}")

    def _write(self, words: str | Content) -> None:
        self.query_one("#verdict", Static).update(render.text(words) if isinstance(words, str) else words)
