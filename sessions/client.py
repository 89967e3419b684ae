"""The terminal's end of the protocol: start or find the host, send commands, hear events, notice its death.

After a death the next command starts a host again. Knows nothing of screens, stores or torch.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from typing import TypeVar

import msgspec

from corpora.dialog import Message
from corpora.llama2 import found_tags
from corpora.templates import LLAMA_2
from sessions import protocol
from sessions.errors import Failure, HostDied, HostIsOther
from sessions.hosting import REASON, connect_or_start, end_idle_hosts
from sessions.paths import Paths
from sessions.protocol import (
    BASE,
    ENDINGS,
    AdapterLoaded,
    AnyCommand,
    AnyEvent,
    AskStatus,
    Cancel,
    Cancelled,
    Closing,
    Failed,
    Finished,
    Generate,
    Hello,
    HostState,
    LoadAdapter,
    LoadFailed,
    Loading,
    ModelInfo,
    Preparing,
    Ready,
    Sampling,
    Shutdown,
    StartRun,
    StopRun,
    Welcome,
)
from sessions.version import VERSION

LIMIT = 64 * 2**20
"""The longest line that either side accepts, in bytes."""

Wanted = TypeVar("Wanted")
log = logging.getLogger("llama-tui.client")


class Client:
    """One connection to the host of a home and model. Use from one event loop.

    `listeners` hear what concerns all terminals: Loading, Ready, LoadFailed, Preparing, RunChanged, Closing.
    """

    def __init__(self, paths: Paths, model: str, *, start: bool = True) -> None:
        self.paths = paths
        self.model = model
        self.start = start
        self.ready: ModelInfo | None = None
        self.failure: Failure | None = None
        self.loading: Loading | None = None
        self.preparing: Preparing | None = None
        self.welcome: Welcome | None = None
        self.listeners: list[Callable[[AnyEvent], None]] = []
        self._writer: asyncio.StreamWriter | None = None
        self._reader_task: asyncio.Task[None] | None = None
        self._waiting: dict[str, asyncio.Queue[AnyEvent]] = {}
        self._stopped_early: set[str] = set()
        self._ids = itertools.count(1)
        self._connecting = asyncio.Lock()

    @property
    def parked(self) -> bool:
        """True while the loaded model makes room for a run; prompts wait until it is back."""
        return self.ready is not None and self.loading is not None

    @property
    def connected(self) -> bool:
        """True while the host answers."""
        return self._writer is not None

    async def connect(self) -> Welcome:
        """Find or start the host. Raises HostUnreachable, HostIsOther."""
        async with self._connecting:
            if self._writer is None or self.welcome is None:
                await self._connect()
            assert self.welcome is not None
            return self.welcome

    async def close(self) -> None:
        """Leave; what this client had under way is stopped by the host."""
        writer = self._writer
        if writer is not None:
            writer.close()
        if self._reader_task is not None:
            self._reader_task.cancel()
            await asyncio.gather(self._reader_task, return_exceptions=True)
        if writer is not None:
            with contextlib.suppress(OSError, TimeoutError):
                await asyncio.wait_for(writer.wait_closed(), 1)

    def next_id(self) -> str:
        """An id for a command."""
        return str(next(self._ids))

    async def stream(self, command: AnyCommand) -> AsyncIterator[AnyEvent]:
        """Every event of one command, its single ending last; `Failed` is given when the host dies."""
        await self.connect()
        if command.id in self._stopped_early:
            self._stopped_early.discard(command.id)
            yield Cancelled(id=command.id)
            return
        async with aclosing(self._stream(command)) as events:
            async for event in events:
                yield event

    async def call(self, command: AnyCommand) -> list[AnyEvent]:
        """Run a command to its end; returns its events, raises what failed."""
        events = [event async for event in self.stream(command)]
        if isinstance(events[-1], Failed):
            raise events[-1].failure.error()
        return events

    def generate(
        self,
        dialog: tuple[Message, ...],
        adapters: tuple[str, ...] = (BASE,),
        sampling: Sampling = Sampling(),
        *,
        strength: float = 1.0,
        id: str | None = None,
    ) -> AsyncIterator[AnyEvent]:
        """Stream one reply for each adapter; `cancel(id)` stops it."""
        command = Generate(
            id=id or self.next_id(), dialog=dialog, adapters=adapters, sampling=sampling, strength=strength
        )
        return self.stream(command)

    async def cancel(self, target: str) -> None:
        """Stop another command of this client, sent or about to be; its stream then ends by itself."""
        if target not in self._waiting:
            self._stopped_early.add(target)
        elif self._writer is not None:
            await self.call(Cancel(id=self.next_id(), target=target))

    async def load_adapter(self, adapter: str) -> AdapterLoaded:
        """Make an adapter resident. Raises AdapterError."""
        return _only(AdapterLoaded, await self.call(LoadAdapter(id=self.next_id(), adapter=adapter)))

    async def start_run(self, run: str) -> None:
        """Have the host start a worker on a prepared run."""
        await self.call(StartRun(id=self.next_id(), run=run))

    async def stop_run(self, run: str, *, save: bool = True) -> None:
        """Stop a run, its adapter so far published or not."""
        await self.call(StopRun(id=self.next_id(), run=run, save=save))

    async def status(self) -> HostState:
        """The host's state."""
        return _only(HostState, await self.call(AskStatus(id=self.next_id())))

    async def shutdown(self, *, force: bool = False) -> None:
        """End the host. Raises HostError where others use it and `force` is not given."""
        await self.call(Shutdown(id=self.next_id(), force=force))

    def tags_in(self, prompt: str) -> list[str]:
        """Llama 2's own tags in a prompt; none where the model is known to be asked in another form."""
        asked_otherwise = self.ready is not None and self.ready.chat_format != LLAMA_2
        return [] if asked_otherwise else found_tags(prompt)

    async def until_ready(self) -> ModelInfo:
        """Wait for the model. Raises what the load failed with, or HostDied."""
        await self.connect()
        changed = asyncio.Event()
        listener: Callable[[AnyEvent], None] = lambda event: changed.set()  # noqa: E731
        self.listeners.append(listener)
        try:
            while self.ready is None:
                if self.failure is not None:
                    raise self.failure.error()
                if not self.connected:
                    raise HostDied("The host ended while it was loading.", remedy="Look at `llama-tui host log`.")
                await changed.wait()
                changed.clear()
            return self.ready
        finally:
            self.listeners.remove(listener)

    async def _connect(self) -> None:
        if self.start:
            await end_idle_hosts(self.paths, self.model)
        await self._open()
        if self.welcome is not None and self.welcome.version != VERSION:
            await self._replace_other_version()

    async def _open(self) -> None:
        reader, self._writer = await connect_or_start(self.paths, self.model, start=self.start, limit=LIMIT)
        self.ready, self.failure, self.loading, self.preparing = None, None, None, None
        self._reader_task = asyncio.create_task(self._read(reader, self._writer))
        events = [event async for event in self._stream(Hello(id=self.next_id(), version=VERSION))]
        self.welcome = _only(Welcome, events)

    async def _replace_other_version(self) -> None:
        """A host of another version is ended if nobody uses it; else the person is told."""
        assert self.welcome is not None
        other = self.welcome.version
        events = [event async for event in self._stream(Shutdown(id=self.next_id()))]
        refused = not isinstance(events[-1], Finished)
        if not refused and self._reader_task is not None:
            await asyncio.wait([self._reader_task], timeout=10)  # until it has hung up, lest we meet it again
        await self.close()
        if refused:
            raise HostIsOther(
                f"A host of version {other} is in use for this home; this program is {VERSION}.",
                data="Its chat or run goes on untouched.",
                remedy="Close the other terminal or wait for the run, or end it with `llama-tui host stop --force`.",
            )
        self._writer = None
        await self._open()

    async def _stream(self, command: AnyCommand) -> AsyncGenerator[AnyEvent, None]:
        inbox: asyncio.Queue[AnyEvent] = asyncio.Queue()
        self._waiting[command.id] = inbox
        ended = False
        try:
            await self._send(command)
            while not ended:
                event = await inbox.get()
                ended = isinstance(event, ENDINGS)
                yield event
        finally:
            self._waiting.pop(command.id, None)
            if not ended and self._writer is not None:
                # Nobody listens any more: the host need not go on with it.
                self._writer.write(protocol.encode(Cancel(id=self.next_id(), target=command.id)))

    async def _send(self, command: AnyCommand) -> None:
        writer = self._writer
        if writer is None:
            self._deliver(_death(command.id))
            return
        try:
            writer.write(protocol.encode(command))
            await writer.drain()
        except OSError:
            self._deliver(_death(command.id))

    async def _read(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                self._deliver(protocol.decode_event(line))
        except (OSError, ValueError, msgspec.MsgspecError):
            log.exception("The host's answer could not be read")
        finally:
            writer.close()
            if self._writer is writer:
                self._lost()

    def _lost(self) -> None:
        self._writer, self.ready, self.preparing = None, None, None
        for id in list(self._waiting):
            self._deliver(_death(id))
        self._tell(Closing(reason="The host has ended."))

    def _deliver(self, event: AnyEvent) -> None:
        if not event.id:
            self._note(event)
            self._tell(event)
        elif (inbox := self._waiting.get(event.id)) is not None:
            inbox.put_nowait(event)

    def _note(self, event: AnyEvent) -> None:
        match event:
            case Loading():
                self.loading = event
            case Ready(model=model):
                self.ready, self.loading = model, None
            case LoadFailed(failure=failure):
                self.failure, self.ready, self.loading = failure, None, None
            case Preparing():
                self.preparing = event

    def _tell(self, event: AnyEvent) -> None:
        for listener in list(self.listeners):
            listener(event)


def _only(kind: type[Wanted], events: list[AnyEvent]) -> Wanted:
    for event in events:
        if isinstance(event, kind):
            return event
    with contextlib.suppress(IndexError):
        if isinstance(events[-1], Failed):
            raise events[-1].failure.error()
    raise HostDied("The host gave no answer.", remedy="Look at `llama-tui host log`.")


def _death(id: str) -> Failed:
    error = HostDied(
        "The host has ended.",
        data="What had come of the reply is saved.",
        remedy=f"Send again: a new host starts. {REASON}",
    )
    return Failed(id=id, failure=Failure.of(error))
