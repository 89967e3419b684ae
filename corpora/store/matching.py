"""Filters as SQL conditions. Holds no statements; the words of a search are those of `searching`."""

from __future__ import annotations

import re

from corpora.store.searching import LOOK, Plan, found_by, words_of
from corpora.store.values import Filter, PairFilter
from corpora.store.versions import IDENTITY_OF

_SEEN = "SELECT 1 FROM trained WHERE exchange_id = exchanges.id AND at >= exchanges.edited"
# Of the dialog only what was said: every one holds the words `role` and `content`. A dialog is read as JSON only
# where its text holds the word, for words that JSON writes as they are.
_REPLIES = "chosen LIKE ? ESCAPE '\\' OR rejected LIKE ? ESCAPE '\\'"
_SAID = (
    "CASE WHEN json_valid(dialog) THEN EXISTS"
    " (SELECT 1 FROM json_each(dialog) WHERE json_extract(value, '$.content') LIKE ? ESCAPE '\\') END"
)
_ESCAPED = re.compile(r'["\\\x00-\x1f]')


def condition_of(where: Filter, plan: Plan = LOOK) -> tuple[str, list[object]]:
    """What stands after WHERE, and its values; the words of the filter's text are found as planned."""
    conditions, values = ["1"], list[object]()
    for condition, more in [*_listed(where), *_bounded(where), *_told(where), found_by(words_of(where.text), plan)]:
        conditions.append(condition)
        values += more
    return " AND ".join(conditions), values


def pair_condition_of(where: PairFilter) -> tuple[str, list[object]]:
    """The same for preference pairs, which are few enough to be looked at one by one."""
    conditions, values = ["1"], list[object]()
    if where.sources:
        conditions.append(f"source IN ({_marks(where.sources)})")
        values += where.sources
    for word in words_of(where.text):
        found = [_said_in_pair(pattern) for pattern in word.patterns]
        conditions.append(f"({' OR '.join(condition for condition, _ in found)})")
        values += [value for _, some in found for value in some]
    return " AND ".join(conditions), values


def _said_in_pair(pattern: str) -> tuple[str, list[object]]:
    if _ESCAPED.search(pattern):
        return f"{_REPLIES} OR {_SAID}", [pattern] * 3
    return f"{_REPLIES} OR (dialog LIKE ? AND {_SAID})", [pattern] * 4


def _listed(where: Filter) -> list[tuple[str, list[object]]]:
    """Fields with several allowed values."""
    found: list[tuple[str, list[object]]] = []
    columns = (("status", where.statuses), ("source", where.sources), ("script", where.scripts))
    for column, allowed in columns:
        if allowed:
            found.append((f"{column} IN ({_marks(allowed)})", list(allowed)))
    return found + [("id IN (SELECT exchange_id FROM tags WHERE tag = ?)", [tag]) for tag in where.tags]


def _bounded(where: Filter) -> list[tuple[str, list[object]]]:
    """Fields that one value bounds."""
    bounds: tuple[tuple[str, object], ...] = (
        ("created >= ?", where.since),
        ("created < ?", where.until),
        ("length >= ?", where.shortest),
        ("length <= ?", where.longest),
        ("conversation_id = ?", where.conversation_id),
        (f"adapter = {IDENTITY_OF}", where.adapter or None),
        (f"EXISTS ({_SEEN} AND adapter = {IDENTITY_OF})", where.trained_in or None),
    )
    return [(condition, [value] * condition.count("?")) for condition, value in bounds if value is not None]


def _told(where: Filter) -> list[tuple[str, list[object]]]:
    """Yes-or-no fields, and the rating."""
    found: list[tuple[str, list[object]]] = []
    if where.rating is not None:
        found.append(_rated(*where.rating))
    if where.corrected is not None:
        found.append((f"original IS {'NOT ' if where.corrected else ''}NULL", []))
    if where.trained is not None:
        found.append((f"{'' if where.trained else 'NOT '}EXISTS ({_SEEN})", []))
    return found


def _rated(fewest: int, most: int) -> tuple[str, list[object]]:
    """Rows without a rating are not in the index, so they are asked for only where they are wanted."""
    stars: tuple[str, list[object]] = ("rating BETWEEN ? AND ?", [fewest, most])
    return stars if fewest else (f"(rating IS NULL OR {stars[0]})", stars[1])


def _marks(values: tuple[object, ...]) -> str:
    return ", ".join("?" * len(values))
