"""What the chat screen consists of, typed access to it, and how a branch is shown."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from textual import work
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.message import Message
from textual.timer import Timer
from textual.widgets import Static

from corpora.dialog import Exchange
from corpora.errors import LlamaTuiError, UsageError
from tui import render
from tui.messages import CorpusChanged
from tui.screens.mode import ModeScreen
from tui.widgets.conversation import Conversation
from tui.widgets.exchange import Place
from tui.widgets.inline_editor import InlineEditor
from tui.widgets.prompt import Completions, Prompt
from tui.widgets.statusbar import StatusBar
from tui.widgets.welcome import Welcome

NOTICE_SECONDS = 8.0


@dataclass
class PlacesRead(Message):
    """Which version of how many each exchange is, by id."""

    places: dict[int, Place]


class ChatParts(ModeScreen):
    """Conversation, notices, prompt, status."""

    def __init__(self) -> None:
        super().__init__()
        self._fading: Timer | None = None

    def body(self) -> ComposeResult:
        """Conversation, notices, prompt, status."""
        completions = Completions(id="completions")
        yield Welcome("", id="welcome")
        yield Conversation(id="conversation")
        with Vertical(id="below"):
            yield Static("", id="notice", classes="notice", markup=False)
            yield Static("", id="offer", classes="notice", markup=False)
            yield completions
            yield Prompt(completions, id="prompt")
            yield StatusBar(id="status")

    # typed access

    @property
    def conversation(self) -> Conversation:
        """The exchanges."""
        return self.query_one(Conversation)

    @property
    def prompt(self) -> Prompt:
        """Where one types."""
        return self.query_one(Prompt)

    @property
    def status(self) -> StatusBar:
        """The line below the prompt."""
        return self.query_one(StatusBar)

    @property
    def editor(self) -> InlineEditor | None:
        """The editor that is open in an exchange, if one is."""
        return next(iter(self.query(InlineEditor)), None)

    def target(self) -> Exchange:
        """The exchange that commands act on. Raises UsageError where there is none, or it is being written."""
        view = self.conversation.target
        if view is None:
            raise UsageError("There is no exchange yet.", remedy="Ask something first.")
        if view.live:
            raise UsageError("This reply is still being written.", remedy="Stop it with Esc, or wait.")
        return view.exchange

    # showing

    async def show_branch(self) -> None:
        """Show the chat's branch as it is now."""
        branch = self.llama.chat.branch
        self.query_one(Welcome).display = not branch
        self.conversation.display = bool(branch)
        await self.conversation.show(branch)
        self.read_places()
        self.count()

    def changed(self, *exchanges: Exchange) -> None:
        """Exchanges got a verdict, a correction or another text."""
        for exchange in exchanges:
            self.conversation.replace(exchange)
        self.llama.tell(CorpusChanged(tuple(exchange.id for exchange in exchanges)))

    def say(self, notice: str, *, lasting: bool = False) -> None:
        """A line above the prompt, for some seconds where it is not `lasting`; empty hides it."""
        if self._fading is not None:
            self._fading.stop()
        self._fading = self.set_timer(NOTICE_SECONDS, lambda: self.say("")) if notice and not lasting else None
        line = self.query_one("#notice", Static)
        line.update(render.text(render.line(notice)))
        line.display = bool(notice)

    @work(group="count", exclusive=True)
    async def count(self) -> None:
        """Count what is kept, for the status line."""
        try:
            self.status.kept = await self.llama.actions.kept_in_words()
        except LlamaTuiError as error:
            self.llama.report(error)

    def read_places(self) -> None:
        """Find which version each shown exchange is."""
        ids = [view.exchange.id for view in self.conversation.views if not view.live]
        self._read_places(ids)

    @work(group="places", exclusive=True)
    async def _read_places(self, ids: list[int]) -> None:
        def read() -> dict[int, Place]:
            found = {id: [known.id for known in self.llama.chat.store.siblings(id)] for id in ids}
            return {id: Place(known.index(id) + 1, len(known)) for id, known in found.items() if id in known}

        try:
            self.post_message(PlacesRead(await asyncio.to_thread(read)))
        except LlamaTuiError as error:
            self.llama.report(error)

    def on_places_read(self, message: PlacesRead) -> None:
        """Say which version is shown."""
        for id, place in message.places.items():
            if (view := self.conversation.view(id)) is not None:
                view.set_place(place)
