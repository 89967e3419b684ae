"""What a run says of itself: one JSON object a line in `events.jsonl`, the truth about the run.

Panels, `runs follow` and reattaching read it; knows nothing of models or screens.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

import msgspec

from corpora.selection import Selection
from sessions.errors import UNREADABLE, Failure
from sessions.paths import private_open, write_all
from sessions.training.report import GateReport


class RunEvent(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """`time` is seconds since the epoch."""

    time: float = msgspec.field(default_factory=time.time)


class RunCreated(RunEvent, frozen=True, tag=True, kw_only=True):
    """First line of every run: what it is to do. `parent` is `base` or `NAME/vN`; `snapshot` a sha256.

    `parent_digest` identifies the parent, whatever it is called later. `selection` is what the replies were selected
    by. Earlier versions counted rows and selected everything.
    """

    run: str
    model: str
    adapter: str
    parent: str
    parent_digest: str = ""
    snapshot: str
    new_replies: int = 0
    replayed_replies: int = 0
    selection: Selection | None = None


class RunResumed(RunEvent, frozen=True, tag=True, kw_only=True):
    """The person asked for an ended run to go on; a worker follows."""


class WorkerStarted(RunEvent, frozen=True, tag=True, kw_only=True):
    """A worker took the run up (again, after a stop: `resumed_step` > 0) on the machine `node`."""

    pid: int
    node: str = msgspec.field(default_factory=platform.node)
    device: str = "cpu"
    resumed_step: int = 0
    base_from: str = ""


class Stage(RunEvent, frozen=True, tag=True, kw_only=True):
    """What the worker is doing, in words."""

    name: str


class Planned(RunEvent, frozen=True, tag=True, kw_only=True):
    """The run in numbers, once the examples are encoded. `left_out` lists rows and why."""

    steps: int
    epochs: float
    examples: int
    held_out: int
    tokens: int
    trained_tokens: int
    batch: int
    trainable_parameters: int = 0
    until_reproduced: bool = False
    left_out: tuple[str, ...] = ()


class Stepped(RunEvent, frozen=True, tag=True, kw_only=True):
    """One optimizer step. Memory in bytes: of the GPU, or of the process on a CPU.

    `loss` is the cross-entropy on kept replies, `kl` the divergence from the base on anchors, both in nats per token;
    `reproduced` counts the replies whose least likely token has a probability of at least 0.9.
    """

    step: int
    epoch: float
    loss: float
    kl: float = 0.0
    reproduced: int = 0
    learning_rate: float
    grad_norm: float
    tokens: int
    tokens_per_second: float
    eta: float
    memory: int = 0


class HeldOut(RunEvent, frozen=True, tag=True, kw_only=True):
    """Mean loss per trained token on the held-out part."""

    step: int
    loss: float


class Sampled(RunEvent, frozen=True, tag=True, kw_only=True):
    """A greedy reply of the adapter in training."""

    step: int
    prompt: str
    reply: str


class CheckpointWritten(RunEvent, frozen=True, tag=True, kw_only=True):
    """A whole checkpoint is on disk; the run can go on from it."""

    step: int
    folder: str


class Scored(RunEvent, frozen=True, tag=True, kw_only=True):
    """Mean loss per trained token of base, parent and new on one set (`new`, `old` or `held_out`)."""

    subset: str
    base: float
    parent: float
    new: float
    examples: int


class Gated(RunEvent, frozen=True, tag=True, kw_only=True):
    """The result of the gate for the version that is about to be published."""

    report: GateReport


class Published(RunEvent, frozen=True, tag=True, kw_only=True):
    """The version is on disk. `worse` is why it should not be used, empty where it passed the gate."""

    adapter: str
    digest: str
    worse: str = ""


class Warned(RunEvent, frozen=True, tag=True, kw_only=True):
    """Something the person should know that does not end the run."""

    text: str


class RunFinished(RunEvent, frozen=True, tag=True, kw_only=True):
    """The whole plan was done (or early stopping ended it) and the adapter published."""


class RunStopped(RunEvent, frozen=True, tag=True, kw_only=True):
    """Stopped by the person, the adapter so far published; the run can be resumed."""

    step: int


class RunCancelled(RunEvent, frozen=True, tag=True, kw_only=True):
    """Given up by the person; nothing was published."""


class RunFailed(RunEvent, frozen=True, tag=True, kw_only=True):
    """Ended by an error. `resumable` where a checkpoint stands."""

    failure: Failure
    resumable: bool = False


AnyRunEvent: TypeAlias = (
    RunCreated
    | RunResumed
    | WorkerStarted
    | Stage
    | Planned
    | Stepped
    | HeldOut
    | Sampled
    | CheckpointWritten
    | Scored
    | Gated
    | Published
    | Warned
    | RunFinished
    | RunStopped
    | RunCancelled
    | RunFailed
)
RUN_ENDINGS = (RunFinished, RunStopped, RunCancelled, RunFailed)

FILE = "events.jsonl"
_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[AnyRunEvent] = msgspec.json.Decoder(AnyRunEvent)


def append(folder: Path, event: RunEvent) -> None:
    """Add one line with one write; endings and publications are synced to disk before it returns. Raises OSError.

    A line that a killed process left torn is closed first, so that it spoils no other.
    """
    descriptor = private_open(str(folder / FILE), os.O_RDWR | os.O_APPEND | os.O_CREAT)
    try:
        size = os.fstat(descriptor).st_size
        torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
        write_all(descriptor, b"\n" * torn + _encoder.encode(event) + b"\n")
        if isinstance(event, (*RUN_ENDINGS, Published, RunCreated, CheckpointWritten)):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read(folder: Path, offset: int = 0) -> Iterator[tuple[AnyRunEvent, int]]:
    """Events from a byte offset on, each with the offset after it. A torn last line is left for later.

    A line that cannot be read is skipped with a `Warned` in its place.
    """
    try:
        with (folder / FILE).open("rb") as file:
            file.seek(offset)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                offset += len(line)
                yield _decoded(line), offset
    except FileNotFoundError:
        return


def _decoded(line: bytes) -> AnyRunEvent:
    try:
        return _decoder.decode(line)
    except UNREADABLE as error:
        return Warned(text=f"A line of {FILE} cannot be read and is skipped: {error}", time=0.0)
