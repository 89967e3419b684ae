"""Runs as a terminal sees them: prepared, listed, followed, stopped. Torch-free.

Owns the run's folder before the worker does, and the fold of its events into one state.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Literal

from corpora.store import Store
from sessions.errors import Failure
from sessions.paths import Paths
from sessions.training.events import (
    AnyRunEvent,
    HeldOut,
    Planned,
    Published,
    RunCreated,
    Sampled,
    Scored,
    Stepped,
)
from sessions.training.recipe import Recipe

Phase = Literal["prepared", "running", "finished", "stopped", "cancelled", "failed"]


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
    published: Published | None = None
    failure: Failure | None = None
    resumable: bool = False
    pid: int = 0
    device: str = ""
    checkpoint_step: int = 0
    started: float = 0.0
    ended: float = 0.0

    @property
    def alive(self) -> bool:
        """True while a worker is at it."""
        return self.phase == "running"

    def apply(self, event: AnyRunEvent) -> None:
        """Take one more event in."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Preview:
    """What a run would train on, before Start: counts, and rows that cannot be trained with the reason."""

    new_rows: int
    replayed_rows: int
    parent: str
    problems: tuple[str, ...] = ()


def preview(paths: Paths, store: Store, *, adapter: str, recipe: Recipe) -> Preview:
    """What `prepare` would take."""
    raise NotImplementedError


def prepare(
    paths: Paths, store: Store, *, model: str, adapter: str, recipe: Recipe, parent: str | None = None
) -> str:
    """Fix what is to be trained: write `runs/ID/` (recipe, snapshot, RunCreated) and return the ID.

    The run continues `parent` (default: the current version of `adapter`, else the base). Raises
    NothingToTrain where no kept exchange is new (and none can be trained), DiskFull.
    """
    raise NotImplementedError


def state(paths: Paths, run: str) -> RunState:
    """The state of one run; a run whose worker is gone without a word counts as failed. UsageError if unknown."""
    raise NotImplementedError


def states(paths: Paths) -> list[RunState]:
    """All runs, the newest first; a damaged one is listed as failed."""
    raise NotImplementedError


async def follow(paths: Paths, run: str) -> AsyncIterator[AnyRunEvent]:
    """Every event of a run from its first, then live, until its ending."""
    raise NotImplementedError
    yield
