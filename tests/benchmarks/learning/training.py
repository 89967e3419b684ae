"""Whole runs without a terminal, in a data home of their own: kept replies, a run, what was published."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import torch

from sessions.paths import Paths
from sessions.protocol import BASE
from sessions.registry import Registry
from sessions.training import events, runs, worker
from sessions.training.assignment import Assignment
from sessions.training.events import Stage
from sessions.training.recipe import Recipe, changed
from tests.sessions.training_help import keep, opened

ADAPTER = "bench"


@dataclass(frozen=True, slots=True)
class Outcome:
    """A run as the person sees it. `address` is empty where nothing was published.

    `offered` is true for a version that passed the gate; `used` for one that answers without having been accepted.
    """

    address: str
    phase: str
    why: str
    offered: bool
    used: bool
    steps: int
    loss: float | None
    seconds: float
    stages: dict[str, float]
    gate: dict[str, object] | None
    warnings: tuple[str, ...]


@dataclass(slots=True)
class Home:
    """A data home for one series of runs; `accepted` is the version that the person answered yes to."""

    paths: Paths
    model: str
    accepted: str = BASE

    @classmethod
    def new(cls, folder: Path, cache: Path, model: str) -> Home:
        """Make an empty home; the cache (models, anchors) is shared between homes."""
        return cls(Paths(folder, cache, folder / "config.toml", folder), model)

    def keep(self, pairs: Sequence[tuple[str, str]]) -> None:
        """Correct the reply to each prompt, one chat each."""
        with opened(self.paths) as store:
            keep(store, pairs)

    def run(self, settings: Mapping[str, str]) -> Outcome:
        """Train on what is kept, from the accepted version; in this process."""
        began = time.monotonic()
        with opened(self.paths) as store:
            run = runs.prepare(
                self.paths,
                store,
                model=self.model,
                adapter=ADAPTER,
                recipe=changed(Recipe(), **settings),
                parent=self.accepted,
            )
        assignment = Assignment(
            run=str(self.paths.run(run)), home=str(self.paths.home), cache=str(self.paths.cache), quantization="nf4"
        )
        with as_worker():
            worker.carry_out(assignment)
        return self._outcome(run, time.monotonic() - began)

    def accept(self, outcome: Outcome) -> None:
        """Use a version that was offered, as the person would."""
        if outcome.offered:
            Registry(self.paths).use(outcome.address)
            self.accepted = outcome.address

    def folder(self, address: str) -> Path:
        """Return the PEFT folder of a version."""
        return Registry(self.paths).verified(address)

    def _outcome(self, run: str, seconds: float) -> Outcome:
        state = runs.state(self.paths, run)
        published, gate = state.published, state.gate
        address = published.adapter if published else ""
        offered = published is not None and not published.worse and (gate is None or gate.passed)
        in_use = Registry(self.paths).current(ADAPTER) if published else BASE
        why = state.failure.what if state.failure else published.worse if published else ""
        return Outcome(
            address=address,
            phase=state.phase,
            why=why or ("; ".join(gate.reasons) if gate else ""),
            offered=offered,
            used=bool(address) and in_use == address,
            steps=len(state.steps),
            loss=state.steps[-1].loss if state.steps else None,
            seconds=seconds,
            stages=_stages(self.paths.run(run)),
            gate=msgspec.to_builtins(gate) if gate else None,
            warnings=tuple(state.warnings),
        )


def _stages(folder: Path) -> dict[str, float]:
    """Return the seconds of each stage of a run."""
    told = [event for event, _ in events.read(folder)]
    starts = [(event.name, event.time) for event in told if isinstance(event, Stage)]
    ends = [time for _, time in starts[1:]] + [told[-1].time]
    found: dict[str, float] = {}
    for (name, start), end in zip(starts, ends, strict=True):
        found[name] = round(found.get(name, 0.0) + end - start, 2)
    return found


@contextmanager
def as_worker() -> Iterator[None]:
    """Use as many threads as a worker process does; afterwards restore threads and signal handlers."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    threads = torch.get_num_threads()
    worker.core_switch()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        for number, handler in before.items():
            signal.signal(number, handler)
