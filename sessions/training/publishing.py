"""A trained adapter becomes a version: lineage, files, marks in the store. Knows nothing of how it was trained."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from corpora.dataset import Row
from corpora.store import Store
from sessions.engine.base import LoadedBase
from sessions.registry import Lineage, Registry
from sessions.training import adapting
from sessions.training.events import RunCreated, Scored
from sessions.training.gate import Verdict
from sessions.training.lessons import Material
from sessions.training.trainer import Trainer


@dataclass(slots=True)
class Result:
    """A run after its training. `rows` are those that were trained on, fewer than all after an early stop."""

    base: LoadedBase
    model: Any
    material: Material
    trainer: Trainer
    rows: tuple[Row, ...]
    verdict: Verdict
    scores: list[Scored] = field(default_factory=list)


def publish(result: Result, created: RunCreated, registry: Registry) -> Lineage:
    """Put the adapter in place as the next version. Raises RunDiverged, OSError; then nothing is published."""
    staged = registry.stage(created.adapter)
    try:
        adapting.save(result.model, staged, result.base.dtype)
        address = registry.publish(staged, _lineage(result, created))
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    return registry.lineage(address)


def trained_rows(material: Material, seen: set[int]) -> tuple[Row, ...]:
    """Return the rows that the mixture has trained on at least once; the others stay new for the next run."""
    return tuple(row for index, (row, _) in enumerate(material.trained) if index in seen)


def mark_trained(corpus: Path, rows: Sequence[Row], version: Lineage, at: float) -> None:
    """Record in the store which exchanges a version was trained on. Raises StoreError."""
    store = Store(corpus)
    try:
        ids = sorted({exchange for row in rows for exchange in row.exchange_ids})
        store.mark_trained(ids, version.digest, at=at, address=version.address)
    finally:
        store.close()


def save_pinned(corpus: Path, digest: str, model: str, result: Result, tests: Sequence[Any]) -> None:
    """Store the results of the pinned tests of a version. Raises StoreError."""
    if not tests:
        return
    store = Store(corpus)
    try:
        judged = [test.judge(reply) for test, reply in zip(tests, result.verdict.pinned_replies, strict=True)]
        store.save_pinned_results(digest, model, judged)
    finally:
        store.close()


def _lineage(result: Result, created: RunCreated) -> Lineage:
    progress = result.trainer.progress
    rows: dict[str, Row] = {}
    for row in result.rows:  # a row's own dialog comes before exchanges from within it
        rows.setdefault(row.key, row)
    seen = [*rows.values(), *(row for row, _ in result.material.held_out)]
    return Lineage(
        adapter=created.adapter,
        version=0,
        parent=created.parent,
        parent_digest=created.parent_digest,
        base_model=result.base.info.name,
        base_digest=result.base.digest,
        run=created.run,
        snapshot=created.snapshot,
        selection=created.selection,
        rows=sum(row.replies for row in rows.values()),
        seen=tuple(sorted({key for row in seen for key in row.reply_keys})),
        loss=progress.loss,
        held_out=next((score.new for score in result.scores if score.subset == "held_out"), None),
        scores=tuple(result.scores),
        gate=result.verdict.report,
        steps=progress.best_step or progress.step,
    )
