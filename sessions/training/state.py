"""A run's events folded into one state, and whether its worker still lives. Torch-free.

Knows nothing of where runs lie or who asks.
"""

from __future__ import annotations

import platform
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import psutil

from sessions.errors import Failure
from sessions.training.events import (
    FILE,
    AnyRunEvent,
    CheckpointWritten,
    Gated,
    HeldOut,
    Planned,
    Published,
    RunCancelled,
    RunCreated,
    RunFailed,
    RunFinished,
    RunResumed,
    RunStopped,
    Sampled,
    Scored,
    Stage,
    Stepped,
    Warned,
    WorkerStarted,
)
from sessions.training.report import GateReport

Phase = Literal["prepared", "running", "finished", "stopped", "cancelled", "failed"]
CLOCK_SLACK = 2.0
SILENCE = 600.0


@dataclass(slots=True)
class RunState:
    """All that panels show of a run, folded from its events in order."""

    id: str
    phase: Phase = "prepared"
    created: RunCreated | None = None
    stage: str = ""
    plan: Planned | None = None
    steps: list[Stepped] = field(default_factory=list)
    held_out: list[HeldOut] = field(default_factory=list)
    samples: list[Sampled] = field(default_factory=list)
    scores: list[Scored] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    gate: GateReport | None = None
    published: Published | None = None
    failure: Failure | None = None
    resumable: bool = False
    pid: int = 0
    device: str = ""
    checkpoint_step: int = 0
    started: float = 0.0
    ended: float = 0.0
    worker: WorkerStarted | None = None

    @property
    def alive(self) -> bool:
        """True while a worker is at it."""
        return self.phase == "running"

    @property
    def over(self) -> bool:
        """True after an ending, until the run is taken up again."""
        return self.phase not in ("prepared", "running")

    def apply(self, event: AnyRunEvent) -> None:
        """Take one more event in."""
        match event:
            case RunCreated():
                self.created = event
            case RunResumed():
                self.phase, self.failure, self.ended = "prepared", None, 0.0
            case WorkerStarted():
                self._taken_up(event)
            case RunFinished() | RunStopped() | RunCancelled() | RunFailed():
                self._ended(event)
            case _:
                self._went_on(event)

    def _taken_up(self, event: WorkerStarted) -> None:
        """Steps after the checkpoint that a worker goes on from are made again, so the old ones go."""
        self.phase, self.failure, self.published, self.ended = "running", None, None, 0.0
        self.worker, self.pid, self.device = event, event.pid, event.device
        self.started = self.started or event.time
        self.steps = [step for step in self.steps if step.step <= event.resumed_step]
        self.held_out = [found for found in self.held_out if found.step <= event.resumed_step]
        self.samples = [sample for sample in self.samples if sample.step <= event.resumed_step]
        self.scores, self.gate = [], None

    def _went_on(self, event: AnyRunEvent) -> None:
        match event:
            case Stage():
                self.stage = event.name
            case Planned():
                self.plan = event
            case Stepped():
                self.steps.append(event)
            case HeldOut():
                self.held_out.append(event)
            case Sampled():
                self.samples.append(event)
            case Scored():
                self.scores.append(event)
            case Warned():
                self.warnings.append(event.text)
            case Gated():
                self.gate = event.report
            case Published():
                self.published = event
            case CheckpointWritten():
                self.checkpoint_step = event.step

    def _ended(self, event: RunFinished | RunStopped | RunCancelled | RunFailed) -> None:
        self.ended = event.time
        match event:
            case RunFinished():
                self.phase, self.resumable = "finished", False
            case RunStopped():
                self.phase, self.resumable = "stopped", self.checkpoint_step > 0
            case RunCancelled():
                self.phase, self.resumable = "cancelled", False
            case RunFailed():
                self.phase, self.failure, self.resumable = "failed", event.failure, event.resumable


def gone(worker: WorkerStarted | None, folder: Path) -> bool:
    """True where the worker's process is no more, or its number belongs to a later process.

    A worker on another machine (a home on NFS) cannot be seen from here: it is gone once the events in
    the run's folder, which it touches every minute, are silent for SILENCE seconds.
    """
    if worker is None:
        return False
    if worker.node != platform.node():
        return _silent(folder)
    try:
        process = psutil.Process(worker.pid)
        later = process.create_time() > worker.time + CLOCK_SLACK
        return later or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
    except psutil.AccessDenied:
        return False


def _silent(folder: Path) -> bool:
    try:
        return time.time() - (folder / FILE).stat().st_mtime > SILENCE
    except OSError:
        return False


def death(state: RunState) -> RunFailed:
    """The ending of a run whose worker is gone and said nothing."""
    failure = Failure(
        "WorkerDied",
        "The worker of this run ended without saying why.",
        "Nothing was published by it." + (" A checkpoint stands." if state.checkpoint_step else ""),
        "Resume the run; worker.log in its folder may tell more." if state.checkpoint_step else "Start it again.",
    )
    return RunFailed(failure=failure, resumable=state.checkpoint_step > 0)
