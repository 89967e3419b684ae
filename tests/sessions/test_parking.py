"""A run and the chat's model that do not both fit: the model makes room and comes back, and everybody is told."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from corpora.dialog import Message
from sessions.client import Client
from sessions.engine.fake import INFO, FakeEngine
from sessions.errors import HostError, LlamaTuiError, OutOfMemory
from sessions.paths import Paths
from sessions.protocol import PARKED, Finished, Generate, LoadFailed, Loading, Ready, RunChanged, Token
from sessions.settings import Settings
from sessions.training import events
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


async def test_of_two_starts_at_once_one_is_refused_and_the_model_stays_parked(paths: Paths, tmp_path: Path) -> None:
    engine = FakeEngine(room=1 << 20)
    async with met(paths, engine, tmp_path / "done") as client:
        starts = [client.start_run(kept_run(paths)) for _ in range(2)]
        refused = [error for error in await asyncio.gather(*starts, return_exceptions=True) if error is not None]
        assert len(refused) == 1 and "going on already" in str(refused[0])
        assert engine.parked == [True] and client.parked and len((await client.status()).runs) == 1


async def test_a_run_right_after_another_has_its_room(paths: Paths, tmp_path: Path) -> None:
    engine, done = FakeEngine(room=1 << 20), tmp_path / "done"
    async with met(paths, engine, done) as client:
        first, second = kept_run(paths), kept_run(paths)
        await client.start_run(first)
        events.append(paths.run(first), events.RunCancelled())  # its last word; the process is about to end
        asyncio.get_running_loop().call_later(0.3, done.touch)
        starting = asyncio.create_task(client.start_run(second))
        await until(client, RunChanged)
        done.unlink(missing_ok=True)
        await starting
        assert (await client.status()).runs == (second,)
        assert engine.parked[-1] and client.parked


async def test_a_model_that_cannot_make_room_goes_on_chatting(paths: Paths, tmp_path: Path) -> None:
    engine = Stuck(room=1 << 20)
    async with met(paths, engine, tmp_path / "done") as client:
        with pytest.raises(LlamaTuiError, match="its file is gone"):
            await client.start_run(kept_run(paths))
        assert not client.parked and (await client.status()).runs == ()
        assert [event for event in await _all(client) if isinstance(event, Token)]


class Stuck(FakeEngine):
    """A model that cannot be parked."""

    def park(self, *, keep_base: bool) -> None:
        """Raise."""
        raise OSError("its file is gone")


async def test_what_is_reserved_without_need_goes_before_the_model(paths: Paths, tmp_path: Path) -> None:
    engine = Wasteful(room=1 << 20)
    async with met(paths, engine, tmp_path / "done") as client:
        await client.start_run(kept_run(paths))
        assert engine.parked == [] and not client.parked


class Wasteful(FakeEngine):
    """A model that keeps what it does not need until it is told."""

    def tidy(self) -> None:
        """Now there is room."""
        self.room = 1 << 40


@pytest.mark.parametrize("error", [OutOfMemory("no room: gone", data="", remedy=""), OSError("its file is gone")])
async def test_a_model_that_cannot_come_back_is_told_as_a_failed_load(
    paths: Paths, tmp_path: Path, error: Exception
) -> None:
    engine = FakeEngine(room=1 << 20)
    async with met(paths, engine, tmp_path / "done") as client:
        await client.start_run(kept_run(paths))
        engine.error = error
        failed = asyncio.create_task(until(client, LoadFailed))
        (tmp_path / "done").touch()
        await failed
        assert client.failure is not None and "gone" in client.failure.what
        assert not client.parked and client.ready is None
        with pytest.raises(LlamaTuiError, match="gone"):
            await client.call(asked(client))


async def test_the_memory_of_a_gpu_is_told(paths: Paths, tmp_path: Path) -> None:
    info = msgspec.structs.replace(INFO, device="NVIDIA A100", memory=5 << 30)
    async with met(paths, FakeEngine(info=info), tmp_path / "done") as client:
        assert (await client.status()).gpu_memory == 5 << 30


def test_room_counts_the_base_where_it_is_not_shared(paths: Paths) -> None:
    run, info = kept_run(paths), FakeEngine().info
    apart = room_for(paths.run(run), info, shared=False)
    assert apart - room_for(paths.run(run), info, shared=True) == info.memory
