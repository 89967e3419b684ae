"""One side of a comparison: whose reply it is (or not yet told), how fast it comes, the reply, its error.

Is fed text; knows nothing of the host.
"""

from __future__ import annotations

import time

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Static

from corpora.dialog import Finish
from sessions.errors import Failure
from sessions.protocol import ColumnEnded
from tui import render
from tui.widgets.error_panel import ErrorPanel
from tui.widgets.reply import Reply

SIDES = ("Left", "Right")
ENDS = {
    Finish.LENGTH: "cut at the token limit",
    Finish.STOPPED: "stopped",
    Finish.FAILED: "failed",
}


class ColumnHead(Static):
    """Whose reply stands below, and its speed."""

    def __init__(self, side: int) -> None:
        super().__init__("", markup=False, classes="head")
        self.side = side
        self.adapter = ""
        self.blind = False
        self.winner = False
        self._tokens = 0
        self._first = 0.0
        self._told = ""

    def begin(self, adapter: str, blind: bool) -> None:
        """A new question; a blind name is kept until the vote."""
        self.adapter, self.blind, self.winner = adapter, blind, False
        self._tokens, self._first, self._told = 0, 0.0, ""
        self.draw()

    def wait(self, waits: bool) -> None:
        """Whether another column is written before this one."""
        self._told = "comes next" if waits else "…"
        self.draw()

    def count(self, tokens: int) -> None:
        """More tokens have come."""
        self._first = self._first or time.monotonic()
        self._tokens += tokens
        seconds = time.monotonic() - self._first
        self._told = f"{(self._tokens - 1) / seconds:.1f} tokens/s" if seconds > 0.2 else "…"

    def end(self, ended: ColumnEnded) -> None:
        """The final figures."""
        speed = f"{ended.tokens / ended.seconds:.1f} tokens/s" if ended.seconds > 0 else ""
        words = [f"{ended.tokens} tokens", speed, ENDS.get(ended.finish, "")]
        self._told = " · ".join(word for word in words if word)
        self.draw()

    def fail(self) -> None:
        """Nothing more comes."""
        self._told = ENDS[Finish.FAILED]
        self.draw()

    def reveal(self, winner: bool) -> None:
        """Name it, after the vote."""
        self.blind, self.winner = False, winner
        self.draw()

    def draw(self) -> None:
        """Write name and figures."""
        name = SIDES[self.side] if self.blind else f"{SIDES[self.side]}: {render.line(self.adapter, 40)}"
        mark = ("★ ", "$text-success bold") if self.winner else ("", "")
        self.update(Content.assemble(mark, (name, "bold"), (f"   {self._told}", "dim")))


class ReplyColumn(Vertical):
    """The reply itself, or why there is none."""

    DEFAULT_CSS = """
    ReplyColumn { width: 1fr; height: auto; padding: 0 1; }
    ReplyColumn ErrorPanel { height: auto; border-left: outer $error; padding-left: 1; }
    """

    def __init__(self, side: int) -> None:
        super().__init__(id=f"column-{side}")

    def compose(self) -> ComposeResult:
        """Nothing but the reply at first."""
        yield Reply("")

    @property
    def reply(self) -> Reply:
        """The text."""
        return self.query_one(Reply)

    def clear(self) -> None:
        """Ready for another reply."""
        self.query(ErrorPanel).remove()
        self.reply.show("")

    def fail(self, failure: Failure) -> None:
        """Say why the reply did not come, or not to its end."""
        self.query(ErrorPanel).remove()
        self.mount(ErrorPanel(failure))
