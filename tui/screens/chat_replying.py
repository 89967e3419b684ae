"""A prompt on its way to the model, and the reply on its way back.

A worker reads the reply and posts what has come; handlers change widgets.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

from textual import work
from textual.message import Message
from textual.widgets import TextArea

from corpora.dialog import Exchange
from corpora.errors import LlamaTuiError, TagsInContent, UsageError
from sessions.chat import Began, ChatEvent, FellBack, Saved
from sessions.errors import REFUSALS, Failure
from sessions.protocol import ColumnEnded, Prefilled, Token
from tui import commands
from tui.glance import model_details
from tui.messages import CorpusChanged
from tui.pace import Pace
from tui.screens.chat_parts import ChatParts
from tui.widgets.error_panel import ErrorPanel
from tui.widgets.exchange import ExchangeView
from tui.widgets.prompt import Prompt
from tui.widgets.welcome import Welcome


@dataclass
class Happened(Message):
    """The reply under way has come further. Never coalesced."""

    event: ChatEvent


@dataclass
class Refused(Message):
    """The reply under way ended with an error that the chat's core raised."""

    error: LlamaTuiError
    prompt: str


class Replying(ChatParts):
    """Sends prompts and shows replies; the prompt unlocks on any ending."""

    def __init__(self) -> None:
        super().__init__()
        self.live: ExchangeView | None = None
        self._tokens = 0
        self._first_token = 0.0
        self._refused = ""
        self._refused_beside = ""
        self._replying = False
        self.pace = Pace()

    def say_idle(self) -> None:
        """What is worth knowing when nothing goes on."""
        temperature = self.llama.chat.sampling.temperature
        drawn = f"temperature {temperature:g}" if temperature else "greedy"
        told = (self.pace.reading, model_details(self.llama.model), drawn)
        self.status.state = " · ".join(part for part in told if part)

    def on_prompt_sent(self, message: Prompt.Sent) -> None:
        """A command runs, anything else goes to the model."""
        self.clear_refusal()
        if commands.is_command(message.text):
            self.prompt.put("")
            self._remember(message.text)
            self.llama.attempt(self._command, message.text)
        else:
            self.llama.attempt(self.send, message.text)

    async def _command(self, line: str) -> None:
        """Run a slash command; one that is typed before the store is open waits for it."""
        if commands.find(line[1:].split(maxsplit=1)[0]).name not in ("quit", "help"):
            await self.llama.until_open()
        await commands.dispatch(line, self.llama.actions)

    async def send(self, text: str, *, tags_allowed: bool = False) -> None:
        """Send a prompt at the end of the branch. Raises UsageError where a reply is being written.

        What is sent before the store is open waits for it.
        """
        await self.llama.until_open()
        self.start(self.llama.chat.send(text, tags_allowed=tags_allowed), text)
        self.prompt.put("")
        self._remember(text)

    def start(self, stream: AsyncIterator[ChatEvent], prompt: str) -> None:
        """Show a reply as it comes. Raises UsageError where one is being written."""
        if self._replying:
            raise UsageError("A reply is still being written.", remedy="Stop it with Esc, or wait; the prompt stays.")
        self._replying = True
        self.pace.begin()
        self._take(stream, prompt)

    @work(group="reply")
    async def _take(self, stream: AsyncIterator[ChatEvent], prompt: str) -> None:
        try:
            async for event in stream:
                self.post_message(Happened(event))
        except Exception as error:  # noqa: BLE001  the prompt must unlock on any ending; the error is reported
            self.post_message(Refused(self.llama.known(error), prompt))
        finally:
            self._replying = False

    async def on_happened(self, message: Happened) -> None:
        """One more event of the reply under way."""
        self.pace.hear(message.event)
        match message.event:
            case Began(exchange=exchange):
                await self._began(exchange)
            case FellBack(error=error):
                await self.llama.answering.fall_back(error)
            case Prefilled() as prefilled:
                self._prefilled(prefilled)
            case Token(text=text, tokens=tokens):
                self._token(text, tokens)
            case ColumnEnded(tokens=tokens, seconds=seconds):
                self.status.rate = tokens / seconds if seconds else 0.0
            case Saved(exchange=exchange, failure=failure):
                self._saved(exchange, failure)

    async def _began(self, exchange: Exchange) -> None:
        self._tokens, self._first_token = 0, 0.0
        self.query_one(Welcome).display = False
        self.conversation.display = True
        branch = self.llama.chat.branch
        before = branch[: next((i for i, known in enumerate(branch) if known.id == exchange.id), len(branch))]
        self.live = await self.conversation.begin(before, exchange)
        if self.llama.model is None or self.llama.client.parked:
            self.live.wait_for(self._loading())
        if self.llama.model is None:
            self.status.state = "◌ Starting the model"

    def _loading(self) -> str:
        loading = self.llama.client.loading
        if loading is None:
            return "waiting for the model"
        share = f" {loading.fraction:.0%}" if loading.fraction is not None else ""
        return f"waiting for the model: {loading.stage.lower()}{share}"

    def _prefilled(self, event: Prefilled) -> None:
        if self.live is not None:
            self.live.wait_for("")
        self.status.used = event.prompt_tokens
        self.status.context = event.context or (self.llama.model.context if self.llama.model else 0)
        cut = event.dropped_exchanges
        what = f"oldest {cut} exchanges no longer fit and are" if cut > 1 else "oldest exchange no longer fits and is"
        self.say(f"The {what} not sent; they stay stored." if cut else "", lasting=True)

    def _token(self, text: str, tokens: int) -> None:
        now = time.monotonic()
        self._first_token = self._first_token or now
        self._tokens += tokens
        passed = now - self._first_token
        rate = (self._tokens - 1) / passed if passed > 0.2 else 0.0
        if self.live is not None:
            self.live.feed(text, self._tokens, rate)
        self.status.used += tokens
        self.status.rate = rate

    def _saved(self, exchange: Exchange, failure: Failure | None) -> None:
        self._ended(exchange, failure)
        if failure is not None and failure.kind in REFUSALS and not self.prompt.text:
            self.prompt.put(exchange.prompt)
        if self.llama.bridge.active is None:
            self.say_idle()
        self.conversation.replace(exchange)
        self.read_places()
        self.llama.tell(CorpusChanged((exchange.id,)))

    def _ended(self, exchange: Exchange, failure: Failure | None) -> None:
        if self.live is not None:
            self.live.finish(exchange, failure)
        self.live = None
        self.llama.refresh_bar()

    async def on_refused(self, message: Refused) -> None:
        """The reply could not be had: say why where it stands; the prompt is there again."""
        if self.live is not None:
            self._ended(self.live.exchange, Failure.of(message.error))
            return
        if not self.prompt.text:
            self.prompt.put(message.prompt)
        tags = isinstance(message.error, TagsInContent)
        self._refused = message.prompt if tags else ""
        self._refused_beside = self.prompt.text
        keys = "ctrl+t sends it anyway, for this message only" if tags else ""
        await self.query_one("#below").mount(
            ErrorPanel(Failure.of(message.error), keys, id="refusal"), before="#prompt"
        )

    def on_text_area_changed(self, event: TextArea.Changed) -> None:
        """What was refused for its tags is no longer offered once another text is typed."""
        if self._refused and self.prompt.text != self._refused_beside:
            self.clear_refusal()

    def clear_refusal(self) -> None:
        """The error above the prompt is read."""
        self._refused = ""
        self.query("#refusal").remove()

    def _remember(self, text: str) -> None:
        if (past := self.prompt.past) is None:
            return
        try:
            past.add(text)
        except OSError as error:
            self.llama.report(error)
