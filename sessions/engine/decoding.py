"""The token loop: ids in, ids out, for one to four rows at once. Knows no text and no adapters' names.

Prefills only what a row does not hold yet; asks before every token whether to stop.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field

import torch

from corpora.dialog import Finish
from sessions.engine.adapter import Lead
from sessions.engine.forward import Forward
from sessions.engine.kv import KvStore, Row
from sessions.engine.sampling import Sampler

CHUNK = 512
VIRTUAL = -1
"""Stands for a place that no id made; no vocabulary has it."""


@dataclass(frozen=True, slots=True)
class Started:
    """The prompt is read: `length` ids, `reused` of them held already."""

    length: int
    reused: int


@dataclass(frozen=True, slots=True)
class Drawn:
    """One new id in one column."""

    column: int
    token: int


@dataclass(frozen=True, slots=True)
class Ended:
    """One column is complete."""

    column: int
    finish: Finish


@dataclass(slots=True)
class Job:
    """What to decode: each row's key and sampler, the ids of the prompt, and when to end.

    Who reads the steps ends a column by putting it into `halted`, right after its `Drawn`.
    The places of a `lead` stand at the front of `ids` as `VIRTUAL`.
    """

    keys: list[str]
    samplers: list[Sampler]
    ids: list[int]
    most: int
    ends: frozenset[int]
    stopped: Callable[[], bool]
    narrow: Callable[[int], None]
    lead: Lead | None = None
    halted: set[int] = field(default_factory=set)


def decode(job: Job, forward: Forward, kv: KvStore) -> Iterator[Started | Drawn | Ended]:
    """Steps of one job: `Started`, then `Drawn`s, and one `Ended` for each column."""
    rows, reused = kv.open(job.keys, job.ids)
    logits = _prefill(job, forward, rows, reused)
    yield Started(len(job.ids), reused)
    alive = list(range(len(rows)))
    if logits is None:
        yield from (Ended(column, Finish.STOPPED) for column in alive)
        return
    window, count = list(alive), 0
    while alive:
        if job.stopped():
            yield from (Ended(column, Finish.STOPPED) for column in alive)
            return
        drawn = _draw(job, logits, window)
        count += 1
        for column in list(alive):
            ended = yield from _tell(job, column, drawn[window.index(column)], count)
            if ended:
                alive.remove(column)
        if alive:
            window, drawn = _narrowed(job, kv, window, alive, drawn)
            logits = forward(torch.tensor([[token] for token in drawn], device=forward.device))
            for column in alive:
                rows[column].ids.append(drawn[window.index(column)])


def _prefill(job: Job, forward: Forward, rows: list[Row], reused: int) -> torch.Tensor | None:
    """Compute what is new, in pieces; the logits after the last id, or None when stopped."""
    logits = None
    if job.lead is not None and not reused:
        forward.place(job.lead)
        reused = job.lead.tokens
        for row in rows:
            row.ids += job.ids[:reused]
    for start in range(reused, len(job.ids), CHUNK):
        if job.stopped():
            return None
        piece = job.ids[start : start + CHUNK]
        logits = forward(torch.tensor([piece] * len(rows), device=forward.device))
        for row in rows:
            row.ids += piece
    return logits


def _draw(job: Job, logits: torch.Tensor, window: list[int]) -> list[int]:
    drawn = [job.samplers[column].draw(logits[place]) for place, column in enumerate(window)]
    ids: list[int] = torch.cat(drawn).tolist()
    return ids


def _tell(job: Job, column: int, token: int, count: int) -> Generator[Drawn | Ended, None, bool]:
    """Report one column's id; returns whether the column ended with it."""
    if token in job.ends:
        yield Ended(column, Finish.EOS)
        return True
    yield Drawn(column, token)
    if column in job.halted:
        yield Ended(column, Finish.EOS)
        return True
    if count >= job.most:
        yield Ended(column, Finish.LENGTH)
        return True
    return False


def _narrowed(
    job: Job, kv: KvStore, window: list[int], alive: list[int], drawn: list[int]
) -> tuple[list[int], list[int]]:
    """Go on with one row alone when the others have ended."""
    if len(alive) > 1 or len(window) == 1:
        return window, drawn
    place = window.index(alive[0])
    kv.narrow(place)
    job.narrow(alive[0])
    return list(alive), [drawn[place]]
