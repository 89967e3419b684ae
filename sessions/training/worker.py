"""The worker process: one training run, then the end. `python -m sessions.training.worker`

Started before it is needed, it imports its libraries and waits for one assignment on stdin; when stdin ends
without one, it ends too. Whatever happens in the run, its events end with an ending.
"""

from __future__ import annotations

import errno
import logging
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import msgspec

from sessions.errors import Cancelled, DiskFull, Failure, HostDied, LlamaTuiError, OutOfMemory
from sessions.paths import private_open
from sessions.training import checkpoints, events, runs
from sessions.training.assignment import Assignment, ChatFlag, decode
from sessions.training.control import Control
from sessions.training.events import RunCancelled, RunEvent, RunFailed

log = logging.getLogger("llama-tui.worker")


def main() -> int:
    """Wait for an assignment and carry it out; 0 where the run ended as planned or nothing was assigned."""
    parent = os.getppid()
    quiet()
    import sessions.training.session  # noqa: F401 - the slow imports, before there is anything to do

    line = sys.stdin.buffer.readline()
    if not line.strip():
        return 0
    try:
        assignment = decode(line)
    except msgspec.MsgspecError:
        log.exception("not an assignment")
        return 2
    _log_to(Path(assignment.run) / runs.LOG)
    ending = carry_out(assignment, parent, core_switch())
    return 1 if isinstance(ending, RunFailed) else 0


def carry_out(
    assignment: Assignment, parent: int | None = None, on_chat: Callable[[bool], None] = lambda busy: None
) -> RunEvent:
    """Carry out the run, append its ending and return it. The run ends when the process `parent` ends.

    `on_chat`: see `Control`.
    """
    return concluded(Path(assignment.run), lambda: _run(assignment, parent, on_chat))


def concluded(folder: Path, course: Callable[[], RunEvent]) -> RunEvent:
    """Carry out the course of a run and append its ending: the one it returns, or what its error means."""
    try:
        ending = course()
    except BaseException as error:  # noqa: BLE001 - the process's boundary: every end of a run must be told
        log.error("the run ended:\n%s", traceback.format_exc())
        ending = _ending_of(error, folder)
    events.append(folder, ending)
    return ending


def control_of(
    assignment: Assignment, parent: int | None, on_chat: Callable[[bool], None] = lambda busy: None
) -> Control:
    """Return what may interrupt the run of an assignment."""
    flag = ChatFlag(Path(assignment.chat_flag)) if assignment.chat_flag else None
    return Control(
        Path(assignment.run),
        flag=flag,
        chat_share=assignment.chat_share,
        parent=parent,
        synchronize=synchronize,
        on_chat=on_chat,
    )


def _run(assignment: Assignment, parent: int | None, on_chat: Callable[[bool], None]) -> RunEvent:
    from sessions.training.session import Session

    control = control_of(assignment, parent, on_chat)
    control.stop_on_signals()
    return Session(assignment, control).run()


def _ending_of(error: BaseException, folder: Path) -> RunEvent:
    from sessions.engine.errors import is_memory_error

    if isinstance(error, Cancelled):
        return RunCancelled()
    if is_memory_error(error):
        error = out_of_memory(error)
    elif isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        error = DiskFull(
            f"The disk is full: {error}.",
            data="Nothing half-written is left; your exchanges and earlier versions are untouched.",
            remedy="Free some space, then resume the run or start it again.",
        )
    resumable = not isinstance(error, LlamaTuiError) or isinstance(error, (HostDied, OutOfMemory, DiskFull))
    return RunFailed(failure=Failure.of(error), resumable=resumable and checkpoints.newest(folder) is not None)


def out_of_memory(error: BaseException) -> OutOfMemory:
    """What to change, in the order in which it helps."""
    device = "GPU" if "CUDA" in str(error) or type(error).__name__ == "OutOfMemoryError" else "machine"
    return OutOfMemory(
        f"The {device} ran out of memory during training.",
        data="Nothing was published; your exchanges and earlier versions are untouched.",
        remedy="Set micro_batch = 1, then a smaller max_length (1024), then a smaller rank.",
    )


def synchronize() -> None:
    """Wait until the GPU, if there is one, has done what it was given."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


def core_switch() -> Callable[[bool], None]:
    """Use all cores, and return what halves their number while a reply is generated.

    Threads of two processes that wait for each other on the same cores are ten times slower than one thread
    each: 60 steps of a 7.5 M model took 89 s with two threads on two busy cores, and 7 s with one. The number is
    constant where OMP_NUM_THREADS sets it.
    """
    import torch

    if "OMP_NUM_THREADS" in os.environ:
        return lambda busy: None
    cores = len(os.sched_getaffinity(0))
    torch.set_num_threads(cores)
    return lambda busy: torch.set_num_threads(max(1, cores // 2) if busy else cores)


def quiet() -> None:
    """No progress bars, telemetry or advice: what is written goes to a log that people read after a failure."""
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(levelname)s %(message)s")


def _log_to(path: Path) -> None:
    """From here on everything that this process and its libraries print goes to the run's log."""
    descriptor = private_open(str(path), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
        os.dup2(descriptor, stream.fileno())
    os.close(descriptor)


if __name__ == "__main__":
    sys.exit(main())
