"""The line REPL's commands on the chat: verdicts, versions, earlier chats, prompts from files.

Knows nothing of runs and adapters.
"""

from __future__ import annotations

import asyncio
import re

from corpora.dialog import Exchange, Status
from corpora.errors import UsageError
from sessions.chat import Chat
from tui.chat_file import write_chat
from tui.output import Output
from tui.prompts import prompt_file
from tui.repl_session import Session
from tui.run_actions import in_words, sampling_with
from tui.stars import rating_of, stars
from tui.verbs.runs import day

LISTED = 20
"""Earlier chats that /history shows."""
RECALLED = 3
"""Exchanges of a reopened chat that are printed again."""
"""Characters of a file that may become a prompt."""
STRONGEST = 1.5


class ChatActions:
    """Half of `tui.commands.Actions`."""

    def __init__(self, session: Session) -> None:
        self.session = session

    @property
    def chat(self) -> Chat:
        """The conversation."""
        return self.session.chat

    @property
    def output(self) -> Output:
        """Where results go."""
        return self.session.output

    # verdicts

    async def keep(self, rest: str) -> None:
        """Keep the last exchange."""
        last = self.session.last()
        if self.chat.last is not None and not self.chat.last.reply.strip():
            raise UsageError("There is no reply to keep.", remedy="Write one: /correct TEXT; or ask again: /retry")
        await self._judge(last, Status.KEPT)

    async def reject(self, rest: str) -> None:
        """Reject the last exchange."""
        await self._judge(self.session.last(), Status.REJECTED)

    async def defer(self, rest: str) -> None:
        """Put the last exchange aside."""
        await self._judge(self.session.last(), Status.DEFERRED)

    async def rate(self, rest: str) -> None:
        """Stars for the last exchange."""
        exchange_id, rating = self.session.last(), rating_of(rest)
        await asyncio.to_thread(self.chat.store.rate, [exchange_id], rating)
        await self.chat.refresh()
        self.output.note(f"{stars(rating) if rating else 'No rating'}; /undo takes it back.")

    async def _judge(self, exchange_id: int, status: Status) -> None:
        await asyncio.to_thread(self.chat.store.set_status, [exchange_id], status)
        await self.chat.refresh()
        await self._say_count(status.value.capitalize())

    async def _say_count(self, what: str) -> None:
        stats = await asyncio.to_thread(self.chat.store.stats)
        self.output.note(f"{what}. {stats.by_status.get(Status.KEPT, 0):,} kept in all; /undo takes it back.")

    async def correct(self, rest: str) -> None:
        """Rewrite the last reply and keep it."""
        exchange_id = self.session.last()
        assert self.chat.last is not None
        text = rest or await self.session.surface.edit("Rewrite the reply.", self.chat.last.reply)
        if not text.strip() or text.strip() == self.chat.last.reply:
            self.output.note("Nothing was changed.")
            return
        await asyncio.to_thread(self.chat.store.correct, exchange_id, text.strip())
        await self.chat.refresh()
        await self._say_count("Corrected and kept; the original stays")

    async def undo(self, rest: str) -> None:
        """Take the last action back."""
        undone = await asyncio.to_thread(self.chat.store.undo)
        await self.chat.refresh()
        self.output.note(f"Taken back: {undone}." if undone else "There is nothing to take back.")

    # replies

    async def retry(self, rest: str) -> None:
        """Another version of the last reply."""
        await self.session.answer(self.chat.retry())

    async def edit(self, rest: str) -> None:
        """Another prompt in the place of the last one."""
        exchange_id = self.session.last()
        assert self.chat.last is not None
        text = rest or await self.session.surface.edit("Change the prompt.", self.chat.last.prompt)
        if text.strip():
            await self.session.answer(self.chat.edit(exchange_id, text.strip()))

    async def stop(self, rest: str) -> None:
        """A reply is stopped by Ctrl+C here, as nothing can be typed meanwhile."""
        if not await self.session.stop():
            self.output.note("No reply is being written. (Ctrl+C stops one.)")

    # chats

    async def new(self, rest: str) -> None:
        """An empty chat, with the settings' system prompt."""
        self.chat.new()
        self.chat.system = self.session.workspace.settings.system or None
        self.session.used = 0
        self.output.note("A new chat.")

    async def history(self, rest: str) -> None:
        """List earlier chats, or open one."""
        if rest.isdigit():
            await self._open(int(rest))
            return
        found = await asyncio.to_thread(self.chat.store.conversations, rest, LISTED)
        if not found:
            self.output.note("No chat holds these words." if rest else "There is no earlier chat.")
            return
        rows = [(each.id, each.exchanges, each.title, day(each.updated)) for each in found]
        self.output.table(("NUMBER", "EXCHANGES", "TITLE", "LAST"), rows, right=("NUMBER", "EXCHANGES"))
        self.output.note("/history NUMBER goes on with one.")

    async def _open(self, number: int) -> None:
        if await asyncio.to_thread(self.chat.store.last_exchange, number) is None:
            raise UsageError(f"There is no chat {number}.", remedy="/history lists them.")
        await self.chat.open(number)
        for exchange in self.chat.branch[-RECALLED:]:
            self._recall(exchange)

    def _recall(self, exchange: Exchange) -> None:
        self.output.say(f"> {exchange.prompt}", "cyan")
        self.output.say(exchange.reply)

    # what is asked, and how

    async def system(self, rest: str) -> None:
        """Show, set or clear the system prompt."""
        if rest:
            self.chat.system = None if rest == "clear" else rest
        if self.chat.system:
            self.output.say(self.chat.system)
        else:
            self.output.note("No system prompt.")

    async def set(self, rest: str) -> None:
        """Show or set how replies are drawn."""
        name, _, value = re.sub(r"^([\w-]+)\s*=", r"\1 ", rest).partition(" ")
        name = name.replace("-", "_")
        if name == "strength" and value.strip():
            self.chat.strength = _strength(value, self.chat.strength)
        elif name and name != "strength":
            self.chat.sampling = sampling_with(self.chat.sampling, name, value.strip())
        self.output.note(f"{in_words(self.chat.sampling)} · strength {self.chat.strength:g}")

    async def read(self, rest: str) -> None:
        """Send a file's text as a prompt."""
        if not rest:
            raise UsageError("Which file?", remedy="/read FILE")
        await self.send(await asyncio.to_thread(prompt_file, rest))

    async def save(self, rest: str) -> None:
        """Write the chat to a file."""
        self.session.last()
        if not rest:
            raise UsageError("Which file?", remedy="/save FILE.md, or FILE.json for messages")
        self.output.note(f"Written to {await asyncio.to_thread(write_chat, rest, self.chat.branch)}.")

    async def send(self, prompt: str) -> None:
        """Ask the model; where the prompt holds the format's own tags, the person is asked first."""
        allowed = await self._tags_allowed(prompt)
        await self.session.answer(self.chat.send(prompt, tags_allowed=allowed))

    async def _tags_allowed(self, prompt: str) -> bool:
        tags = self.chat.client.tags_in(prompt)
        if not tags or not self.session.surface.attended:
            return False
        question = f"{' and '.join(tags)} would be read as the end or start of a turn. Send it as it is, this once?"
        return await self.session.surface.ask(question)


def _strength(value: str, now: float) -> float:
    try:
        strength = float(value)
    except ValueError:
        strength = -1.0
    if not 0 <= strength <= STRONGEST:
        raise UsageError(f"strength is between 0 (the base) and {STRONGEST}.", data=f"It is still {now:g}.")
    return strength
