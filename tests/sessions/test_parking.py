"""A run and the chat's model that do not both fit: the model makes room and comes back, and everybody is told."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from corpora.dialog import Message
from sessions.client import Client
from sessions.engine.fake import FakeEngine
from sessions.errors import HostError, LlamaTuiError, OutOfMemory
from sessions.paths import Paths
from sessions.protocol import PARKED, Finished, Generate, Loading, Ready, Token
from sessions.settings import Settings
from sessions.training.preflight import room_for
from sessions.workers import Workers
from tests.hosts import running_host
from tests.sessions.training_help import keep, opened, prepared

WAITS = "import pathlib, sys, time\nwhile not pathlib.Path(sys.argv[1]).exists(): time.sleep(0.01)"
"""A worker that trains nothing and ends once a file is there."""


@contextlib.asynccontextmanager
async def met(paths: Paths, engine: FakeEngine, done: Path) -> AsyncIterator[Client]:
    workers = Workers(paths, Settings(), ahead=False)
    workers.command = (sys.executable, "-c", WAITS, str(done))
    async with running_host(paths, engine, workers=workers) as served:
        client = Client(paths, served.model, start=False)
        await client.until_ready()
        try:
            yield client
        finally:
            done.touch()
            for worker in list(workers._running):
                await asyncio.to_thread(worker.process.wait)
            await client.close()


def kept_run(paths: Paths) -> str:
    with opened(paths) as store:
        keep(store)
    return prepared(paths, "fake")


async def until(client: Client, kind: type) -> None:
    """Wait for an event that all terminals hear."""
    heard = asyncio.Event()
    client.listeners.append(lambda event: heard.set() if isinstance(event, kind) else None)
    await asyncio.wait_for(heard.wait(), 20)


def asked(client: Client) -> Generate:
    return Generate(id=client.next_id(), dialog=(Message("user", "hello"),))


async def test_where_both_fit_nothing_is_parked(paths: Paths, tmp_path: Path) -> None:
    engine = FakeEngine(room=1 << 40)
    async with met(paths, engine, tmp_path / "done") as client:
        await client.start_run(kept_run(paths))
        assert engine.parked == [] and client.loading is None


async def test_the_model_makes_room_and_comes_back(paths: Paths, tmp_path: Path) -> None:
    engine = FakeEngine(room=1 << 20)
    async with met(paths, engine, tmp_path / "done") as client:
        await client.start_run(kept_run(paths))
        assert engine.parked == [True]
        assert client.loading == Loading(stage=PARKED)
        answered = asyncio.create_task(_all(client))
        with pytest.raises(HostError, match="parked"):
            await client.load_adapter("mine/v1")
        assert not answered.done()
        back = asyncio.create_task(until(client, Ready))
        (tmp_path / "done").touch()
        await back
        assert client.loading is None and engine.parked == [True, False]
        events = await answered
        assert any(isinstance(event, Token) for event in events) and isinstance(events[-1], Finished)


async def _all(client: Client) -> list[object]:
    return [event async for event in client.stream(asked(client))]


async def test_a_run_that_cannot_start_leaves_the_model_there(paths: Paths, tmp_path: Path) -> None:
    engine = FakeEngine(room=1 << 20)
    async with met(paths, engine, tmp_path / "done") as client:
        run = kept_run(paths)
        await client.start_run(run)
        with pytest.raises(LlamaTuiError, match="going on already"):
            await client.start_run(run)
        assert engine.parked == [True]
        (tmp_path / "done").touch()
        await until(client, Ready)
        assert [event for event in await _all(client) if isinstance(event, Token)]


async def test_a_model_that_cannot_come_back_is_told_as_a_failed_load(paths: Paths, tmp_path: Path) -> None:
    engine = FakeEngine(room=1 << 20)
    async with met(paths, engine, tmp_path / "done") as client:
        await client.start_run(kept_run(paths))
        engine.error = OutOfMemory("The GPU ran out of memory while bringing the model back.", data="", remedy="")
        (tmp_path / "done").touch()
        with contextlib.suppress(TimeoutError):
            await until(client, object)
        while client.failure is None:
            await asyncio.sleep(0.01)
        assert "bringing the model back" in client.failure.what


def test_room_counts_the_base_where_it_is_not_shared(paths: Paths) -> None:
    run, info = kept_run(paths), FakeEngine().info
    apart = room_for(paths.run(run), info, shared=False)
    assert apart - room_for(paths.run(run), info, shared=True) == info.memory
