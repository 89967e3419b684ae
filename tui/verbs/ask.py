"""`ask`: one prompt, one reply, streamed and saved to the corpus like every chat.

Knows nothing of how a reply is made or stored.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from corpora.dialog import Exchange, Finish
from corpora.errors import UsageError
from sessions.chat import Chat, FellBack, Saved
from sessions.protocol import Prefilled, Token
from tui.render import Stream
from tui.verbs.call import Call, given_text, naming_the_flag, piped_text


@dataclass(frozen=True, slots=True)
class Answer:
    """What `ask --json` prints."""

    prompt: str
    reply: str
    system: str | None
    model: str
    adapter: str
    finish: str
    tokens: int
    seconds: float
    prompt_tokens: int
    dropped_exchanges: int
    conversation_id: int
    exchange_id: int


def ask(call: Call) -> Coroutine[Any, Any, int]:
    """Answer the prompt on the command line or on stdin (read here, where Ctrl+C ends it at once)."""
    return _ask(call, _prompt(call))


async def _ask(call: Call, prompt: str) -> int:
    adapter, sampling = call.adapter, call.sampling()
    async with call.client() as client:
        chat = Chat(call.workspace.store, client)
        chat.use(adapter)
        chat.sampling, chat.strict = sampling, bool(getattr(call.given, "adapter", None))
        chat.system = call.system
        await call.ready(client)
        try:
            with naming_the_flag():
                return await _answer(call, chat, prompt)
        except asyncio.CancelledError:
            if chat.last is not None:
                call.output.note(f"What had come of the reply is saved as exchange {chat.last.id}.")
            raise


def _prompt(call: Call) -> str:
    typed = " ".join(call.given.prompt)
    text = piped_text("prompt") if typed in ("", "-") else given_text(typed)
    if not text.strip():
        raise UsageError("The prompt is empty.", data="Nothing was sent.", remedy="Write what you want to ask.")
    return text.strip()


async def _answer(call: Call, chat: Chat, prompt: str) -> int:
    """Print the reply as it comes. Cancelled in the middle, what has come is saved before it leaves."""
    read, stream = Prefilled(prompt_tokens=0), Stream()
    saved: Saved | None = None
    try:
        async with aclosing(chat.send(prompt, tags_allowed=call.given.allow_tags)) as events:  # type: ignore[type-var]
            async for event in events:
                match event:
                    case Prefilled():
                        read = event
                        _say_dropped(call, event)
                    case FellBack(error=error):
                        call.output.problem(error)
                    case Token(text=text):
                        call.output.reply(stream.feed(text))
                    case Saved():
                        saved = event
    finally:
        call.output.reply(stream.flush())
        call.output.end_reply()
    return _end(call, saved, read)


def _say_dropped(call: Call, read: Prefilled) -> None:
    if read.dropped_exchanges:
        call.output.note(f"The {read.dropped_exchanges} oldest exchanges no longer fit the context and were left out.")


def _end(call: Call, saved: Saved | None, read: Prefilled) -> int:
    if saved is None:
        raise UsageError("No reply came.", remedy="Ask again.")
    if saved.failure is not None:
        raise saved.failure.error()
    if saved.exchange.finish is Finish.LENGTH:
        call.output.note("(cut at --max-new-tokens)")
    if call.output.json:
        call.output.document(_told(saved.exchange, read))
    return 0


def _told(said: Exchange, read: Prefilled) -> Answer:
    return Answer(
        prompt=said.prompt,
        reply=said.reply,
        system=said.system,
        model=said.model,
        adapter=said.adapter,
        finish=said.finish.value,
        tokens=said.tokens,
        seconds=round(said.seconds, 4),
        prompt_tokens=read.prompt_tokens,
        dropped_exchanges=read.dropped_exchanges,
        conversation_id=said.conversation_id,
        exchange_id=said.id,
    )
