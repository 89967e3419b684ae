"""The host's worker processes: pre-started, assigned a run, watched, told apart when they die.

Knows processes and run folders; nothing of training itself, and no torch.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sessions.errors import Failure, RunError, WorkerDied
from sessions.paths import Paths, private_folder, private_open
from sessions.settings import Settings
from sessions.training import events, runs
from sessions.training.assignment import Assignment, ChatFlag, encode

log = logging.getLogger("llama-tui.host")
GRACE = 15.0
"""Seconds that a worker has to end by itself after it was told to give a run up."""


@dataclass
class Worker:
    """One process; `run` is empty while it waits for an assignment."""

    process: subprocess.Popen[bytes]
    run: str = ""
    kill_at: float = field(default=float("inf"))
    oom_kills: int = field(default_factory=lambda: _oom_kills())  # noqa: PLW0108 (defined below)
    """What the control group had counted when it was started."""


class Workers:
    """All workers of one host. `on_change` is called with a run and whether it lives."""

    command: Sequence[str] = (sys.executable, "-P", "-m", "sessions.training.worker")

    def __init__(self, paths: Paths, settings: Settings, *, ahead: bool = True) -> None:
        self.paths = paths
        self.settings = settings
        self.base: Path | None = None
        self.on_change: Callable[[str, bool], None] = lambda run, alive: None
        self._ahead = ahead
        self._waiting: Worker | None = None
        self._running: list[Worker] = []
        self._flag_path = paths.runtime / f"{os.getpid()}.chat"
        self._flag = ChatFlag(self._flag_path, create=True)
        self._replied = time.monotonic()

    @property
    def alive(self) -> list[str]:
        """Runs that a worker is at."""
        return [worker.run for worker in self._running]

    @property
    def chat_flag(self) -> Path:
        """Return the file of the flag that is set while a reply is generated."""
        return self._flag_path

    @property
    def idle(self) -> float:
        """Return the seconds since the last reply ended; 0 while one is generated."""
        return 0.0 if self._flag.busy else time.monotonic() - self._replied

    @property
    def sharing(self) -> str:
        """How a worker comes by the base, in words."""
        return "shared with the chat" if self.base is not None else "loaded by each run"

    def prestart(self) -> None:
        """Have one worker import its libraries now, so that a run starts at once."""
        if self._ahead and (self._waiting is None or self._waiting.process.poll() is not None):
            self._waiting = self._spawn()

    async def start(self, run: str) -> None:
        """Give a run to the waiting worker, or to a new one; `settle` comes first.

        Raises RunError where one is under way.
        """
        await asyncio.to_thread(runs.state, self.paths, run)  # raises for a run that is not there
        if self._running:
            raise RunError(
                f"A run is going on already: {self._running[0].run}.",
                data="Nothing was started.",
                remedy="Wait for it or stop it first.",
            )
        worker, self._waiting = self._waiting, None
        if worker is None or worker.process.poll() is not None:
            worker = self._spawn()
        worker.run = run
        self._running.append(worker)
        try:
            await asyncio.to_thread(self._assign, worker)
        except BaseException:
            self._running.remove(worker)
            worker.process.kill()
            await asyncio.to_thread(worker.process.communicate)
            raise
        self.on_change(run, True)

    async def settle(self) -> None:
        """A worker that has said its last word is about to end; the next run need not be refused for it."""
        for worker in list(self._running):
            if await asyncio.to_thread(_has_ended, self.paths.run(worker.run)):
                with contextlib.suppress(subprocess.TimeoutExpired):
                    await asyncio.to_thread(worker.process.wait, GRACE)
        await self.look()

    async def stop(self, run: str, *, save: bool) -> None:
        """Ask a run to stop; one that is to be given up and does not end is killed."""
        worker = next((worker for worker in self._running if worker.run == run), None)
        if worker is None:
            raise RunError(f"The run {run} is not going on.", remedy="`llama-tui runs list` shows what is.")
        await asyncio.to_thread(runs.request_stop, self.paths, run, save)
        if not save:
            worker.kill_at = time.monotonic() + GRACE

    async def look(self) -> None:
        """Notice workers that have ended, and write down why where they did not say."""
        for worker in list(self._running):
            if worker.process.poll() is not None:
                self._running.remove(worker)
                try:
                    await asyncio.to_thread(self._conclude, worker)
                finally:
                    self.on_change(worker.run, False)
                self.prestart()
            elif time.monotonic() > worker.kill_at:
                worker.process.kill()

    @contextlib.contextmanager
    def chatting(self) -> Iterator[None]:
        """While a reply is generated; workers leave the machine to it then."""
        self._flag.set(True)
        try:
            yield
        finally:
            self._replied = time.monotonic()
            self._flag.set(False)

    async def close(self) -> None:
        """End the waiting worker; running ones notice that the host ends, and write a checkpoint."""
        self._ahead = False
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.process.kill()  # it holds nothing yet
            await asyncio.to_thread(waiting.process.communicate)
        self._flag.set(False)  # not closed: a reply that is being stopped may still say that it ends
        self._flag_path.unlink(missing_ok=True)

    def _spawn(self) -> Worker:
        private_folder(self.paths.logs)
        with open(self.paths.logs / "worker.log", "ab", opener=private_open) as log_file:
            process = subprocess.Popen(
                list(self.command), stdin=subprocess.PIPE, stdout=log_file, stderr=log_file, start_new_session=True
            )
        return Worker(process)

    def _assign(self, worker: Worker) -> None:
        folder = self.paths.run(worker.run)
        (folder / runs.STOP).unlink(missing_ok=True)
        assignment = Assignment(
            run=str(folder),
            home=str(self.paths.home),
            cache=str(self.paths.cache),
            base=str(self.base) if self.base else None,
            resume=_was_started(folder),
            chat_flag=str(self._flag_path),
            chat_share=self.settings.chat_share,
            quantization=self.settings.quantization,
        )
        stdin = worker.process.stdin
        assert stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it died while waiting: `look` says why
            stdin.write(encode(assignment))
            stdin.close()

    def _conclude(self, worker: Worker) -> None:
        folder = self.paths.run(worker.run)
        if _has_ended(folder):
            return
        if worker.kill_at < float("inf") and worker.process.returncode == -signal.SIGKILL:
            events.append(folder, events.RunCancelled())
        else:
            error = WorkerDied(
                f"The training process ended without a word: {_cause(worker)}.",
                data="What was kept and earlier versions are untouched.",
                remedy=f"`llama-tui runs resume {worker.run}` goes on from the last checkpoint, if one was written; "
                f"{folder / 'worker.log'} has the details.",
            )
            resumable = any(folder.glob("checkpoint-*"))
            events.append(folder, events.RunFailed(failure=Failure.of(error), resumable=resumable))


def _was_started(folder: Path) -> bool:
    return any(isinstance(event, events.WorkerStarted) for event, _ in events.read(folder))


def _has_ended(folder: Path) -> bool:
    """True where the last word after the last start is an ending."""
    ended = False
    for event, _ in events.read(folder):
        if isinstance(event, events.WorkerStarted):
            ended = False
        elif isinstance(event, events.RUN_ENDINGS):
            ended = True
    return ended


def _cause(worker: Worker) -> str:
    code = worker.process.returncode
    if code == -signal.SIGKILL:
        known = _oom_kills() > worker.oom_kills
        return "the kernel killed it for memory" if known else "it was killed (signal 9), most likely for memory"
    if code < 0:
        return f"signal {-code} ({signal.strsignal(-code)})"
    return f"exit code {code}"


def _oom_kills() -> int:
    """Kills for memory that this control group has counted; 0 where it cannot be known."""
    try:
        lines = Path("/sys/fs/cgroup/memory.events").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))
