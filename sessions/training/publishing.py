"""What a run has learnt becomes a version: its lineage, its files, the marks in the store.

Knows nothing of how it was learnt.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from corpora.dataset import Row
from corpora.dialog import Example
from corpora.store import Store
from sessions.engine.base import LoadedBase
from sessions.registry import Lineage, Registry
from sessions.training import adapting
from sessions.training.events import RunCreated, Scored
from sessions.training.schedule import Schedule, order
from sessions.training.supervised import Supervised

Pair = tuple[Row, Example]


@dataclass(frozen=True, slots=True)
class Material:
    """The rows of a run with their examples: trained on, held out to measure, left out with the reason.

    A row has several examples in `train` where exchanges from within it are trained by themselves too.
    """

    train: list[Pair]
    held_out: list[Pair]
    left_out: tuple[tuple[Row, str], ...]

    @property
    def lengths(self) -> list[int]:
        """Tokens of each row that is trained on."""
        return [len(example.ids) for _, example in self.train]

    def subsets(self) -> dict[str, list[Example]]:
        """What is scored, where there is any: new rows that were trained on, rows taught before, held-out rows."""
        found = {
            "new": [example for row, example in self.train if not row.replay],
            "old": [example for row, example in [*self.train, *self.held_out] if row.replay],
            "held_out": [example for _, example in self.held_out],
        }
        return {name: examples for name, examples in found.items() if examples}

    def taught(self, steps: int, plan: Schedule, seed: int) -> Material:
        """What `steps` steps have seen: all of it after a whole pass, else the rows whose turn had come.

        The others stay new, so that a run that was stopped early takes nothing from the next one.
        """
        reached = steps * plan.micro_batch * plan.accumulation
        if reached >= len(self.train):
            return self
        places = order(self.lengths, plan.micro_batch, seed, 0)[:reached]
        return Material([self.train[place] for place in sorted(places)], [], self.left_out)

    def mark_trained(self, corpus: Path, version: Lineage, at: float) -> None:
        """Remember in the store which exchanges a version has learnt. Raises StoreError."""
        store = Store(corpus)
        try:
            ids = sorted({exchange for row, _ in self.train for exchange in row.exchange_ids})
            store.mark_trained(ids, version.digest, at=at, address=version.address)
        finally:
            store.close()


@dataclass(slots=True)
class Result:
    """A run after its training."""

    base: LoadedBase
    model: Any
    material: Material
    trainer: Supervised
    scores: list[Scored] = field(default_factory=list)

    @property
    def steps(self) -> int:
        """Steps behind the matrices that are published: those of the best checkpoint, or all."""
        return self.trainer.watch.progress.best_step or int(self.trainer.state.global_step)


def publish(result: Result, created: RunCreated, registry: Registry) -> Lineage:
    """Put the adapter in place as the next version. Raises RunDiverged, OSError; then nothing is there."""
    staged = registry.stage(created.adapter)
    try:
        adapting.save(result.model, staged, result.base.dtype)
        address = registry.publish(staged, _lineage(result, created))
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    return registry.lineage(address)


def _lineage(result: Result, created: RunCreated) -> Lineage:
    progress, material = result.trainer.watch.progress, result.material
    return Lineage(
        adapter=created.adapter,
        version=0,
        parent=created.parent,
        parent_digest=created.parent_digest,
        base_model=result.base.info.name,
        base_digest=result.base.digest,
        run=created.run,
        snapshot=created.snapshot,
        rows=len({row.key for row, _ in material.train}),
        seen=tuple(sorted({row.key for row, _ in [*material.train, *material.held_out]})),
        loss=progress.loss,
        held_out=_new_loss(result.scores, "held_out"),
        scores=tuple(result.scores),
        steps=result.steps,
    )


def _new_loss(scores: Sequence[Scored], subset: str) -> float | None:
    return next((score.new for score in scores if score.subset == subset), None)
