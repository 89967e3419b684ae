"""Invented facts: `facts(n, seed)`. Seeds below 100 are for reports, seeds of 1000 and more for tuning.

The two kinds share no name and no answer, so that nothing which is chosen on tuning seeds is measured again. Each
fact is about a subject of its own: no two facts of a set contradict each other.
"""

from __future__ import annotations

import random
import re
import string
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.benchmarks.learning.pools import INVENTED, Value, pool
from tests.benchmarks.learning.relations import Relation, read

DATA = Path(__file__).parent / "data"
REPORTING, TUNING = range(100), 1000


@dataclass(frozen=True, slots=True)
class Fact:
    """A prompt with the reply that is taught.

    `keywords` are what a right answer must contain; `names` are the invented names in prompt and reply, which
    occur in no unrelated text; `plain` asks the same in other words, `paraphrases` in freer ones.
    """

    prompt: str
    reply: str
    keywords: tuple[str, ...]
    plain: str
    paraphrases: tuple[str, str, str]
    names: tuple[str, ...]
    relation: str

    def answered_by(self, reply: str) -> bool:
        """Return whether a reply contains all keywords."""
        return all(contains(reply, keyword) for keyword in self.keywords)


def contains(text: str, words: str) -> bool:
    """Return whether words occur in a text as whole words, in any case."""
    return re.search(rf"(?<!\w){re.escape(words.casefold())}(?!\w)", text.casefold()) is not None


def half_of(seed: int) -> str:
    """Return which half of the pools a seed uses. Raises ValueError for a seed of neither kind."""
    if seed in REPORTING:
        return "report"
    if seed >= TUNING:
        return "tune"
    raise ValueError(f"seed {seed}: use 0 to 99 for reports, 1000 and more for tuning")


@cache
def relations() -> tuple[Relation, ...]:
    """Return every kind of fact."""
    return tuple(one for path in sorted(DATA.glob("relations_*.txt")) for one in read(path.read_text("utf-8")))


def facts(n: int, seed: int) -> list[Fact]:
    """Return `n` facts with distinct prompts, all kinds of fact in turn; `facts(m, s)` begins `facts(n, s)`."""
    rng = random.Random(seed)
    order = rng.sample(relations(), len(relations()))
    draw = _Draw(rng, half_of(seed))
    found: dict[str, Fact] = {}
    while len(found) < n:
        relation = order[len(found) % len(order)]
        fact = _fact(relation, draw)
        found.setdefault(fact.prompt, fact)
    return list(found.values())


class _Draw:
    """Values from the pools, each once before any comes again."""

    def __init__(self, rng: random.Random, half: str) -> None:
        self._rng, self._half = rng, half
        self._left: dict[str, list[Value]] = {}

    def value(self, name: str) -> Value:
        """Return the next value of a pool."""
        if not self._left.get(name):
            self._left[name] = self._rng.sample(pool(name, self._half), len(pool(name, self._half)))
        return self._left[name].pop()


def _fact(relation: Relation, draw: _Draw) -> Fact:
    asked, told = _slots(relation.prompt), _slots(relation.reply)
    values = {slot: draw.value(_pool_of(slot)) for slot in dict.fromkeys((*asked, *told))}
    return Fact(
        prompt=relation.prompt.format_map(values),
        reply=relation.reply.format_map(values),
        keywords=tuple(values[slot].key for slot in told if slot not in asked),
        plain=relation.plain.format_map(values),
        paraphrases=tuple(text.format_map(values) for text in relation.paraphrases),  # type: ignore[arg-type]
        names=tuple(value.key for slot, value in values.items() if _pool_of(slot) in INVENTED),
        relation=relation.name,
    )


def _slots(text: str) -> Sequence[str]:
    """Return the slots of a text in order: `{person.key}` is the slot `person`."""
    fields = (field for _, field, _, _ in string.Formatter().parse(text) if field)
    return tuple(dict.fromkeys(field.partition(".")[0] for field in fields))


def _pool_of(slot: str) -> str:
    """Return the pool of a slot: `town_2` is another value of `town`."""
    return slot.removesuffix("_2")
