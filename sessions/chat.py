"""One conversation without a screen: send, retry, edit, stop, versions; every word saved as it comes.

The same core under the app, the line REPL and `ask`. Independent of screens and models.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TypeAlias

from corpora.dialog import Exchange, Finish, Message, answered
from corpora.errors import UsageError
from corpora.llama2 import render
from corpora.store import Store
from sessions.client import Client
from sessions.errors import AdapterDamaged, AdapterError, AdapterMismatch, AdapterNotFound, Failure
from sessions.protocol import (
    BASE,
    AnyEvent,
    Cancelled,
    ColumnEnded,
    Failed,
    Finished,
    Prefilled,
    Sampling,
    Token,
)

UNUSABLE = frozenset(kind.__name__ for kind in (AdapterDamaged, AdapterMismatch, AdapterNotFound))
"""Failures of a version that cannot be used, so that the base replies."""

SAVE_EVERY = 0.5
"""Seconds between saves of a reply that is still being written."""


@dataclass(frozen=True, slots=True)
class Began:
    """The prompt is saved, and the reply has its place."""

    exchange: Exchange


@dataclass(frozen=True, slots=True)
class Saved:
    """The reply has ended and is saved; `failure` says why, where it did not end well."""

    exchange: Exchange
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class FellBack:
    """The version that was to reply cannot be used, and the base answers from now on; `error` says why."""

    error: AdapterError


ChatEvent: TypeAlias = Began | FellBack | Prefilled | Token | ColumnEnded | Saved


class Chat:
    """The branch on the screen, and how the next reply is asked for.

    `version` identifies what replies (`base`, or a content digest), `adapter` is where that is now (`base`, or
    `NAME/vN`). A version that cannot be used is replaced by the base with a `FellBack`; a `strict` chat raises
    instead. `system` is None or text. All may be set between replies.
    """

    def __init__(self, store: Store, client: Client) -> None:
        self.store = store
        self.client = client
        self.system: str | None = None
        # The chat screen imports this module before its first frame, which needs no registry.
        from sessions.registry import Registry

        self.registry = Registry(client.paths)
        self.adapter = self.version = BASE
        self.strict = False
        self.sampling = Sampling()
        self.strength = 1.0
        self.conversation_id: int | None = None
        self.branch: tuple[Exchange, ...] = ()
        self._under_way: str | None = None

    @property
    def busy(self) -> bool:
        """True while a reply is being written."""
        return self._under_way is not None

    @property
    def last(self) -> Exchange | None:
        """The last exchange of the branch."""
        return self.branch[-1] if self.branch else None

    def use(self, adapter: str) -> None:
        """Reply with `base` or `NAME/vN` from now on. Raises AdapterNotFound, AdapterDamaged."""
        self.version = self.registry.identity(adapter)
        self.adapter = adapter

    async def look(self) -> AdapterError | None:
        """Follow the version to where it is now; where it was removed the base replies, and why is returned."""
        before = self.adapter
        try:
            self.adapter = await asyncio.to_thread(self._address)
        except AdapterNotFound:
            if self.strict:
                raise
            self.adapter = self.version = BASE
            entry = self.registry.identities().at(before)
            return _gone(before, removed=entry is not None and entry.removed)
        return None

    def new(self) -> None:
        """Start an empty conversation; it is stored with its first prompt."""
        self.conversation_id, self.branch = None, ()

    async def open(self, conversation_id: int) -> None:
        """Continue a stored conversation at its last exchange."""
        last = await asyncio.to_thread(self.store.last_exchange, conversation_id)
        self.conversation_id = conversation_id
        await self._show(last)

    async def select(self, exchange_id: int) -> None:
        """Show the branch that runs through another version of a reply or prompt."""
        await self._show(await asyncio.to_thread(self.store.latest_leaf, exchange_id))

    async def undo_turn(self) -> str | None:
        """Leave the last exchange off the branch (it stays stored); returns its prompt."""
        last = self.last
        self.branch = self.branch[:-1]
        return last.prompt if last else None

    async def refresh(self) -> None:
        """Read the branch again after exchanges were curated elsewhere."""
        if self.last is not None:
            self.branch = await asyncio.to_thread(self.store.path_to, self.last.id)

    async def versions(self, exchange_id: int) -> tuple[Exchange, ...]:
        """Replies to the same prompt at the same place, the oldest first."""
        return await asyncio.to_thread(self.store.versions, exchange_id)

    def send(self, prompt: str, *, tags_allowed: bool = False) -> AsyncIterator[ChatEvent]:
        """Ask for a reply to a prompt at the end of the branch.

        Raises TagsInContent before anything is saved, unless `tags_allowed`; UsageError when busy.
        """
        return self._reply(self.branch, prompt, tags_allowed)

    def retry(self) -> AsyncIterator[ChatEvent]:
        """Ask for another version of the last reply."""
        if self.last is None:
            raise UsageError("There is no reply to try again.")
        return self._reply(self.branch[:-1], self.last.prompt, self.last.tags_allowed)

    def edit(self, exchange_id: int, prompt: str, *, tags_allowed: bool = False) -> AsyncIterator[ChatEvent]:
        """Ask again with another prompt in the place of an earlier one; the old branch stays."""
        places = [index for index, exchange in enumerate(self.branch) if exchange.id == exchange_id]
        if not places:
            raise UsageError("That prompt is not on this branch.")
        return self._reply(self.branch[: places[0]], prompt, tags_allowed)

    async def stop(self) -> None:
        """Stop the reply; what has come is kept."""
        if self._under_way is not None:
            await self.client.cancel(self._under_way)

    def dialog(self, before: tuple[Exchange, ...], prompt: str, tags_allowed: bool = False) -> tuple[Message, ...]:
        """The messages that the model is shown."""
        said = [Message("system", self.system, tags_allowed=True)] if self.system is not None else []
        for exchange in answered(before):
            said.append(Message("user", exchange.prompt, tags_allowed=True))
            said.append(Message("assistant", exchange.reply, tags_allowed=True))
        return (*said, Message("user", prompt, tags_allowed=tags_allowed))

    async def _show(self, leaf: Exchange | None) -> None:
        self.branch = await asyncio.to_thread(self.store.path_to, leaf.id) if leaf else ()
        if leaf is not None:
            self.conversation_id, self.system = leaf.conversation_id, leaf.system

    async def _reply(self, before: tuple[Exchange, ...], prompt: str, tags_allowed: bool) -> AsyncIterator[ChatEvent]:
        if self.busy:
            raise UsageError("A reply is still being written.", remedy="Stop it first, or wait.")
        self._under_way = self.client.next_id()
        try:
            if not tags_allowed and self.client.tags_in(prompt):
                render([Message("user", prompt)])
            gone = await self.look()
            exchange = await asyncio.to_thread(self._begin, before, prompt, tags_allowed)
            self.branch = (*before, exchange)
            yield Began(exchange)
            if gone is not None:
                yield FellBack(gone)
            dialog = self.dialog(before, prompt, tags_allowed)
            async for event in self._record(exchange, dialog, self._under_way):
                yield event
        finally:
            self._under_way = None

    def _begin(self, before: tuple[Exchange, ...], prompt: str, tags_allowed: bool) -> Exchange:
        if self.conversation_id is None:
            self.conversation_id = self.store.start_conversation().id
        return self.store.begin(
            self.conversation_id,
            before[-1].id if before else None,
            prompt,
            system=self.system,
            model=self.client.model,
            adapter=self.adapter if self.strength else BASE,
            version=self.version if self.strength else BASE,
            tags_allowed=tags_allowed,
        )

    async def _record(self, exchange: Exchange, dialog: tuple[Message, ...], id: str) -> AsyncIterator[ChatEvent]:
        record = _Record(self.store, exchange)
        try:
            async for event in self._written(exchange, dialog, id):
                if not isinstance(event, FellBack):
                    await record.take(event)
                if isinstance(event, (FellBack, Prefilled, Token, ColumnEnded)):
                    yield event
        finally:
            # Also when the screen goes away in the middle: what has come is on disk.
            saved = await asyncio.shield(asyncio.to_thread(record.close))
            self.branch = tuple(saved if known.id == saved.id else known for known in self.branch)
        yield Saved(saved, record.failure)

    async def _written(
        self, exchange: Exchange, dialog: tuple[Message, ...], id: str
    ) -> AsyncIterator[AnyEvent | FellBack]:
        """The events of a reply; where the version cannot be used, a `FellBack` and the events of the base's reply."""
        unusable: Failure | None = None
        async for event in self.client.generate(dialog, (self.adapter,), self.sampling, strength=self.strength, id=id):
            if isinstance(event, Failed) and event.failure.kind in UNUSABLE and not self.strict:
                unusable = event.failure
            else:
                yield event
        if unusable is None:
            return
        await asyncio.to_thread(self.store.answer_by_base, exchange.id)
        self.adapter = self.version = BASE
        yield FellBack(_unusable(unusable))
        self._under_way = self.client.next_id()
        async for event in self.client.generate(dialog, (BASE,), self.sampling, id=self._under_way):
            yield event

    def _address(self) -> str:
        """Where the version is. Raises AdapterNotFound where it was removed."""
        if self.version == BASE:
            return BASE
        with contextlib.suppress(AdapterError):
            if self.registry.identity(self.adapter) == self.version:
                return self.adapter
        return self.registry.address(self.version)


def _gone(adapter: str, *, removed: bool) -> AdapterNotFound:
    return AdapterNotFound(
        f"{adapter} was removed." if removed else f"{adapter} is no longer there, or its lineage is damaged.",
        data="The base answers from now on.",
        remedy="Use another version, or train again.",
    )


def _unusable(failure: Failure) -> AdapterError:
    error = failure.error()
    assert isinstance(error, AdapterError)
    error.data = "The base answers from now on; the version was not used."
    return error


class _Record:
    """A reply on its way into the store."""

    def __init__(self, store: Store, exchange: Exchange) -> None:
        self.store = store
        self.exchange = exchange
        self.text: list[str] = []
        self.tokens = 0
        self.seconds = 0.0
        self.finish = Finish.STOPPED
        self.failure: Failure | None = None
        self._saved_at = time.monotonic()

    async def take(self, event: AnyEvent) -> None:
        match event:
            case Token(text=text, tokens=tokens):
                self.text.append(text)
                self.tokens += tokens
                await self._save_now_and_then()
            case ColumnEnded(finish=finish, tokens=tokens, seconds=seconds):
                self.finish, self.tokens, self.seconds = finish, tokens, seconds
            case Failed(failure=failure):
                self.finish, self.failure = Finish.FAILED, failure
            case Cancelled():
                self.finish = Finish.STOPPED
            case Finished():
                pass

    async def _save_now_and_then(self) -> None:
        if time.monotonic() - self._saved_at >= SAVE_EVERY:
            self._saved_at = time.monotonic()
            await asyncio.to_thread(self.store.write_partial, self.exchange.id, "".join(self.text))

    def close(self) -> Exchange:
        return self.store.finish(
            self.exchange.id, "".join(self.text).strip(), self.finish, tokens=self.tokens, seconds=self.seconds
        )
