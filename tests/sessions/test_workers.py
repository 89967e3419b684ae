"""Worker processes: pre-started, assigned, stopped, and their death told with its cause."""

from __future__ import annotations

import asyncio
import json
import sys
import textwrap
from pathlib import Path

import pytest

from sessions.client import Client
from sessions.errors import LlamaTuiError, RunError
from sessions.paths import Paths, private_folder
from sessions.protocol import RunChanged
from sessions.settings import Settings
from sessions.training import events
from sessions.training.assignment import ChatFlag
from sessions.workers import Workers
from tests.hosts import MODEL, running_host

HEAD = """
import os, sys, time, signal
from pathlib import Path
from sessions.training import assignment, events
line = sys.stdin.buffer.readline()
if not line: sys.exit(0)
a = assignment.decode(line)
run = Path(a.run)
events.append(run, events.WorkerStarted(pid=os.getpid()))
"""


def workers(paths: Paths, body: str, *, ahead: bool = False) -> Workers:
    found = Workers(paths, Settings(), ahead=ahead)
    found.command = (sys.executable, "-c", HEAD + textwrap.dedent(body))
    return found


def a_run(paths: Paths, name: str = "r1") -> Path:
    folder = private_folder(paths.run(name))
    events.append(
        folder,
        events.RunCreated(run=name, model=MODEL, adapter="mine", parent="base", snapshot="0", new_replies=1),
    )
    return folder


async def ended(folder: Path) -> events.AnyRunEvent:
    """The run's ending, waited for."""
    async with asyncio.timeout(20):
        while True:
            for event, _ in events.read(folder):
                if isinstance(event, events.RUN_ENDINGS):
                    return event
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", "killed"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "signal 11"),
        ("sys.exit(3)", "exit code 3"),
        ("os._exit(0)", "exit code 0"),
    ],
)
async def test_a_death_is_told_within_two_seconds(paths: Paths, body: str, said: str) -> None:
    folder = a_run(paths)
    async with running_host(paths, workers=workers(paths, body)):
        client = Client(paths, MODEL, start=False)
        heard: list[object] = []
        client.listeners.append(heard.append)
        await client.start_run("r1")
        started = await first(folder, events.WorkerStarted)
        ending = await ended(folder)
        while not any(isinstance(event, RunChanged) and not event.alive for event in heard):
            await asyncio.sleep(0.01)
        await client.close()
    assert isinstance(ending, events.RunFailed) and said in ending.failure.what
    assert ending.failure.kind == "WorkerDied" and "resume" in ending.failure.remedy
    assert ending.time - started.time < 2


async def first(folder: Path, kind: type[events.RunEvent]) -> events.RunEvent:
    async with asyncio.timeout(20):
        while True:
            for event, _ in events.read(folder):
                if isinstance(event, kind):
                    return event
            await asyncio.sleep(0.01)


async def test_a_run_that_says_how_it_ended_is_believed(paths: Paths) -> None:
    folder = a_run(paths)
    async with running_host(paths, workers=workers(paths, "events.append(run, events.RunFinished()); sys.exit(1)")):
        client = Client(paths, MODEL, start=False)
        await client.start_run("r1")
        assert isinstance(await ended(folder), events.RunFinished)
        while (await client.status()).runs:
            await asyncio.sleep(0.05)
        await client.close()
    assert sum(isinstance(event, events.RUN_ENDINGS) for event, _ in events.read(folder)) == 1


async def test_one_run_at_a_time_and_stop_reaches_the_worker(paths: Paths) -> None:
    body = """
    while not (run / "stop").exists(): time.sleep(0.01)
    events.append(run, events.RunStopped(step=int((run / "stop").read_text().strip() == "save")))
    """
    folder = a_run(paths)
    a_run(paths, "r2")
    async with running_host(paths, workers=workers(paths, body)):
        client = Client(paths, MODEL, start=False)
        await client.start_run("r1")
        with pytest.raises(RunError, match="going on already"):
            await client.start_run("r2")
        assert (await client.status()).runs == ("r1",)
        await client.stop_run("r1", save=True)
        ending = await ended(folder)
        assert isinstance(ending, events.RunStopped) and ending.step == 1
        with pytest.raises(RunError, match="not going on|already"):
            await client.stop_run("r1")
        while (await client.status()).runs:
            await asyncio.sleep(0.02)
        await client.close()


async def test_a_run_given_up_that_does_not_end_is_killed(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sessions.workers.GRACE", 0.1)
    folder = a_run(paths)
    async with running_host(paths, workers=workers(paths, "time.sleep(60)")):
        client = Client(paths, MODEL, start=False)
        await client.start_run("r1")
        await first(folder, events.WorkerStarted)
        await client.stop_run("r1", save=False)
        assert isinstance(await ended(folder), events.RunCancelled)
        await client.close()


async def test_a_worker_is_started_ahead_and_leaves_with_the_host(paths: Paths) -> None:
    ahead = workers(paths, "events.append(run, events.RunFinished())", ahead=True)
    folder = a_run(paths)
    async with running_host(paths, workers=ahead):
        client = Client(paths, MODEL, start=False)
        await client.until_ready()
        while ahead._waiting is None:
            await asyncio.sleep(0.01)
        pid = ahead._waiting.process.pid
        await client.start_run("r1")
        started = await first(folder, events.WorkerStarted)
        assert isinstance(started, events.WorkerStarted) and started.pid == pid
        await ended(folder)
        while ahead._waiting is None or ahead._waiting.process.pid == pid:
            await asyncio.sleep(0.01)
        waiting = ahead._waiting.process
        await client.close()
    assert waiting.returncode is not None


async def test_the_assignment_names_all_the_worker_needs(paths: Paths) -> None:
    folder = a_run(paths)
    body = "(run / 'heard').write_bytes(line); events.append(run, events.RunFinished())"
    async with running_host(paths, workers=workers(paths, body)):
        client = Client(paths, MODEL, start=False)
        await client.start_run("r1")
        await ended(folder)
        heard = json.loads((folder / "heard").read_bytes())
        assert heard["run"] == str(folder) and heard["home"] == str(paths.home) and heard["resume"] is False
        with ChatFlag(Path(heard["chat_flag"])) as flag:
            assert not flag.busy
        while (await client.status()).runs:
            await asyncio.sleep(0.02)
        await client.close()


async def test_a_refused_start_blocks_nothing(paths: Paths) -> None:
    a_run(paths)
    async with running_host(paths, workers=workers(paths, "events.append(run, events.RunFinished())")) as served:
        client = Client(paths, MODEL, start=False)
        for nonsense in ("../x", "nothere"):
            with pytest.raises(LlamaTuiError):
                await client.start_run(nonsense)
        assert not served.host.workers.alive
        await client.start_run("r1")
        while (await client.status()).runs:
            await asyncio.sleep(0.02)
        await client.close()


async def test_a_run_folder_that_goes_away_does_not_hold_the_host(paths: Paths) -> None:
    folder = a_run(paths)
    body = "import shutil; shutil.rmtree(run); sys.exit(1)"
    async with running_host(paths, workers=workers(paths, body), keep_alive=0.2) as served:
        client = Client(paths, MODEL, start=False)
        await client.start_run("r1")
        while folder.exists() or served.host.workers.alive:
            await asyncio.sleep(0.02)
        await client.close()
        await asyncio.wait_for(served.task, 10)


def test_a_chat_flag_left_behind_does_not_hold_the_next_run_back(tmp_path: Path) -> None:
    with ChatFlag(tmp_path / "flag", create=True) as flag:
        flag.set(True)
    with ChatFlag(tmp_path / "flag", create=True) as flag:
        assert not flag.busy
