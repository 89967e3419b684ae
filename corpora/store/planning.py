"""How a search is best done: through the index, or by looking at the texts. Both find the same."""

from __future__ import annotations

import time
from collections.abc import Sequence

from corpora.store.indexing import IndexingPart
from corpora.store.searching import COMMON, GRAM, LOOK, Plan, Word, all_of, any_of, looked_for

# Rows that the index gives are fetched one by one, so above this share looking at all is sooner.
SHARE_AT_MOST = 0.3
# A page of very common words is full after a few exchanges; the index would first list all of them.
MOST = 15_000
ENDINGS = 200
SAMPLE = 400
_TERMS = "SELECT term, doc FROM exchange_terms WHERE term >= ? AND term <= ? LIMIT ?"
_MANY = "SELECT count(*) FROM (SELECT 1 FROM exchange_text WHERE exchange_text MATCH ? LIMIT ?)"
_SPAN = "SELECT upto, (SELECT max(id) FROM exchanges) FROM indexed"
_NEWEST = "SELECT count(*) FROM exchanges WHERE id > max(?, (SELECT max(id) FROM exchanges) - ?) AND"
# Texts end with two of these marks.
NOWHERE = "\2\2\2"
LAST = "\U0010ffff"


class PlanningPart(IndexingPart):
    """Chooses how words are searched."""

    def _plan(self, words: Sequence[Word], *, counting: bool = False) -> Plan:
        """The index where it gives few candidates, or with `counting` where it alone is right about the words."""
        if not words:
            return LOOK
        self._searched = time.monotonic()
        self.index_in_background()
        upto, highest = (
            int(found or 0) for found in self._read("SELECT upto, (SELECT max(id) FROM exchanges) FROM indexed")[0]
        )
        if self._common_among_new(words, upto, highest):
            return COMMON
        if upto < highest / 2:
            return LOOK
        queries = [query for query in map(self._query, words) if query]
        if not queries:
            return LOOK
        query, most = " AND ".join(queries), int(highest * SHARE_AT_MOST)
        if counting and all(len(word.text) == GRAM for word in words):
            most = highest
        elif not counting:
            most = min(most, MOST)
        return COMMON if self._one(_MANY, (query, most + 1)) > most else Plan(query, upto)

    def _query(self, word: Word) -> str:
        """What to ask the index about one word; empty where it cannot help."""
        if len(word.text) >= GRAM:
            return all_of(word.grams)
        # The index folds case by rules of its own, so only plain letters can be compared with its terms here.
        if len(word.text) < 2 or not (word.caseless or word.text.isascii()):
            return ""
        begin = word.text.lower()
        terms = self._read(_TERMS, (begin, begin + LAST, ENDINGS))
        if len(terms) == ENDINGS or sum(count for _, count in terms) > MOST:
            return ""
        return any_of([gram for gram, _ in terms] or [NOWHERE])

    def _common_among_new(self, words: Sequence[Word], upto: int, highest: int) -> bool:
        """Whether many of the exchanges that are not indexed yet, going by the newest, hold the words."""
        if highest - upto <= SAMPLE:
            return False
        condition, values = looked_for(words)
        return int(self._one(f"{_NEWEST} {condition}", (upto, SAMPLE, *values))) > SAMPLE * SHARE_AT_MOST
