"""Earlier chats: search, choose, rename."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, cast

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from corpora.dialog import Conversation
from corpora.errors import LlamaTuiError
from corpora.store import Store
from tui import render
from tui.widgets.dialogs import AskLine

if TYPE_CHECKING:
    from tui.app import LlamaTuiApp

SHOWN = 200
KEYS = "enter opens · ↑ ↓ choose · ctrl+t renames · esc closes"


class HistoryScreen(ModalScreen[int | None]):
    """Returns the id of the chat to go on with."""

    CSS_PATH = "history.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss", "Close", priority=True),
        Binding("up", "move('cursor_up')", show=False, priority=True),
        Binding("down", "move('cursor_down')", show=False, priority=True),
        Binding("pageup", "move('page_up')", show=False, priority=True),
        Binding("pagedown", "move('page_down')", show=False, priority=True),
        Binding("ctrl+t", "rename", "Rename", priority=True, id="history.rename"),
    ]

    @dataclass
    class Found(Message):
        """What a search gave."""

        search: str
        chats: list[Conversation]

    def __init__(self, store: Store, search: str = "") -> None:
        super().__init__()
        self.store = store
        self.search = search
        self.chats: list[Conversation] = []

    def compose(self) -> ComposeResult:
        """A line to search with, the chats, the keys."""
        with Vertical(id="history"):
            yield Input(self.search, placeholder="Search titles, prompts and replies", compact=True)
            yield OptionList(compact=True)
            yield Static(KEYS, classes="keys", markup=False)

    def on_mount(self) -> None:
        """Show the last ones."""
        self.query_one(OptionList).can_focus = False
        self._look(self.search)

    def on_input_changed(self, event: Input.Changed) -> None:
        """Search while one types."""
        self._look(event.value)

    def _look(self, search: str) -> None:
        self._find(search)

    @work(group="search", exclusive=True)
    async def _find(self, search: str) -> None:
        try:
            chats = await asyncio.to_thread(self.store.conversations, search.strip(), SHOWN)
        except LlamaTuiError as error:
            cast("LlamaTuiApp", self.app).report(error)
        else:
            self.post_message(self.Found(search, chats))

    def on_history_screen_found(self, message: Found) -> None:
        """Show what was found."""
        self.chats = message.chats
        options = self.query_one(OptionList)
        options.clear_options()
        options.add_options([Option(_row(chat), id=str(chat.id)) for chat in self.chats])
        if not self.chats:
            empty = "Nothing matches." if message.search else "No chats yet."
            options.add_option(Option(Content.styled(empty, "dim"), disabled=True))
        options.highlighted = 0 if self.chats else None

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter opens the chat that is marked."""
        if (chat := self._marked()) is not None:
            self.dismiss(chat.id)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """A click opens it."""
        self.dismiss(int(event.option.id or 0))

    def action_move(self, where: str) -> None:
        """Move the mark while the line keeps the focus."""
        options = self.query_one(OptionList)
        getattr(options, f"action_{where}")()

    def action_rename(self) -> None:
        """Another title."""
        if (chat := self._marked()) is not None:
            cast("LlamaTuiApp", self.app).attempt(self._rename, chat)

    async def _rename(self, chat: Conversation) -> None:
        title = await self.app.push_screen_wait(AskLine("Title", chat.title))
        if title:
            await asyncio.to_thread(self.store.rename_conversation, chat.id, title)
            self._look(self.query_one(Input).value)

    def _marked(self) -> Conversation | None:
        place = self.query_one(OptionList).highlighted
        return self.chats[place] if place is not None and place < len(self.chats) else None


def _row(chat: Conversation) -> Content:
    when = Content.styled(_when(chat.updated).ljust(11), "dim")
    count = Content.styled(f"{chat.exchanges:>4}  ", "dim")
    return when + count + render.text(render.line(chat.title, 200) or "untitled")


def _when(seconds: float) -> str:
    then, now = time.localtime(seconds), time.localtime()
    if then[:3] == now[:3]:
        return time.strftime("%H:%M", then)
    return time.strftime("%d %b" if then.tm_year == now.tm_year else "%b %Y", then)
