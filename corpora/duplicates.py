"""Duplicates, near duplicates and conflicting answers, in one walk and within bounded memory.

Near duplicates are found by the few smallest hashes of a text's pieces: texts that share enough of them
are compared as a whole. Holds hashes and ids, never the texts.
"""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from rapidfuzz import fuzz

from corpora.dialog import Exchange, Status
from corpora.findings import Finding, Fix, Kind
from corpora.store.values import content_key, folded

SKETCH = 6
SHARED = 2
COMPARED = 6000
MOST_IN_A_BUCKET = 50
_WORDS = re.compile(r"\w+")


class Duplicates:
    """Remembers what it was shown; `look` tells what the next exchange repeats or contradicts."""

    def __init__(self, text_of: Callable[[int], str | None], likeness: float = 92.0) -> None:
        self._text_of = text_of
        self._likeness = likeness
        self._chains: dict[int, int] = {}
        self._same: dict[int, int] = {}
        self._asked: dict[int, int] = {}
        self._buckets: dict[int, list[int]] = {}

    def look(self, exchange: Exchange) -> Iterator[Finding]:
        """Findings on an exchange against those before it."""
        before = self._before(exchange)
        asked = _digest([before, exchange.system, folded(exchange.prompt)])
        chain = _digest([str(asked), folded(exchange.reply)])
        self._chains[exchange.id] = chain
        first = self._same.setdefault(chain, exchange.id)
        if first != exchange.id:
            yield Finding(exchange.id, Kind.DUPLICATE, f"it repeats exchange {first}", Fix.REJECT, other=first)
            return
        if exchange.status is Status.KEPT:
            other = self._asked.setdefault(asked, exchange.id)
            if other != exchange.id:
                reason = f"exchange {other} gives another answer to the same prompt, and both are kept"
                yield Finding(exchange.id, Kind.CONFLICT, reason, other=other)
                return
        yield from self._near(exchange)

    def _before(self, exchange: Exchange) -> str:
        """What the dialog said up to here; a parent that was not shown stands for itself."""
        if exchange.parent_id is None:
            return ""
        return str(self._chains.get(exchange.parent_id, exchange.parent_id))

    def _near(self, exchange: Exchange) -> Iterator[Finding]:
        text = _whole(exchange)
        sketch = _sketch(text)
        shared = Counter(other for piece in sketch for other in self._buckets.get(piece, ()))
        for other, count in shared.most_common(5):
            if count < min(SHARED, len(sketch)):
                break
            likeness = fuzz.ratio(text, self._text_of(other) or "", score_cutoff=self._likeness)
            if likeness and other != exchange.parent_id:
                reason = f"it is {likeness:.0f}% like exchange {other}"
                yield Finding(exchange.id, Kind.NEAR_DUPLICATE, reason, Fix.REJECT, other=other)
                break
        for piece in sketch:
            bucket = self._buckets.setdefault(piece, [])
            if len(bucket) < MOST_IN_A_BUCKET:
                bucket.append(exchange.id)


def text_to_compare(exchange: Exchange) -> str:
    """What near duplicates are told by."""
    return _whole(exchange)


def _whole(exchange: Exchange) -> str:
    return folded(f"{exchange.prompt}\n{exchange.reply}")[:COMPARED]


def _digest(parts: Sequence[str | None]) -> int:
    """A hash as a number, which takes less memory than its text."""
    return int(content_key(parts)[:16], 16)


def _sketch(text: str) -> list[int]:
    """The smallest hashes of runs of three words; of four letters where words are not told by blanks."""
    words = _WORDS.findall(text)
    if len(words) * 12 < len(text):
        pieces = {text[at : at + 4] for at in range(max(1, len(text) - 3))}
    else:
        pieces = {" ".join(words[at : at + 3]) for at in range(max(1, len(words) - 2))}
    return sorted(zlib.crc32(piece.encode("utf-8", "replace")) for piece in pieces)[:SKETCH]
