"""`eval`: what a version learned, against its parent and the base.

Losses stand in its lineage, measured by its run; replies are asked for here, greedily and from one batch,
and compared with the replies that were kept. Knows nothing of losses' computation.
"""

from __future__ import annotations

from dataclasses import dataclass

from rapidfuzz import fuzz

from corpora.dataset import Row, read_snapshot
from corpora.errors import UsageError
from sessions.client import Client
from sessions.comparing import Comparison
from sessions.lineage import Lineage
from sessions.protocol import BASE, Failed, Sampling
from sessions.training import runs
from sessions.training.events import Scored
from sessions.training.report import GateReport
from tui.verbs.call import Call

SNAPSHOT = runs.SNAPSHOT


@dataclass(frozen=True, slots=True)
class Score:
    """One adapter: the share of replies given back word for word, and the mean likeness (0 to 1) to the kept ones."""

    adapter: str
    exact: float
    likeness: float


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What `eval --json` prints. `losses` are the run's own, mean per trained token; fewer are better."""

    adapter: str
    parent: str
    rows: int
    scores: tuple[Score, ...]
    losses: tuple[Scored, ...]
    gate: GateReport | None


async def evaluate(call: Call) -> int:
    """Ask base, parent and the version for the replies that it was taught."""
    lineage = call.workspace.registry.lineage(call.given.adapter)
    rows = _rows(call, lineage)
    asked = _asked(call, lineage)
    async with call.client(model=call.given.model or lineage.base_model or None) as client:
        await call.ready(client)
        given = []
        for place, row in enumerate(rows, 1):
            call.output.progress(f"row {place} of {len(rows)}")
            given.append(await _answers(client, row, asked))
    scores = tuple(_score(rows, [answers[column] for answers in given], name) for column, name in enumerate(asked))
    return _tell(call, Evaluation(lineage.address, lineage.parent, len(rows), scores, lineage.scores, lineage.gate))


def _rows(call: Call, lineage: Lineage) -> list[Row]:
    path = call.workspace.paths.run(lineage.run) / SNAPSHOT if lineage.run else None
    if path is None or not path.exists():
        raise UsageError(
            f"What {lineage.address} was trained on is not here (it was imported, or its run was removed).",
            remedy="`llama-tui compare` asks it anything; `adapters show` has the figures that it came with.",
        )
    rows = [row for row in read_snapshot(path).rows if row.dialog[-1].role == "assistant"]
    return rows[: call.given.rows] if call.given.rows > 0 else rows


def _asked(call: Call, lineage: Lineage) -> tuple[str, ...]:
    """base, the parent where it is another one and still here, and the version itself."""
    there = {known.address for known in call.workspace.registry.all()}
    parent = (lineage.parent,) if lineage.parent in there else ()
    return (BASE, *parent, lineage.address)


async def _answers(client: Client, row: Row, adapters: tuple[str, ...]) -> list[str]:
    comparison = Comparison(row.dialog[:-1], adapters)
    greedy = Sampling(temperature=0.0, repetition_penalty=1.0, max_new_tokens=_length(row))
    async for event in comparison.ask(client, greedy):
        if isinstance(event, Failed):
            raise event.failure.error()
    return comparison.replies


def _length(row: Row) -> int:
    """Room for the kept reply and half as much again, counted generously in letters."""
    return min(1024, 32 + len(row.dialog[-1].content))


def _score(rows: list[Row], replies: list[str], adapter: str) -> Score:
    kept = [row.dialog[-1].content.strip() for row in rows]
    said = [reply.strip() for reply in replies]
    count = max(1, len(rows))
    exact = sum(one == other for one, other in zip(kept, said, strict=True)) / count
    likeness = sum(fuzz.ratio(one, other) for one, other in zip(kept, said, strict=True)) / 100 / count
    return Score(adapter, round(exact, 4), round(likeness, 4))


def _tell(call: Call, found: Evaluation) -> int:
    if call.output.json:
        call.output.document(found)
        return 0
    call.output.table(
        ("ADAPTER", "GIVEN BACK", "LIKENESS"),
        [(score.adapter, f"{score.exact:.0%}", f"{score.likeness:.3f}") for score in found.scores],
        right=("GIVEN BACK", "LIKENESS"),
    )
    call.output.say(f"Greedy replies to {found.rows} rows of its own snapshot.", "dim")
    if found.losses:
        call.output.say()
        call.output.table(
            ("LOSS ON", "ROWS", "BASE", "PARENT", "THIS"),
            [
                (one.subset, one.examples, *(f"{x:.4f}" for x in (one.base, one.parent, one.new)))
                for one in found.losses
            ],
            right=("ROWS", "BASE", "PARENT", "THIS"),
        )
    if found.gate is not None and not found.gate.passed:
        call.output.note(f"It failed the gate: {' '.join(found.gate.reasons)}", "yellow")
    return 0
