"""One terminal on the host's side: its commands become tasks, and each ends exactly once.

Knows the protocol and the host; nothing of models beyond the engine's contract.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import msgspec

from corpora.errors import LlamaTuiError
from sessions import protocol
from sessions.engine.contract import Engine
from sessions.errors import Failure, HostError
from sessions.protocol import (
    AnyCommand,
    AskStatus,
    Cancel,
    Cancelled,
    Event,
    Failed,
    Finished,
    Generate,
    Hello,
    LoadAdapter,
    Shutdown,
    StartRun,
    StopRun,
    Welcome,
)
from sessions.version import VERSION

if TYPE_CHECKING:
    from sessions.host import Host

UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, LlamaTuiError)
"""What a line that is no command raises; a value that cannot be raises our own error."""
log = logging.getLogger("llama-tui.host")
Result = TypeVar("Result")


class Connection:
    """Reads commands, runs them side by side, writes events in order."""

    def __init__(self, host: Host, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.host = host
        self.greeted = False
        self._reader = reader
        self._writer = writer
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._stops: dict[str, threading.Event] = {}

    async def serve(self) -> None:
        """Until the terminal goes; what it had under way is stopped then."""
        try:
            while line := await self._reader.readline():
                self._take(line)
        except (OSError, ValueError) as error:
            log.info("A connection ended: %s", error)
        finally:
            for stop in self._stops.values():
                stop.set()
            await self.close()

    async def close(self) -> None:
        """Hang up."""
        self._writer.close()
        with contextlib.suppress(OSError, TimeoutError):  # one that does not read is left behind
            await asyncio.wait_for(self._writer.wait_closed(), 1)

    def send(self, event: Event) -> None:
        """Write one event; a terminal that is gone is no error."""
        if not self._writer.is_closing():
            self._writer.write(protocol.encode(event))

    def _take(self, line: bytes) -> None:
        try:
            command = protocol.decode_command(line)
        except UNREADABLE as error:
            log.warning("A line that is no command: %s", error)
            self.send(Failed(id=_id_of(line), failure=_refusal(error)))
            return
        if command.id in self._tasks:
            log.warning("A second command %s while the first goes on is left out", command.id)
            return
        task = asyncio.create_task(self._run(command))
        self._tasks[command.id] = task
        task.add_done_callback(lambda _: self._tasks.pop(command.id, None))

    async def _run(self, command: AnyCommand) -> None:
        """The one place where a command ends."""
        try:
            ending = await self._do(command)
        except LlamaTuiError as error:
            ending = Failed(id=command.id, failure=Failure.of(error))
        except Exception as error:
            log.exception("%s failed", type(command).__name__)
            ending = Failed(id=command.id, failure=Failure.of(error))
        finally:
            self._stops.pop(command.id, None)
        self.send(ending)

    async def _do(self, command: AnyCommand) -> Event:
        match command:
            case Hello():
                self._greet(command)
            case Generate():
                return await self._generate(command)
            case LoadAdapter(adapter=adapter):
                engine = await self._engine()
                loaded = await self._in_thread(lambda: engine.load_adapter(adapter))
                self.send(msgspec.structs.replace(loaded, id=command.id))
            case Cancel(target=target):
                if (stop := self._stops.get(target)) is not None:
                    stop.set()
            case StartRun(run=run):
                await self.host.start_run(run)
            case StopRun(run=run, save=save):
                await self.host.workers.stop(run, save=save)
            case AskStatus():
                self.send(self.host.describe(command.id))
            case Shutdown(force=force):
                self._shut_down(force)
        return Finished(id=command.id)

    def _greet(self, command: Hello) -> None:
        self.greeted = command.version == VERSION
        self.send(Welcome(id=command.id, version=VERSION, pid=os.getpid(), model=self.host.model))
        self.send(self.host.state)
        if self.host.anchors is not None and self.host.anchors.state is not None:
            self.send(self.host.anchors.state)

    def _shut_down(self, force: bool) -> None:
        reason = self.host.in_use(beside=self)
        if reason and not force:
            raise HostError(
                f"The host stays: {reason}.",
                data="Nothing was ended.",
                remedy="`llama-tui host stop --force` ends it all the same.",
            )
        asyncio.get_running_loop().call_later(0.05, self.host.shut_down, "It was asked to end.")

    async def _engine(self) -> Engine:
        """The engine once it is loaded. Raises HostError while it is parked."""
        engine = await asyncio.shield(self.host.engine)
        if not self.host.usable:
            raise HostError(
                "The model is parked until the run is done: the GPU has no room for both.",
                data="What was in use is used again then.",
                remedy="Wait for the run, or stop it on the Train screen or with `llama-tui runs stop`.",
            )
        return engine

    async def _in_thread(self, call: Callable[[], Result]) -> Result:
        return await self.host.loop.run_in_executor(self.host.thread, call)

    async def _generate(self, command: Generate) -> Event:
        stop = self._stops[command.id] = threading.Event()
        engine = await self._engine_or_stop(stop)
        if engine is None or stop.is_set():
            return Cancelled(id=command.id)
        job = self.host.thread.submit(self._pump, engine, command, stop)
        waiting = asyncio.wrap_future(job)
        while not waiting.done():
            if stop.is_set() and job.cancel():  # it was still behind another reply
                return Cancelled(id=command.id)
            await asyncio.wait([waiting], timeout=0.05)
        await waiting
        return Cancelled(id=command.id) if stop.is_set() else Finished(id=command.id)

    async def _engine_or_stop(self, stop: threading.Event) -> Engine | None:
        """The engine once it can answer, or None where the command is stopped before."""
        while not self.host.usable and not stop.is_set():
            await (asyncio.sleep(0.05) if self.host.engine.done() else asyncio.wait([self.host.engine], timeout=0.05))
        return None if stop.is_set() else self.host.engine.result()

    def _pump(self, engine: Engine, command: Generate, stop: threading.Event) -> None:
        """In the engine's thread: hand every step to the loop as it comes."""
        if stop.is_set():
            return
        with self.host.workers.chatting():
            for step in engine.generate(command, stop.is_set):
                self.host.loop.call_soon_threadsafe(self.send, step)


def _refusal(error: Exception) -> Failure:
    if isinstance(error, LlamaTuiError):
        return Failure.of(error)
    return Failure("HostError", "The host does not know that command.")


def _id_of(line: bytes) -> str:
    try:
        return str(msgspec.json.decode(line, type=dict[str, object]).get("id", ""))
    except UNREADABLE:
        return ""
