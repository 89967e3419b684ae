"""The host: one process for a home and model. Listens first, then loads; answers commands, ends when idle.

Torch-free by itself: the loader brings the engine, which runs in one thread of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, cast

import psutil

from corpora.errors import LlamaTuiError
from sessions.anchor_builder import AnchorBuilder
from sessions.connection import Connection
from sessions.engine.contract import Engine, Loader, Progress
from sessions.errors import Failure, HostError, HostUnreachable
from sessions.paths import Paths
from sessions.places import HostRecord, taken
from sessions.protocol import PARKED, Closing, Event, HostState, LoadFailed, Loading, Ready, RunChanged
from sessions.training.preflight import room_for
from sessions.version import VERSION
from sessions.workers import Workers

if TYPE_CHECKING:
    from sessions.engine.local import LocalEngine

log = logging.getLogger("llama-tui.host")
IDLE_LOOK = 0.2
"""Seconds between looks at whether anybody still needs the host."""


class Host:
    """The state that all connections share: engine, workers, clients.

    `anchors` computes the base's anchors in the background; with None, runs compute those that they need.
    """

    def __init__(
        self,
        paths: Paths,
        model: str,
        loader: Loader,
        workers: Workers,
        keep_alive: float,
        *,
        anchors: AnchorBuilder | None = None,
    ) -> None:
        self.paths = paths
        self.model = model
        self.workers = workers
        self.keep_alive = keep_alive
        self.anchors = anchors
        self.started = time.time()
        self.connections: set[Connection] = set()
        self.loop = asyncio.get_running_loop()
        self.engine: asyncio.Future[Engine] = self.loop.create_future()
        self.state: Event = Loading(stage="Starting")
        self.thread = ThreadPoolExecutor(1, "engine")
        self._loader = loader
        self._needed = time.monotonic()
        self._ending = asyncio.Event()
        self._parked = False
        self._making_room = asyncio.Lock()
        self._waking: asyncio.Task[None] | None = None
        workers.on_change = self._run_changed
        if anchors is not None:
            anchors.on_change = self.broadcast

    async def serve(self, socket: Path) -> None:
        """Listen until ended by `shut_down` or idleness. Raises HostUnreachable where another host listens."""
        with taken(socket, HostRecord(os.getpid(), str(self.paths.home), self.model, VERSION)) as bound:
            server = await asyncio.start_unix_server(self._connected, sock=bound, limit=64 * 2**20)
            loading = asyncio.create_task(self._load())
            idle = asyncio.create_task(self._watch())
            try:
                await self._ending.wait()
            finally:
                idle.cancel()
                await self._close(server, loading)

    @property
    def usable(self) -> bool:
        """True once the model can answer, or never will; False while it makes room for a run."""
        return self.engine.done() and not self._parked

    async def start_run(self, run: str) -> None:
        """Have a worker train; where the chat's model and the run do not both fit, the model is parked meanwhile.

        One at a time: whether both fit depends on the run before, which may be ending just now.
        """
        async with self._making_room:
            if self.anchors is not None:
                await self.anchors.pause()
            await self.workers.settle()
            await self._return()
            try:
                if await self._is_tight(run):
                    await self._park()
                await self.workers.start(run)
            except BaseException:
                await self._return()
                raise

    def shut_down(self, reason: str) -> None:
        """End after telling every client why."""
        self.broadcast(Closing(reason=reason))
        self._ending.set()

    def in_use(self, beside: Connection | None = None) -> str:
        """Why the host should stay, in words, or nothing. Clients that never said hello do not count."""
        others = sum(client.greeted for client in self.connections if client is not beside)
        if self.workers.alive:
            return "a run is going on"
        return f"{others} other terminal{'s use' if others > 1 else ' uses'} it" if others else ""

    def broadcast(self, event: Event) -> None:
        """Tell every client."""
        for connection in list(self.connections):
            connection.send(event)

    def describe(self, id: str) -> HostState:
        """The answer to `AskStatus`."""
        engine = self.engine.result() if self.engine.done() and not self.engine.exception() else None
        memory = psutil.Process().memory_info().rss
        return HostState(
            id=id,
            pid=os.getpid(),
            version=VERSION,
            model=self.model,
            ready=engine.info if engine else None,
            clients=sum(client.greeted for client in self.connections),
            runs=tuple(self.workers.alive),
            resident=engine.resident() if engine else (),
            memory=memory,
            gpu_memory=engine.info.memory if engine and engine.info.device != "cpu" else 0,
            uptime=time.time() - self.started,
            sharing=self.workers.sharing,
            preparing=self.anchors.state if self.anchors is not None else None,
        )

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Connection(self, reader, writer)
        self.connections.add(connection)
        try:
            await connection.serve()
        finally:
            self.connections.discard(connection)
            self._needed = time.monotonic()

    async def _load(self) -> None:
        def progress(stage: str, fraction: float | None) -> None:
            self.loop.call_soon_threadsafe(self._say, Loading(stage=stage, fraction=fraction))

        try:
            engine = await self.loop.run_in_executor(self.thread, self._loader, progress)
        except Exception as error:  # noqa: BLE001 - whatever a loader raises is told, and the host lives on
            self._fail(error)
            return
        self.engine.set_result(engine)
        self._say(Ready(model=engine.info))
        await self._share(engine)

    async def _share(self, engine: Engine) -> None:
        """Give workers the base, then have one import what it needs before it is needed."""
        try:
            manifest = await self.loop.run_in_executor(self.thread, engine.share_base, self.paths.runtime)
        except (LlamaTuiError, OSError, RuntimeError):
            log.exception("The base cannot be shared; workers load it themselves")
            manifest = None
        self.workers.base = manifest
        self.workers.prestart()

    def _say(self, event: Event) -> None:
        self.state = event
        self.broadcast(event)

    def _run_changed(self, run: str, alive: bool) -> None:
        self._needed = time.monotonic()
        self.broadcast(RunChanged(run=run, alive=alive))
        if not alive:
            self._waking = asyncio.create_task(self._unpark())

    async def _is_tight(self, run: str) -> bool:
        if not self.usable or self.engine.exception() or self.workers.alive:
            return False
        engine, shared = self.engine.result(), self.workers.base is not None
        spare = await asyncio.to_thread(engine.spare)
        if spare is None:
            return False
        needed = await asyncio.to_thread(room_for, self.paths.run(run), engine.info, shared=shared)
        if needed > spare:
            await self.loop.run_in_executor(self.thread, engine.tidy)
            spare = await asyncio.to_thread(engine.spare)
        return spare is not None and needed > spare

    async def _park(self) -> None:
        self._parked = True
        self._say(Loading(stage=PARKED))
        engine, shared = self.engine.result(), self.workers.base is not None
        await self.loop.run_in_executor(self.thread, lambda: engine.park(keep_base=shared))

    async def _unpark(self) -> None:
        async with self._making_room:
            await self._return()

    async def _return(self) -> None:
        """Bring the model back unless a run needs its room; where that fails, chat ends as after a failed load."""
        if not self._parked or self.workers.alive:
            return
        engine = self.engine.result()
        try:
            await self.loop.run_in_executor(self.thread, engine.unpark)
        except Exception as error:  # noqa: BLE001 - whatever is raised is told, and the host lives on
            self._fail(error)
        else:
            self._say(Ready(model=engine.info))
        finally:
            self._parked = False

    def _fail(self, error: Exception) -> None:
        log.error("The model could not be loaded", exc_info=error)
        self._say(LoadFailed(failure=Failure.of(error)))
        if self.engine.done():
            self.engine = self.loop.create_future()
        self.engine.set_exception(Failure.of(error).error())
        self.engine.exception()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(IDLE_LOOK)
            try:
                await self.workers.look()
            except (LlamaTuiError, OSError):
                log.exception("A run could not be looked after; the host goes on")
            if self.anchors is not None and self._may_prepare():
                await self.anchors.look(self.engine.result(), self.workers)
            if self.in_use():
                self._needed = time.monotonic()
            patience = 1.0 if isinstance(self.state, LoadFailed) else self.keep_alive
            if time.monotonic() - self._needed > patience:
                self.shut_down("Nobody used it.")

    def _may_prepare(self) -> bool:
        """Whether the base is loaded and shared, and no run is active or about to start."""
        loaded = self.usable and not self.engine.exception()
        shared = self.workers.base is not None
        return loaded and shared and not self.workers.alive and not self._making_room.locked()

    async def _close(self, server: asyncio.Server, loading: asyncio.Task[None]) -> None:
        server.close()
        loading.cancel()
        if self._waking is not None:
            self._waking.cancel()
        for connection in list(self.connections):
            await connection.close()
        if self.anchors is not None:
            await self.anchors.pause()
        await self.workers.close()
        if self.workers.base is not None:
            self.workers.base.unlink(missing_ok=True)
        if self.engine.done() and not self.engine.exception():
            self.engine.result().close()
        self.thread.shutdown(wait=False, cancel_futures=True)


async def _main(paths: Paths, model: str) -> None:
    from sessions import settings

    chosen = settings.load(paths.config)

    def load(progress: Progress) -> Engine:
        """Import torch only now, so that terminals are heard meanwhile."""
        progress("Importing the libraries", None)
        from sessions.engine.base import loader

        engine: Engine = loader(model, paths, chosen)(progress)
        return engine

    def prepared(engine: Engine) -> tuple[int, int]:
        """Return how many anchors of the base are on disk, and of how many; torch is imported by now."""
        from sessions.training.anchors import AnchorCache

        return AnchorCache(paths.anchors, cast("LocalEngine", engine).base).prepared()

    workers = Workers(paths, chosen)
    anchors = AnchorBuilder(paths, prepared) if chosen.prepare_anchors else None
    host = Host(paths, model, load, workers, chosen.keep_alive, anchors=anchors)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, host.shut_down, "It was told to end.")
    try:
        await host.serve(paths.socket(model))
    finally:
        await workers.close()  # also where another host had the place already


def main() -> int:
    """`python -m sessions.host --home HOME --model MODEL`: serve until idle."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--home", required=True)
    parser.add_argument("--model", required=True)
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    # The terminal that started the host may go; the host stays.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        asyncio.run(_main(Paths.find(given.home), given.model))
    except HostUnreachable:
        return 0  # another terminal started one at the same moment
    except HostError as error:
        log.error("%s", error)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
