"""The host's side of computing anchors in the background: one process, while nobody waits for a reply or a run.

Starts it, reports its progress, ends it; knows nothing of models or of how anchors are computed. Torch-free.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

import msgspec
import psutil

from sessions.engine.contract import Engine
from sessions.errors import Failure, WorkerDied
from sessions.paths import Paths, private_folder, private_open
from sessions.protocol import Preparing
from sessions.training.assignment import AnchorAssignment, encode
from sessions.training.preflight import room_for_anchors
from sessions.workers import Workers

log = logging.getLogger("llama-tui.host")
START_AFTER = 5.0
"""Seconds without a reply, a run or a load before the process is started."""
REPORT_EVERY = 1.0
ASK_FOR_ROOM_EVERY = 60.0
GRACE = 5.0
"""Seconds that the process has to end after SIGTERM."""
Prepared = Callable[[Engine], tuple[int, int]]
"""Returns how many anchors of the engine's base are on disk, and how many there are."""


class AnchorBuilder:
    """At most one process for the host's base. `state` is None where there is nothing to show.

    The host calls `look` often while no run is active, and `pause` before a run starts.
    """

    command: Sequence[str] = (sys.executable, "-P", "-m", "sessions.training.anchor_worker")

    def __init__(self, paths: Paths, prepared: Prepared, *, start_after: float = START_AFTER) -> None:
        self.paths = paths
        self.state: Preparing | None = None
        self.on_change: Callable[[Preparing], None] = lambda state: None
        self._prepared = prepared
        self._start_after = start_after
        self._process: subprocess.Popen[bytes] | None = None
        self._paused = True
        self._over = False
        self._not_before = 0.0
        self._counted = 0.0

    async def look(self, engine: Engine, workers: Workers) -> None:
        """Start the process where it is due, report its progress, note its end. Raises nothing."""
        now = time.monotonic()
        if self._paused:
            self._paused, self._over, self._not_before = False, False, now + self._start_after
        try:
            if self._process is None:
                if not self._over and now >= self._not_before and workers.idle >= self._start_after:
                    await self._start(engine, workers)
            elif self._process.poll() is not None:
                await self._conclude(engine)
            elif now - self._counted >= REPORT_EVERY:
                done, total = await self._count(engine)
                if self._process is not None:
                    self._show(Preparing(done=done, total=total))
        except Exception as error:
            log.exception("The anchors cannot be computed in the background")
            await self._end()
            self._fail(Failure.of(error))

    async def pause(self) -> None:
        """End the process; what it has completed is kept. The next `look` starts it again."""
        self._paused = True
        await self._end()
        if self.state is not None and self.state.failure is None:
            self._show(msgspec.structs.replace(self.state, active=False))

    async def _start(self, engine: Engine, workers: Workers) -> None:
        done, total = await self._count(engine)
        if done >= total:
            self._finish(done, total)
            return
        spare = await asyncio.to_thread(engine.spare)
        if room_for_anchors(engine.info) > (psutil.virtual_memory().available if spare is None else spare):
            self._not_before = time.monotonic() + ASK_FOR_ROOM_EVERY
            return
        if self._paused or workers.base is None:
            return
        self._process = self._spawn()
        assignment = AnchorAssignment(
            anchors=str(self.paths.anchors),
            base=str(workers.base),
            chat_flag=str(workers.chat_flag),
            host=os.getpid(),
        )
        stdin, self._process.stdin = self._process.stdin, None
        assert stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended already: the next look concludes
            stdin.write(encode(assignment))
            stdin.close()
        self._show(Preparing(done=done, total=total))

    def _spawn(self) -> subprocess.Popen[bytes]:
        private_folder(self.paths.logs)
        with open(self.paths.logs / "worker.log", "ab", opener=private_open) as log_file:
            return subprocess.Popen(
                list(self.command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log_file,
                start_new_session=True,
            )

    async def _count(self, engine: Engine) -> tuple[int, int]:
        self._counted = time.monotonic()
        return await asyncio.to_thread(self._prepared, engine)

    async def _conclude(self, engine: Engine) -> None:
        """Note how the process ended by itself."""
        process, self._process = self._process, None
        assert process is not None
        output, _ = await asyncio.to_thread(process.communicate)
        done, total = await self._count(engine)
        if process.returncode == 0 and done >= total:
            self._finish(done, total)
        else:
            self._fail(self._reason(output, process.returncode), done, total)

    def _reason(self, output: bytes, code: int) -> Failure:
        try:
            return msgspec.json.decode(output, type=Failure)
        except msgspec.MsgspecError:
            error = WorkerDied(
                f"The process that records how the model answers general prompts ended with exit code {code}.",
                data="The chat is not affected, and what is recorded so far is kept.",
                remedy=f"{self.paths.logs / 'worker.log'} may have the reason. A run records what it needs.",
            )
            return Failure.of(error)

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            await asyncio.to_thread(process.communicate, timeout=GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
            await asyncio.to_thread(process.communicate)

    def _finish(self, done: int, total: int) -> None:
        """Clients hide what is complete."""
        self._over = True
        if self.state is not None:
            self._show(Preparing(done=done, total=total))
            self.state = None

    def _fail(self, failure: Failure, done: int = 0, total: int = 0) -> None:
        log.error("Anchors: %s", failure.what)
        self._over = True
        self._show(Preparing(done=done, total=total, active=False, failure=failure))

    def _show(self, state: Preparing) -> None:
        if state != self.state:
            self.state = state
            self.on_change(state)
