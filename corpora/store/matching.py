"""Filters as SQL conditions. Words of three letters and more go through the trigram index.

The index keeps no positions, so it gives candidates that LIKE then looks at; exchanges that are not indexed
yet are looked at by LIKE alone.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from corpora.store.values import Filter, PairFilter

_WORD = re.compile(r'"([^"]+)"?|(\S+)')
_SEEN = "SELECT 1 FROM trained WHERE exchange_id = exchanges.id AND at >= exchanges.edited"
_LIKE = "prompt LIKE ? ESCAPE '\\' OR reply LIKE ? ESCAPE '\\'"
# Of the dialog only what was said: every one holds the words `role` and `content`.
_PAIR_LIKE = (
    "chosen LIKE ? ESCAPE '\\' OR rejected LIKE ? ESCAPE '\\' OR CASE WHEN json_valid(dialog) THEN EXISTS"
    " (SELECT 1 FROM json_each(dialog) WHERE json_extract(value, '$.content') LIKE ? ESCAPE '\\') END"
)
MOST_GRAMS = 24


@dataclass(frozen=True, slots=True)
class Word:
    """One word of a search: its query of the index (empty where it is too short), and what LIKE looks for."""

    query: str
    patterns: tuple[str, ...]

    @property
    def like(self) -> str:
        """The condition that looks at the texts themselves; its values are `values`."""
        return f"({' OR '.join([_LIKE] * len(self.patterns))})"

    @property
    def values(self) -> list[object]:
        """Each pattern for the prompt and for the reply."""
        return [pattern for pattern in self.patterns for _ in range(2)]

    def condition(self, *, indexed: bool = True) -> tuple[str, list[object]]:
        """The whole condition on `exchanges`, by the index where that helps, and its values."""
        if not self.query or not indexed:
            return self.like, self.values
        found = (
            "id IN (SELECT rowid FROM exchange_text WHERE exchange_text MATCH ?"
            f" UNION ALL SELECT id FROM exchanges WHERE id > (SELECT upto FROM indexed) AND {self.like})"
        )
        return f"({found} AND {self.like})", [self.query, *self.values, *self.values]


def words_of(text: str) -> list[Word]:
    """The words of a search, each in its own or in upper and lower case."""
    return [_word(quoted or bare) for quoted, bare in _WORD.findall(text.replace("\0", " "))]


def condition_of(where: Filter, common: Collection[str] = ()) -> tuple[str, list[object]]:
    """What stands after WHERE, and its values. Words whose `query` is in `common` do without the index."""
    conditions, values = ["1"], list[object]()
    for condition, more in [*_listed(where), *_bounded(where), *_told(where), *_said(where, common)]:
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
        conditions.append(f"({' OR '.join([_PAIR_LIKE] * len(word.patterns))})")
        values += [pattern for pattern in word.patterns for _ in range(3)]
    return " AND ".join(conditions), values


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
        ("adapter = ?", where.adapter or None),
        (f"EXISTS ({_SEEN} AND adapter = ?)", where.trained_in or None),
    )
    return [(condition, [value]) for condition, value in bounds if value is not None]


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


def _said(where: Filter, common: Collection[str]) -> list[tuple[str, list[object]]]:
    return [word.condition(indexed=word.query not in common) for word in words_of(where.text)]


def _word(word: str) -> Word:
    grams = list(dict.fromkeys(word[at : at + 3] for at in range(len(word) - 2)))[:MOST_GRAMS]
    query = " AND ".join('"' + gram.replace('"', '""') + '"' for gram in grams)
    return Word(query, tuple(f"%{_escaped(form)}%" for form in _forms(word)))


def _forms(word: str) -> list[str]:
    """LIKE ignores the case of ASCII alone, so other alphabets are asked for in each case."""
    if word.isascii():
        return [word]
    return list(dict.fromkeys((word, word.lower(), word.upper(), word.capitalize())))


def _escaped(text: str) -> str:
    return re.sub(r"([\\%_])", r"\\\1", text)


def _marks(values: tuple[object, ...]) -> str:
    return ", ".join("?" * len(values))
