"""The words of a search: how the trigram index finds them, and how they are looked for in the texts themselves.

The index keeps no positions, so words of more than three letters are candidates that are then looked at;
exchanges that are not indexed yet are looked at alone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_WORD = re.compile(r'"([^"]+)"?|(\S+)')
_ASCII = re.compile(r"[\x01-\x7f]{2,}")
# The reply first: it is longer, so a word that is there mostly stands in it.
_LIKE = "reply LIKE ? ESCAPE '\\' OR prompt LIKE ? ESCAPE '\\'"
_HOLDS = "instr(reply, ?) OR instr(prompt, ?)"
# More bytes than characters: where all is ASCII, nothing else needs to be looked for.
_WIDE = "length(CAST(prompt AS BLOB)) + length(CAST(reply AS BLOB)) > length"
# LIKE tries each place where the first letter stands: the rarer it is, the sooner a text is done with.
_FREQUENT_FIRST = " etaoinsrhldcumfpgywbvkxjqz"
MOST_GRAMS = 24
GRAM = 3


@dataclass(frozen=True, slots=True)
class Word:
    """One word of a search, or several in quotes."""

    text: str

    @property
    def grams(self) -> tuple[str, ...]:
        """As many of its trigrams as cover it, each once; none where it is too short. What they find is looked at."""
        last = len(self.text) - GRAM
        if last < 0:
            return ()
        found = dict.fromkeys(self.text[at : at + GRAM] for at in (*range(0, last, GRAM), last))
        return tuple(found)[:MOST_GRAMS]

    @property
    def caseless(self) -> bool:
        """True for Chinese, Persian, digits: what has no upper case."""
        return self.text.lower() == self.text.upper()

    @property
    def patterns(self) -> tuple[str, ...]:
        """What LIKE looks for, which ignores the case of ASCII alone: other alphabets are asked for in each case."""
        text = self.text
        forms = (text,) if text.isascii() else (text, text.lower(), text.upper(), text.capitalize())
        return tuple(f"%{_escaped(form)}%" for form in dict.fromkeys(forms))

    @property
    def haste(self) -> tuple[int, int]:
        """How soon a text without it is done with, compared with other words."""
        part = _rare_part(self.text) or self.text
        return _rarity(part[0]), len(self.text)

    def looked_for(self, *, common: bool = False) -> tuple[str, list[object]]:
        """The condition that looks at prompt and reply themselves, and its values.

        Most texts without the word are soon done with; where it is `common` there are few such texts.
        """
        if self.text.isascii():
            found, values = self._liked(common)
            return f"({found})", values
        found, values = (_HOLDS, list[object]([self.text] * 2)) if self.caseless else self._liked(common)
        return f"({_WIDE} AND ({found}))", values

    def _liked(self, common: bool) -> tuple[str, list[object]]:
        found = " OR ".join([_LIKE] * len(self.patterns))
        values: list[object] = [pattern for pattern in self.patterns for _ in range(2)]
        rare = "%%" if common else f"%{_escaped(_rare_part(self.text))}%"
        return (f"({_LIKE}) AND ({found})", [rare, rare, *values]) if rare != "%%" else (found, values)


@dataclass(frozen=True, slots=True)
class Plan:
    """A query of the index for some of the words, and the last exchange that it is asked about; those after
    it are looked at. Without a query all are; `common` words are looked for straight away."""

    query: str = ""
    upto: int = 0
    common: bool = False


LOOK = Plan()
COMMON = Plan(common=True)


def words_of(text: str) -> list[Word]:
    """The words of a search."""
    return [Word(quoted or bare) for quoted, bare in _WORD.findall(text.replace("\0", " "))]


def looked_for(words: Sequence[Word], *, common: bool = False) -> tuple[str, list[object]]:
    """All words looked for in the texts, first the one that most texts are soonest done with."""
    found = [word.looked_for(common=common) for word in sorted(words, key=lambda word: word.haste, reverse=True)]
    return " AND ".join(condition for condition, _ in found) or "1", [value for _, values in found for value in values]


def found_by(words: Sequence[Word], plan: Plan) -> tuple[str, list[object]]:
    """The condition for all words, as planned, and its values."""
    texts, values = looked_for(words, common=plan.common)
    if not plan.query:
        return texts, values
    # The index alone is right about three letters; of longer words it says only that the trigrams are there.
    unsure, more = looked_for([word for word in words if len(word.text) != GRAM])
    candidates = (
        "id IN (SELECT rowid FROM exchange_text WHERE exchange_text MATCH ?"
        f" UNION ALL SELECT id FROM exchanges WHERE id > ? AND {texts})"
    )
    return f"{candidates} AND {unsure}", [plan.query, plan.upto, *values, *more]


def all_of(grams: Sequence[str]) -> str:
    """A query of the index for texts that hold all of the trigrams."""
    return "(" + " AND ".join(_quoted(gram) for gram in grams) + ")"


def any_of(grams: Sequence[str]) -> str:
    """A query of the index for texts that hold one of the trigrams."""
    return "(" + " OR ".join(_quoted(gram) for gram in grams) + ")"


def _quoted(gram: str) -> str:
    return '"' + gram.replace('"', '""') + '"'


def _rare_part(text: str) -> str:
    """What every text with the word holds and most others are soon seen not to; empty where it is the word itself."""
    parts = [run.group()[at:] for run in _ASCII.finditer(text) for at in range(len(run.group()) - 1)]
    parts = [part for part in parts if len(part) >= GRAM] or parts
    best = max(parts, key=lambda part: (_rarity(part[0]), len(part)), default="")
    return "" if best == text else best


def _rarity(letter: str) -> int:
    at = _FREQUENT_FIRST.find(letter.lower())
    return len(_FREQUENT_FIRST) if at < 0 else at


def _escaped(text: str) -> str:
    return re.sub(r"([\\%_])", r"\\\1", text)
