"""One exchange on the chat screen: the prompt, the reply as it comes, and a line of what is known of it."""

from __future__ import annotations

import time
from dataclasses import dataclass

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Static

from corpora.dialog import Exchange, Finish, Status
from sessions.errors import REFUSALS, Failure
from tui import render
from tui.widgets.error_panel import ErrorPanel
from tui.widgets.reply import Reply

PROMPT_LINES = 40
"""Lines of a prompt that are shown; all of it is stored and sent."""
META_EVERY = 0.1
"""Seconds between figures while a reply is written."""
BADGES = {
    Status.KEPT: ("✓ kept", "$text-success"),
    Status.REJECTED: ("✗ rejected", "$text-error"),
    Status.DEFERRED: ("◷ deferred", "$text-warning"),
}
ENDINGS = {
    Finish.LENGTH: "cut at max_new_tokens",
    Finish.STOPPED: "stopped",
    Finish.PARTIAL: "interrupted",
    Finish.FAILED: "failed",
}


@dataclass(frozen=True, slots=True)
class Place:
    """Which of how many at its place of the chat: other replies and edited prompts alike."""

    number: int = 1
    count: int = 1


class ExchangeView(Vertical):
    """Shows one stored exchange. While `live`, its reply is fed by the screen."""

    def __init__(self, exchange: Exchange, *, live: bool = False) -> None:
        super().__init__()
        self.exchange = exchange
        self.live = live
        self.place = Place()
        self.waiting = ""
        self.tokens = 0
        self.rate = 0.0
        self._written = 0.0
        self._reply = Reply(exchange.reply, classes="reply")

    def compose(self) -> ComposeResult:
        """Prompt, reply, what is known."""
        yield Static(_prompt(self.exchange.prompt), classes="prompt", markup=False)
        yield self._reply
        yield Static(self._meta(), classes="meta", markup=False)

    def on_mount(self) -> None:
        """Say nothing where nothing has come."""
        self._settle()

    # a reply on its way

    def wait_for(self, what: str) -> None:
        """Say what the reply waits for."""
        self.waiting = what
        self._write_meta()

    def feed(self, piece: str, tokens: int, rate: float) -> None:
        """A piece of the reply; `tokens` so far, `rate` in tokens a second."""
        self._reply.remove_class("-empty")
        self._reply.feed(piece)
        self.tokens, self.rate, self.waiting = tokens, rate, ""
        if time.monotonic() - self._written >= META_EVERY:
            self._write_meta(layout=False)

    def finish(self, exchange: Exchange, failure: Failure | None = None) -> None:
        """The reply has ended and is stored."""
        self.live, self.exchange, self.waiting = False, exchange, ""
        self._reply.finish()
        if failure is not None:
            keys = "" if failure.kind in REFUSALS else "ctrl+r tries again"
            self.mount(ErrorPanel(failure, keys, classes="failure"), before=".meta")
        self._settle()

    def show(self, exchange: Exchange) -> None:
        """The same place with another state: a verdict, a correction, another version."""
        changed = exchange.reply != self.exchange.reply
        self.exchange = exchange
        if changed:
            self._reply.show(exchange.reply)
        self._settle()

    def set_place(self, place: Place) -> None:
        """Which version of how many this is."""
        self.place = place
        self._write_meta()

    def _settle(self) -> None:
        self._reply.set_class(not self.exchange.reply and not self.tokens, "-empty")
        self.set_class(self.exchange.status is Status.REJECTED, "-rejected")
        self._write_meta()

    def _write_meta(self, *, layout: bool = True) -> None:
        if self.is_mounted:
            self._written = time.monotonic()
            self.query_one(".meta", Static).update(self._meta(), layout=layout)

    def _meta(self) -> Content:
        parts = self._live_parts() if self.live else self._parts()
        return Content(" · ").join(parts)

    def _live_parts(self) -> list[Content]:
        if self.waiting:
            return [Content(f"◌ {render.line(self.waiting)}"), Content("esc takes it back")]
        if not self.tokens:
            return [Content("◌ reading the prompt"), Content("esc stops")]
        return [Content(f"● {counted(self.tokens)}"), Content(speed(self.rate)), Content("esc stops")]

    def _parts(self) -> list[Content]:
        exchange = self.exchange
        parts = [Content.styled(*BADGES[exchange.status])] if exchange.status in BADGES else []
        if exchange.corrected:
            parts.append(Content.styled("✎ corrected", "$text-accent"))
        if exchange.finish in ENDINGS:
            parts.append(Content.styled(ENDINGS[exchange.finish], "$text-warning"))
        parts.append(render.text(render.line(exchange.adapter, 40)))
        parts += _figures(exchange)
        if self.place.count > 1:
            parts.append(Content.styled(f"‹ {self.place.number}/{self.place.count} ›", "bold"))
        return parts


def _figures(exchange: Exchange) -> list[Content]:
    # They are those of the model's reply: a corrected text has none.
    if exchange.corrected or not exchange.tokens:
        return []
    rate = [Content(speed(exchange.tokens / exchange.seconds))] if exchange.seconds > 0 else []
    return [Content(counted(exchange.tokens)), *rate]


def _prompt(prompt: str) -> Content:
    lines = prompt.splitlines()
    if len(lines) <= PROMPT_LINES:
        return render.text(prompt)
    rest = f"\n… and {len(lines) - PROMPT_LINES} more lines"
    return render.text("\n".join(lines[:PROMPT_LINES])) + Content.styled(rest, "dim")


def speed(rate: float) -> str:
    """Tokens a second."""
    return f"{rate:.0f} tok/s" if rate >= 100 else f"{rate:.1f} tok/s"


def counted(tokens: int) -> str:
    """A number of tokens."""
    return f"{tokens:,} token{'s' if tokens != 1 else ''}"
