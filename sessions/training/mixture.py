"""What each optimizer step trains on: new rows with a rewording each, earlier rows, anchors and neighbours.

The rows of a step depend on the seed, the step and the state of the rows alone, so that a resumed run repeats them.
Knows nothing of models or files.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import TypeVar

from sessions.training.objective import TrainRow
from sessions.training.schedule import Portions

REPRODUCED = 0.9
"""A reply counts as reproduced when its least likely token has at least this probability."""
SURE = 0.8
"""From this probability of its least likely token on, a row is trained mostly in its rewordings."""
UNSURE_SHARE = 0.75
"""Of the rows of a step, the share that is taken from those that are not reproduced yet."""
SKIPPED_SHARE = 0.7
"""Of the times that a well-known row is chosen, the share in which two of its rewordings are trained instead."""
Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Lesson:
    """One kept row: its own wording, and others of the same prompt. `earlier`: an earlier run trained on it."""

    row: TrainRow
    rewordings: tuple[TrainRow, ...] = ()
    earlier: bool = False


@dataclass(slots=True)
class Mixture:
    """All rows of a run. `least` holds, by lesson, the probability of the least likely token when last trained."""

    lessons: Sequence[Lesson]
    anchors: Sequence[TrainRow]
    close_anchors: Sequence[int]
    """Indices of the anchors whose prompt has the form of a new one."""

    neighbours: Sequence[TrainRow]
    portions: Portions
    seed: int
    by_need: bool = True
    """Prefer new rows that are not reproduced yet; else each comes once per pass."""

    least: dict[int, float] = field(default_factory=dict)
    drift: dict[int, float] = field(default_factory=dict)
    """By anchor, the KL to the base in nats per token when it was last trained."""

    new: list[int] = field(init=False)
    earlier: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.new = [index for index, lesson in enumerate(self.lessons) if not lesson.earlier]
        self.earlier = [index for index, lesson in enumerate(self.lessons) if lesson.earlier]

    @property
    def least_likely(self) -> float:
        """The probability of the least likely token of all rows when they were last trained; 0 for unseen ones.

        Earlier rows count only where they are replayed.
        """
        trained = self.new + self.earlier if self.portions.earlier else self.new
        return min((self.least.get(index, 0.0) for index in trained), default=0.0)

    @property
    def seen(self) -> set[int]:
        """The rows that were trained on at least once."""
        return set(self.least)

    @property
    def reproduced_count(self) -> int:
        """The number of rows that were reproduced when they were last trained."""
        return sum(self.least.get(index, 0.0) >= REPRODUCED for index in range(len(self.lessons)))

    def at(self, step: int) -> list[TrainRow]:
        """Return the rows of a step, counted from 1."""
        random = Random(f"{self.seed}:{step}")
        rows = []
        count = self.portions.new
        chosen = self._chosen(self.new, count, random) if self.by_need else _turn(self.new, count, step, self.seed)
        for index in chosen:
            lesson = self.lessons[index]
            known = self.least.get(index, 0.0) >= SURE and random.random() < SKIPPED_SHARE
            if known and len(lesson.rewordings) > 1:
                rows += random.sample(lesson.rewordings, 2)
                continue
            rows.append(lesson.row)
            if lesson.rewordings:
                rows.append(random.choice(lesson.rewordings))
        rows += [self.lessons[index].row for index in self._chosen(self.earlier, self.portions.earlier, random)]
        rows += [replace(self.anchors[index], source=index) for index in self._anchors(step)]
        return rows + _turn(self.neighbours, self.portions.neighbours, step, self.seed)

    def note(self, row: TrainRow, found: float) -> None:
        """Record the result of a row in the step that just trained on it; rewordings and neighbours do not count.

        `found` is the probability of the least likely token of a reply, or the KL per token of an anchor.
        """
        if row.kind == "anchor" and row.source >= 0:
            self.drift[row.source] = found
        elif row.kind in ("new", "earlier"):
            self.least[row.source] = found

    def _anchors(self, step: int) -> list[int]:
        """Choose a third of the anchors by the largest drift, a third by form, and the rest in turn."""
        count = self.portions.anchors
        worst = sorted(self.drift, key=lambda index: -self.drift[index])[: count // 3]
        close = _turn(self.close_anchors, count // 3, step, self.seed)
        rest = _turn(range(len(self.anchors)), count - count // 3 * 2, step, self.seed + 1)
        return list(dict.fromkeys([*worst, *close, *rest]))

    def _chosen(self, indices: Sequence[int], count: int, random: Random) -> list[int]:
        """Choose rows, most of them from those that are not reproduced yet."""
        if count >= len(indices):
            return list(indices)
        unsure = [index for index in indices if self.least.get(index, 0.0) < REPRODUCED]
        chosen = random.sample(unsure, min(len(unsure), math.ceil(count * UNSURE_SHARE)))
        rest = [index for index in indices if index not in set(chosen)]
        return chosen + random.sample(rest, count - len(chosen))


def _turn(items: Sequence[Item], count: int, step: int, seed: int) -> list[Item]:
    """Return `count` items: every item comes once per pass, each pass in another order."""
    if not items:
        return []
    found = []
    for place in range((step - 1) * count, step * count):
        turn, at = divmod(place, len(items))
        found.append(items[_order(len(items), f"{seed}:{turn}")[at]])
    return found


def _order(count: int, seed: str) -> list[int]:
    order = list(range(count))
    Random(seed).shuffle(order)
    return order
