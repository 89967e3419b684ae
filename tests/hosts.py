"""A real host with a fake engine, on the real socket, in the test's own event loop or in a thread."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Iterator

from sessions.anchor_builder import AnchorBuilder
from sessions.engine.contract import Loader
from sessions.engine.fake import FakeEngine, loader
from sessions.host import Host
from sessions.paths import Paths
from sessions.settings import Settings
from sessions.workers import Workers

MODEL = "fake"


class Served:
    """A running host; `model` is what a client asks for, `engine` what it answers with."""

    def __init__(self, host: Host, engine: FakeEngine, task: asyncio.Task[None]) -> None:
        self.host = host
        self.engine = engine
        self.task = task
        self.model = MODEL


@contextlib.asynccontextmanager
async def running_host(
    paths: Paths,
    engine: FakeEngine | None = None,
    *,
    load: Loader | None = None,
    workers: Workers | None = None,
    keep_alive: float = 300.0,
    model: str = MODEL,
    anchors: AnchorBuilder | None = None,
) -> AsyncIterator[Served]:
    """Serve until the block ends. `load` replaces the fake's own loader, `workers` what trains.

    Anchors are computed in the background only where a test passes a builder.
    """
    engine = engine or FakeEngine()
    workers = workers or Workers(paths, Settings(), ahead=False)
    host = Host(paths, model, load or loader(engine), workers, keep_alive, anchors=anchors)
    task = asyncio.create_task(host.serve(paths.socket(model)))
    while not paths.socket(model).exists() and not task.done():
        await asyncio.sleep(0.001)
    try:
        yield Served(host, engine, task)
    finally:
        if not task.done():
            host.shut_down("The test is over.")
        await task


@contextlib.contextmanager
def host_in_thread(paths: Paths, engine: FakeEngine | None = None, **options: object) -> Iterator[FakeEngine]:
    """The same for tests of code that runs an event loop of its own."""
    engine = engine or FakeEngine()
    up, down = threading.Event(), threading.Event()

    async def serve() -> None:
        async with running_host(paths, engine, **options):  # type: ignore[arg-type]
            up.set()
            while not down.is_set():
                await asyncio.sleep(0.005)

    thread = threading.Thread(target=asyncio.run, args=(serve(),), daemon=True)
    thread.start()
    up.wait(10)
    try:
        yield engine
    finally:
        down.set()
        thread.join(10)
