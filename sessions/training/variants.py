"""Kept exchanges from within a chat, by themselves: as they will be asked in a new chat. Torch-free.

A fact told in the fifth exchange of a chat is learnt as what comes after the first four: of five facts
told in one chat, one was given back in a new chat without these variants, five with them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from corpora.dataset import Row


def inner(row: Row) -> Iterator[Row]:
    """A row for each kept exchange of a dialog but its first, with the system prompt and without the history."""
    system = row.dialog[:1] if row.dialog[:1] and row.dialog[0].role == "system" else ()
    said = row.dialog[len(system) :]
    for asked, replied in zip(said[2::2], said[3::2], strict=False):
        if replied.kept:
            yield Row(row.key, (*system, asked, replied), (), row.replay)


def count(rows: Iterable[Row]) -> int:
    """Kept exchanges that stand within chats."""
    return sum(1 for row in rows for _ in inner(row))


def alone(rows: Iterable[Row], most: int) -> tuple[Row, ...]:
    """The variants of a set that has at most `most` of them; of larger sets none, as they learn from context."""
    found = tuple(variant for row in rows for variant in inner(row))
    return found if len(found) <= most else ()
