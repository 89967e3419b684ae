"""Host, client and protocol over a real socket, with the fake engine."""

from __future__ import annotations

import asyncio
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from corpora.dialog import Finish, Message
from sessions import places
from sessions.client import Client
from sessions.engine.fake import FakeEngine, loader
from sessions.errors import AdapterNotFound, Failure, HostDied, HostError, HostUnreachable, ModelNotFound
from sessions.paths import Paths, write_atomic
from sessions.protocol import (
    ENDINGS,
    Cancelled,
    Closing,
    ColumnEnded,
    Failed,
    Finished,
    Loading,
    Prefilled,
    Ready,
    Sampling,
    Token,
)
from tests.hosts import MODEL, running_host

HELLO = (Message("user", "hello there"),)


async def test_a_reply_streams_and_ends_once(paths: Paths) -> None:
    async with running_host(paths):
        client = Client(paths, MODEL, start=False)
        events = [event async for event in client.generate(HELLO)]
        await client.close()
    assert isinstance(events[0], Prefilled)
    assert "".join(event.text for event in events if isinstance(event, Token)) == "base heard: hello there"
    assert [type(event) for event in events[-2:]] == [ColumnEnded, Finished]
    assert sum(isinstance(event, ENDINGS) for event in events) == 1


async def test_two_columns_come_from_one_command(paths: Paths) -> None:
    async with running_host(paths) as served:
        client = Client(paths, MODEL, start=False)
        events = [event async for event in client.generate(HELLO, ("base", "mine/v1"))]
        await client.close()
        assert len(served.engine.requests) == 1
    texts = ["".join(e.text for e in events if isinstance(e, Token) and e.column == column) for column in (0, 1)]
    assert texts == ["base heard: hello there", "mine/v1 heard: hello there"]


async def test_a_stop_keeps_what_has_come(paths: Paths) -> None:
    engine = FakeEngine(script=lambda request, adapter: "word " * 1000, pause=0.002)
    async with running_host(paths, engine):
        client = Client(paths, MODEL, start=False)
        events = []
        async for event in client.generate(HELLO, id="mine"):
            events.append(event)
            if len(events) == 5:
                await client.cancel("mine")
        await client.close()
    assert isinstance(events[-1], Cancelled)
    assert [event.finish for event in events if isinstance(event, ColumnEnded)] == [Finish.STOPPED]
    assert len(events) < 500


async def test_a_prompt_waits_for_the_model_and_can_be_stopped(paths: Paths) -> None:
    gate = asyncio.Event()
    loop = asyncio.get_running_loop()

    def load(progress):  # noqa: ANN202
        progress("Reading", 0.5)
        asyncio.run_coroutine_threadsafe(gate.wait(), loop).result()
        return FakeEngine()

    async with running_host(paths, load=load):
        client = Client(paths, MODEL, start=False)
        heard: list[object] = []
        client.listeners.append(heard.append)
        await client.connect()
        first = asyncio.create_task(_collect(client, "first"))
        second = asyncio.create_task(_collect(client, "second"))
        await asyncio.sleep(0.01)
        await client.cancel("second")
        assert isinstance((await second)[-1], Cancelled)
        assert not first.done()
        gate.set()
        assert isinstance((await first)[-1], Finished)
        await client.close()
    assert any(isinstance(event, Loading) for event in heard)
    assert any(isinstance(event, Ready) for event in heard)


async def _collect(client: Client, id: str) -> list[object]:
    return [event async for event in client.generate(HELLO, id=id)]


async def test_a_failed_load_is_told_and_the_host_leaves(paths: Paths) -> None:
    missing = ModelNotFound("There is no model `x`.", remedy="Name another.")
    async with running_host(paths, load=loader(FakeEngine(), error=missing)) as served:
        client = Client(paths, MODEL, start=False)
        with pytest.raises(ModelNotFound, match="no model"):
            await client.until_ready()
        events = [event async for event in client.generate(HELLO)]
        assert isinstance(events[-1], Failed) and events[-1].failure.kind == "ModelNotFound"
        await client.close()
        await asyncio.wait_for(served.task, 10)


async def test_an_error_in_the_engine_ends_the_command_and_not_the_host(paths: Paths) -> None:
    engine = FakeEngine(error=RuntimeError("boom"), known=("mine/v1",))
    async with running_host(paths, engine):
        client = Client(paths, MODEL, start=False)
        events = [event async for event in client.generate(HELLO)]
        assert isinstance(events[-1], Failed) and "boom" in events[-1].failure.what
        engine.error = None
        assert isinstance([event async for event in client.generate(HELLO)][-1], Finished)
        with pytest.raises(AdapterNotFound):
            await client.load_adapter("other/v9")
        assert (await client.load_adapter("mine/v1")).digest == "fake-mine/v1"
        await client.close()


async def test_the_death_of_the_host_ends_every_command(paths: Paths) -> None:
    engine = FakeEngine(script=lambda request, adapter: "word " * 100, pause=0.01)
    async with running_host(paths, engine) as served:
        client = Client(paths, MODEL, start=False)
        heard: list[object] = []
        client.listeners.append(heard.append)
        events = []
        async for event in client.generate(HELLO):
            events.append(event)
            if len(events) == 3:
                for connection in served.host.connections:
                    connection._writer.transport.abort()
        assert isinstance(events[-1], Failed) and events[-1].failure.kind == HostDied.__name__
        assert not client.connected
        assert any(isinstance(event, Closing) for event in heard)
        # The next command finds the host again.
        engine.script = lambda request, adapter: "again"
        assert isinstance([event async for event in client.generate(HELLO)][-1], Finished)
        await client.close()


async def test_two_terminals_share_one_host(paths: Paths) -> None:
    async with running_host(paths):
        one, two = Client(paths, MODEL, start=False), Client(paths, MODEL, start=False)
        await one.connect()
        await two.connect()
        assert (await one.status()).clients == 2
        with pytest.raises(HostError, match="other terminal"):
            await one.shutdown()
        answers = await asyncio.gather(_collect(one, "a"), _collect(two, "a"))
        assert all(isinstance(events[-1], Finished) for events in answers)
        await two.close()
        await one.shutdown()
        await one.close()


async def test_an_idle_host_ends_by_itself(paths: Paths) -> None:
    async with running_host(paths) as served:
        client = Client(paths, MODEL, start=False)
        await client.connect()
        served.host.keep_alive = 0.1
        await asyncio.sleep(0.6)
        assert not served.task.done()
        await client.close()
        await asyncio.wait_for(served.task, 10)
    assert not paths.socket(MODEL).exists()


async def test_a_stale_socket_is_taken_over(paths: Paths) -> None:
    code = f"import socket; socket.socket(socket.AF_UNIX).bind({str(paths.socket(MODEL))!r})"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert paths.socket(MODEL).exists()
    async with running_host(paths):
        await asyncio.sleep(0.05)
        client = Client(paths, MODEL, start=False)
        await client.connect()
        await client.close()


async def test_a_second_host_leaves_the_place_to_the_first(paths: Paths) -> None:
    async with running_host(paths):
        with pytest.raises(HostUnreachable):
            async with running_host(paths):
                pass
        client = Client(paths, MODEL, start=False)
        await client.connect()
        await client.close()


async def test_the_socket_is_private(paths: Paths) -> None:
    async with running_host(paths):
        assert stat.S_IMODE(paths.socket(MODEL).stat().st_mode) == 0o600
        assert stat.S_IMODE(paths.runtime.stat().st_mode) == 0o700


async def test_whoever_finds_the_socket_finds_the_record(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    listening: list[bool] = []

    def write(path: Path, content: bytes) -> None:
        listening.append(path.with_suffix(".sock").exists())
        write_atomic(path, content)

    monkeypatch.setattr(places, "write_atomic", write)
    async with running_host(paths):
        assert listening == [False]
        assert [record.model for record, _ in places.records(paths)] == [MODEL]
    assert places.records(paths) == []


async def test_a_line_that_is_no_command_is_answered(paths: Paths) -> None:
    async with running_host(paths):
        reader, writer = await asyncio.open_unix_connection(str(paths.socket(MODEL)))
        writer.write(b'{"type":"Nonsense","id":"7"}\nnot json\n')
        answers = [await reader.readline(), await reader.readline()]
        assert b'"id":"7"' in answers[0] and all(b"Failed" in answer for answer in answers)
        writer.close()
        await writer.wait_closed()


async def test_without_a_host_and_without_starting_one_the_person_is_told(paths: Paths) -> None:
    with pytest.raises(HostUnreachable, match="No host is running"):
        await Client(paths, MODEL, start=False).connect()


async def test_a_host_of_another_version(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running_host(paths):
        user = Client(paths, MODEL, start=False)
        await user.connect()
        monkeypatch.setattr("sessions.client.VERSION", "9.9.9")
        newer = Client(paths, MODEL, start=False)
        with pytest.raises(HostError, match="in use"):
            await newer.connect()
        assert (await user.status()).clients >= 1
        await user.close()


def test_failures_travel_as_their_class() -> None:
    error = AdapterNotFound("No adapter.", data="Nothing lost.", remedy="List them.")
    again = Failure.of(error).error()
    assert type(again) is AdapterNotFound and str(again) == str(error)


def test_sampling_refuses_nonsense() -> None:
    with pytest.raises(Exception, match="top_p"):
        Sampling(top_p=0)


async def test_a_stop_before_the_command_is_sent_counts(paths: Paths) -> None:
    async with running_host(paths) as served:
        client = Client(paths, MODEL, start=False)
        await client.cancel("early")
        events = [event async for event in client.generate(HELLO, id="early")]
        assert [type(event) for event in events] == [Cancelled]
        assert not served.engine.requests
        await client.close()


async def test_an_abandoned_stream_stops_the_reply(paths: Paths) -> None:
    engine = FakeEngine(script=lambda request, adapter: "word " * 50_000, pause=0.002)
    async with running_host(paths, engine):
        client = Client(paths, MODEL, start=False)
        stream = client.generate(HELLO)
        await anext(stream)
        await anext(stream)
        await stream.aclose()  # type: ignore[attr-defined]
        engine.script = lambda request, adapter: "short"
        async with asyncio.timeout(30):
            assert isinstance((await _collect(client, "next"))[-1], Finished)
        await client.close()


async def test_a_stop_behind_another_reply_ends_at_once(paths: Paths) -> None:
    engine = FakeEngine(script=lambda request, adapter: "word " * 50_000, pause=0.002)
    async with running_host(paths, engine):
        client = Client(paths, MODEL, start=False)
        first = asyncio.create_task(_collect(client, "first"))
        while not engine.requests:
            await asyncio.sleep(0.01)
        second = asyncio.create_task(_collect(client, "second"))
        await asyncio.sleep(0.05)
        await client.cancel("second")
        async with asyncio.timeout(30):
            assert [type(event) for event in await second] == [Cancelled]
        assert not first.done()
        await client.cancel("first")
        await first
        await client.close()


async def test_lines_that_cannot_be_are_answered_and_others_go_on(paths: Paths) -> None:
    async with running_host(paths):
        reader, writer = await asyncio.open_unix_connection(str(paths.socket(MODEL)))
        hot = b'{"type":"Generate","id":"1","dialog":[],"sampling":{"temperature":99}}\n'
        writer.write(hot + b'{"type":"\xff"}\n' + b"[" * 100_000 + b"\n" + b'{"type":"AskStatus","id":"2"}\n')
        answers: list[bytes] = []
        while len(answers) < 5:
            line = await reader.readline()
            if b'"id":""' not in line or b"Failed" in line:  # what all terminals hear of the load is no answer
                answers.append(line)
        assert b"temperature" in answers[0] and b'"id":"1"' in answers[0]
        assert all(b"Failed" in answer for answer in answers[:3])
        assert b"HostState" in answers[3] and b"Finished" in answers[4]
        writer.close()
        await writer.wait_closed()
