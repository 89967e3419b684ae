"""Anchors in the background: once per base, with progress, in the way of neither chat nor runs, whatever dies."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace

import msgspec
import psutil
import pytest

from sessions import anchor_builder, settings
from sessions import host as hosting
from sessions.anchor_builder import AnchorBuilder
from sessions.client import Client
from sessions.engine.fake import INFO, FakeEngine
from sessions.engine.local import LocalEngine
from sessions.errors import Cancelled, HostDied
from sessions.paths import Paths, private_folder
from sessions.protocol import AnyEvent, ModelInfo, Preparing
from sessions.settings import Settings
from sessions.training import anchor_worker, anchors, events
from sessions.training.anchors import AnchorCache
from sessions.training.assignment import AnchorAssignment, ChatFlag, encode
from sessions.training.control import Control
from sessions.training.preflight import room_for_anchors
from sessions.workers import Workers
from tests.hosts import MODEL, Served, running_host
from tests.sessions.test_workers import a_run

pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.filterwarnings("ignore::UserWarning")]
PROMPTS = ("What is rain?", "Name a river.", "Count to three.", "Who are you?", "Say hello.")
HEAD = """
import os, signal, sys, time
from pathlib import Path
from sessions.training.assignment import decode_anchors
folder = Path(decode_anchors(sys.stdin.buffer.readline()).anchors)
folder.mkdir(exist_ok=True)
open(folder / "pids", "a").write(f"{os.getpid()}\\n")
def chunk(number): (folder / f"{number}.chunk").touch()
"""
SMALL = f"""
import sys
from sessions.training import anchor_worker, anchors
anchors.CHUNK, anchors.REPLY_TOKENS, anchors.shipped_prompts = 2, 6, lambda: {PROMPTS}
anchor_worker.NICENESS = 0
"""
"""The real process with five prompts in three chunks; on busy cores its low priority would keep the test waiting."""


@pytest.fixture(autouse=True)
def own_anchors(paths: Paths) -> None:
    """A cache that no other test has filled."""
    paths.anchors.unlink()


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The prompts of `SMALL` in this process."""
    monkeypatch.setattr(anchors, "CHUNK", 2)
    monkeypatch.setattr(anchors, "REPLY_TOKENS", 6)
    monkeypatch.setattr(anchors, "shipped_prompts", lambda: PROMPTS)


def build(cache: AnchorCache, check: Callable[[], None] = lambda: None, chunks: int | None = None) -> None:
    cache.build(cache.base.model, check, lambda fraction: None, chunks)


# the cache


def test_what_another_process_computes_meanwhile_is_not_computed_again(
    paths: Paths, engine: LocalEngine, small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = AnchorCache(paths.anchors, engine.base)
    build(cache)
    whole = cache.load()
    assert [anchor.prompt for anchor in whole] == list(PROMPTS) and cache.prepared() == (5, 5)
    last = cache._path(2)
    content = last.read_bytes()
    last.unlink()
    assert cache.prepared() == (4, 5)
    monkeypatch.setattr(anchors, "compute", None)
    with (cache.folder / "lock").open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        build(cache, lambda: void(last.write_bytes(content)))
    assert [anchor.row.ids for anchor in cache.load()] == [anchor.row.ids for anchor in whole]


def void(value: object) -> None:
    """Take a value and return nothing."""


def test_a_run_can_be_stopped_while_it_waits_for_another_process(
    paths: Paths, engine: LocalEngine, small: None
) -> None:
    cache = AnchorCache(paths.anchors, engine.base)
    private_folder(cache.folder)

    def stopped() -> None:
        raise Cancelled("The run was cancelled.")

    with (cache.folder / "lock").open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(Cancelled):
            build(cache, stopped)
    assert cache.prepared() == (0, 5)


def test_the_lock_is_free_between_chunks(paths: Paths, engine: LocalEngine, small: None) -> None:
    cache = AnchorCache(paths.anchors, engine.base)
    free = []

    def try_lock(fraction: float) -> None:
        with (cache.folder / "lock").open("ab") as other:
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
            free.append(fraction)

    cache.build(engine.base.model, lambda: None, try_lock)
    assert len(free) == 4 and free[-1] == 1.0


@pytest.mark.slow
def test_a_killed_process_leaves_a_cache_that_another_one_completes(
    paths: Paths, engine: LocalEngine, small: None, tmp_path: Path
) -> None:
    """Killed within the second chunk, with a file half written."""
    hang = """
    real = anchors._write
    def write(path, found):
        if path.name.endswith("001.safetensors"):
            (path.parent / ".partial-0").write_bytes(b"half")
            print("hanging", file=sys.stderr, flush=True)
            while True: sys.stdin.read() or __import__("time").sleep(0.01)
        real(path, found)
    anchors._write = write
    sys.exit(anchor_worker.main())
    """
    with worker(paths, engine, tmp_path, hang) as process:
        assert process.stderr is not None
        while b"hanging" not in process.stderr.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.communicate()
    cache = AnchorCache(paths.anchors, engine.base)
    assert cache.prepared() == (2, 5) and len(cache.load()) == 2 and (cache.folder / ".partial-0").exists()
    first = cache._path(0).stat().st_mtime_ns
    build(cache)
    assert [anchor.prompt for anchor in cache.load()] == list(PROMPTS)
    assert cache._path(0).stat().st_mtime_ns == first and not (cache.folder / ".partial-0").exists()


@contextlib.contextmanager
def worker(paths: Paths, engine: LocalEngine, folder: Path, body: str):
    """The background process with the base of an engine."""
    assignment = assigned(paths, engine, folder, os.getpid())
    with subprocess.Popen(
        [sys.executable, "-c", SMALL + textwrap.dedent(body)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        process.stdin.write(encode(assignment))
        process.stdin.flush()
        try:
            yield process
        finally:
            process.kill()


def assigned(paths: Paths, engine: LocalEngine, folder: Path, host: int) -> AnchorAssignment:
    manifest = engine.share_base(folder)
    ChatFlag(folder / "flag", create=True).close()
    return AnchorAssignment(anchors=str(paths.anchors), base=str(manifest), chat_flag=str(folder / "flag"), host=host)


# the process


def test_the_process_gives_way_to_chat_between_layers_and_ends_with_the_host(
    paths: Paths, engine: LocalEngine, small: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    ways: list[Control] = []
    monkeypatch.setattr(Control, "give_way", lambda control: void(ways.append(control)))
    with pytest.raises(HostDied):
        anchor_worker.build(assigned(paths, engine, tmp_path, host=1 << 22))
    before = len(ways)
    anchor_worker.build(assigned(paths, engine, tmp_path, host=os.getppid()))
    checks = 3 * anchors.REPLY_TOKENS
    assert len(ways) - before > 2 * checks, "two layers, and once more for each token"
    assert AnchorCache(paths.anchors, engine.base).prepared() == (5, 5)


@pytest.mark.slow
def test_why_the_process_failed_is_told(paths: Paths, engine: LocalEngine, tmp_path: Path) -> None:
    full = """
    def write(path, found): raise OSError(28, "No space left on device")
    anchors._write = write
    print("a library prints this")
    sys.exit(anchor_worker.main())
    """
    with worker(paths, engine, tmp_path, full) as process:
        output, errors = process.communicate(timeout=120)
    assert process.returncode == 1 and b"Traceback" in errors
    assert output.startswith(b"a library prints this\n{")
    failure = anchor_worker.failure_of(OSError(28, "No space left on device"))
    assert failure.kind == "DiskFull" and "Free some space" in failure.remedy
    assert anchor_worker.failure_of(MemoryError()).kind == "OutOfMemory"


# the host


class Sharing(FakeEngine):
    """A fake engine whose base can be shared."""

    def share_base(self, folder: Path) -> Path | None:
        manifest = folder / "fake.base"
        manifest.touch()
        return manifest


def builder(paths: Paths, body: str, *, start_after: float = 0.0) -> AnchorBuilder:
    """A builder of three chunks whose process does `body`."""
    found = AnchorBuilder(paths, lambda engine: (len(list(paths.anchors.glob("*.chunk"))), 3), start_after=start_after)
    found.command = (sys.executable, "-c", HEAD + textwrap.dedent(body))
    return found


@contextlib.asynccontextmanager
async def met(
    paths: Paths, anchors: AnchorBuilder, engine: FakeEngine | None = None, run: str = ""
) -> AsyncIterator[tuple[Served, Client, list[AnyEvent]]]:
    """A host with that builder and a client; what the client hears. `run` is the code of a run's worker."""
    workers = Workers(paths, Settings(), ahead=False)
    workers.command = (sys.executable, "-c", run)
    async with running_host(paths, engine or Sharing(), workers=workers, anchors=anchors) as served:
        client = Client(paths, MODEL, start=False)
        heard: list[AnyEvent] = []
        client.listeners.append(heard.append)
        await client.until_ready()
        yield served, client, heard
        await client.close()


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not holds():
            await asyncio.sleep(0.01)


def pids(paths: Paths) -> list[int]:
    file = paths.anchors / "pids"
    return [int(line) for line in file.read_text().split()] if file.exists() else []


def preparing(heard: list[AnyEvent]) -> list[tuple[int, int, bool]]:
    return [(event.done, event.total, event.active) for event in heard if isinstance(event, Preparing)]


ALL_CHUNKS = """
for number in range(3):
    while not (folder / f"{number}.go").exists(): time.sleep(0.01)
    chunk(number)
"""
STAYS = "chunk(0)\nwhile True: time.sleep(0.01)"


async def test_progress_is_broadcast_until_all_are_there_and_nothing_is_built_twice(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(anchor_builder, "REPORT_EVERY", 0.0)
    async with met(paths, builder(paths, ALL_CHUNKS)) as (served, client, heard):
        await until(lambda: pids(paths))
        (paths.anchors / "0.go").touch()
        await until(lambda: (1, 3, True) in preparing(heard))
        late = Client(paths, MODEL, start=False)
        await late.until_ready()
        await until(lambda: late.preparing is not None and late.preparing.done == 1)
        state = (await client.status()).preparing
        assert state is not None and (state.done, state.total, state.failure) == (1, 3, None)
        (paths.anchors / "1.go").touch()
        (paths.anchors / "2.go").touch()
        await until(lambda: (3, 3, True) in preparing(heard))
        assert preparing(heard)[-1] == (3, 3, True) and (await client.status()).preparing is None
        await late.close()
    async with met(paths, builder(paths, ALL_CHUNKS)) as (served, client, heard):
        assert served.host.anchors is not None
        await until(lambda: served.host.anchors._over)
        assert not preparing(heard) and len(pids(paths)) == 1


async def test_a_run_ends_the_process_and_its_end_starts_another(paths: Paths) -> None:
    a_run(paths)
    train = """
import os, sys, time
from pathlib import Path
from sessions.training import assignment, events
run = Path(assignment.decode(sys.stdin.buffer.readline()).run)
events.append(run, events.WorkerStarted(pid=os.getpid()))
while not (run / "end").exists(): time.sleep(0.01)
events.append(run, events.RunFinished())
"""
    async with met(paths, builder(paths, STAYS), run=train) as (served, client, heard):
        await until(lambda: pids(paths))
        await client.start_run("r1")
        assert not psutil.pid_exists(pids(paths)[0])
        assert preparing(heard)[-1][2] is False
        state = (await client.status()).preparing
        assert state is not None and not state.active and state.failure is None
        assert served.host.workers.alive == ["r1"] and len(pids(paths)) == 1
        (paths.run("r1") / "end").touch()
        await until(lambda: len(pids(paths)) == 2)
        await until(lambda: preparing(heard)[-1][2] is True)
        events_of_run = [event for event, _ in events.read(paths.run("r1"))]
        assert isinstance(events_of_run[-1], events.RunFinished)
    assert not psutil.pid_exists(pids(paths)[1]), "the process ends with the host"


@pytest.mark.parametrize(
    ("body", "kind", "said"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", "WorkerDied", "exit code -9"),
        ("sys.exit(3)", "WorkerDied", "exit code 3"),
        ("sys.exit(0)", "WorkerDied", "exit code 0"),
        ("""print('{"kind":"DiskFull","what":"The disk is full."}'); sys.exit(1)""", "DiskFull", "The disk is full."),
    ],
)
async def test_a_failure_is_told_once_and_ends_nothing(
    paths: Paths, body: str, kind: str, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with met(paths, builder(paths, f"chunk(0)\n{body}")) as (served, client, heard):
        await until(lambda: client.preparing is not None and client.preparing.failure is not None)
        assert client.preparing is not None and client.preparing.failure is not None
        assert client.preparing.failure.kind == kind and said in client.preparing.failure.what
        assert (client.preparing.done, client.preparing.active) == (1, False)
        assert (await client.status()).preparing == client.preparing
        assert sum(said in record.getMessage() for record in caplog.records) == 1
        assert served.host.anchors is not None
        await served.host.anchors.look(Sharing(), served.host.workers)
        assert len(pids(paths)) == 1 and not served.task.done()


async def test_a_count_that_fails_ends_nothing(paths: Paths) -> None:
    found = builder(paths, STAYS)

    def unreadable(engine: object) -> tuple[int, int]:
        raise PermissionError(13, "Permission denied")

    found._prepared = unreadable
    async with met(paths, found) as (served, client, heard):
        await until(lambda: client.preparing is not None)
        assert client.preparing is not None and client.preparing.failure is not None
        assert "Permission denied" in client.preparing.failure.what and not pids(paths) and not served.task.done()


async def test_a_gpu_without_room_is_left_alone(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    info = msgspec.structs.replace(INFO, device="NVIDIA A100", parameters=7_000_000_000)
    assert room_for_anchors(info) > 3 << 30
    engine = Sharing(info=info, room=room_for_anchors(info) - 1)
    found = builder(paths, STAYS)
    async with met(paths, found, engine) as (_, client, heard):
        await until(lambda: found._not_before > time.monotonic() + 10)
        assert not pids(paths) and not preparing(heard)
        engine.room = room_for_anchors(info)
        found._not_before = 0.0
        await until(lambda: pids(paths))


def test_a_cpu_needs_no_reserve_for_chat() -> None:
    gpu = ModelInfo(name="x", device="cuda", parameters=135_000_000)
    assert room_for_anchors(gpu) - room_for_anchors(msgspec.structs.replace(gpu, device="cpu")) == 1 << 30


async def test_nothing_starts_while_a_reply_is_generated(paths: Paths) -> None:
    found = builder(paths, STAYS)
    engine, workers = Sharing(), Workers(paths, Settings(), ahead=False)
    workers.base = engine.share_base(paths.runtime)
    with workers.chatting():
        found._start_after = 0.01
        assert workers.idle == 0
        await found.look(engine, workers)
        found._not_before = 0.0
        await found.look(engine, workers)
        assert found._process is None
    workers._replied = 0.0
    await found.look(engine, workers)
    assert found._process is not None
    await found.pause()
    await workers.close()


async def test_a_pause_while_it_is_about_to_start_is_kept(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that starts while the anchors are being counted finds no process beside it."""
    found = builder(paths, STAYS)
    engine, workers = Sharing(), Workers(paths, Settings(), ahead=False)
    workers.base = engine.share_base(paths.runtime)
    counting, counted = asyncio.Event(), asyncio.Event()

    async def count(engine: object) -> tuple[int, int]:
        counting.set()
        await counted.wait()
        return 0, 3

    monkeypatch.setattr(found, "_count", count)
    looking = asyncio.create_task(found.look(engine, workers))
    await counting.wait()
    await found.pause()
    counted.set()
    await looking
    assert found._process is None
    await workers.close()


async def test_a_host_whose_base_cannot_be_shared_builds_nothing(paths: Paths) -> None:
    found = builder(paths, STAYS)
    async with met(paths, found, FakeEngine()) as (served, client, heard):
        await client.status()
        assert not served.host._may_prepare() and not pids(paths)


@pytest.mark.slow
async def test_the_real_process_builds_what_a_run_would(
    paths: Paths, engine: LocalEngine, small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    found = AnchorBuilder(paths, lambda _: AnchorCache(paths.anchors, engine.base).prepared(), start_after=0.0)
    found.command = (sys.executable, "-c", SMALL + "sys.exit(anchor_worker.main())")
    async with running_host(paths, load=lambda progress: engine, anchors=found):
        client = Client(paths, MODEL, start=False)
        heard: list[AnyEvent] = []
        client.listeners.append(heard.append)
        await client.until_ready()
        async with asyncio.timeout(120):
            while (5, 5, True) not in preparing(heard):
                assert client.preparing is None or client.preparing.failure is None, client.preparing
                await asyncio.sleep(0.01)
        await client.close()
    theirs = AnchorCache(paths.anchors, engine.base).load()
    own = AnchorCache(paths.home / "own", engine.base)
    build(own)
    assert [(each.prompt, each.row.ids) for each in theirs] == [(each.prompt, each.row.ids) for each in own.load()]


@pytest.mark.parametrize("wanted", [True, False])
async def test_the_setting_decides(paths: Paths, monkeypatch: pytest.MonkeyPatch, wanted: bool) -> None:
    settings.save(paths.config, prepare_anchors=wanted)
    made: list[object] = []

    async def serve(socket: Path) -> None:
        return None

    def host(*given: object, anchors: object) -> SimpleNamespace:
        made.append(anchors)
        return SimpleNamespace(serve=serve, shut_down=lambda reason: None)

    monkeypatch.setattr(hosting, "Host", host)
    await hosting._main(paths, MODEL)
    assert [isinstance(each, AnchorBuilder) for each in made] == [wanted]
