"""What an invented fact can be about: a prompt, its reply, and three other ways to ask, written by hand.

Slots are pools (see pools.py). The slots of the prompt name the subject; those that only the reply has are the answer.
A number after a slot's name (`town_2`) is another value of the same pool.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Relation:
    """One kind of fact."""

    name: str
    prompt: str
    reply: str
    paraphrases: tuple[str, str, str]


def read(text: str) -> tuple[Relation, ...]:
    """Read blocks of a name, a prompt, a reply and three paraphrases, each on a line."""
    blocks = [block.splitlines() for block in text.strip().split("\n\n")]
    return tuple(Relation(name, prompt, reply, (one, two, three)) for name, prompt, reply, one, two, three in blocks)
