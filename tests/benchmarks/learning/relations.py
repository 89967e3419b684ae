"""What an invented fact can be about: a prompt, its reply, and other ways to ask, written by hand.

Slots are pools (see pools.py). The slots of the prompt name the subject; those that only the reply has are the answer.
A number after a slot's name (`town_2`) is another value of the same pool.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Relation:
    """One kind of fact: `plain` asks in other words, each of `paraphrases` from another point of view."""

    name: str
    prompt: str
    reply: str
    plain: str
    paraphrases: tuple[str, str, str]


def read(text: str) -> tuple[Relation, ...]:
    """Read blocks of a name, a prompt, a reply, a plain and three freer paraphrases, each on a line."""
    blocks = [block.splitlines() for block in text.strip().split("\n\n")]
    return tuple(
        Relation(name, prompt, reply, plain, (one, two, three))
        for name, prompt, reply, plain, one, two, three in blocks
    )
