"""The store's part for looking: pages of a filter, counts, histograms. Nothing here loads the whole corpus."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from corpora.dialog import Exchange, Status
from corpora.errors import UsageError
from corpora.store.matching import condition_of
from corpora.store.planning import PlanningPart
from corpora.store.rows import readable_kept
from corpora.store.searching import words_of
from corpora.store.values import Bar, Filter, KeptReply, Stats
from corpora.store.versions import name_of

ORDERS = {"newest": "id DESC", "oldest": "id", "longest": "length DESC, id DESC", "shortest": "length, id"}
DAY = 86_400.0
AT_ONCE = 500
_LEARNED = (
    f"SELECT {name_of('adapter')}, count(*) FROM (SELECT trained.adapter, trained.at FROM trained JOIN exchanges"
    " ON id = exchange_id WHERE at >= edited) GROUP BY adapter ORDER BY max(at) DESC"
)
_KEPT = (
    "SELECT id, conversation_id, source, created, finish = 'imported' AND edited = created, tags FROM exchanges"
    " WHERE status = 'kept' ORDER BY id"
)
_TITLES = "SELECT id, title FROM conversations WHERE id IN ({})"
_SEEN = "SELECT DISTINCT exchange_id FROM trained JOIN exchanges ON id = exchange_id WHERE at >= edited"


class BrowsingPart(PlanningPart):
    """Pages and counts."""

    def _condition(self, where: Filter, *, counting: bool = False) -> tuple[str, list[object]]:
        return condition_of(where, self._plan(words_of(where.text), counting=counting))

    def count(self, where: Filter = Filter()) -> int:
        """How many exchanges match."""
        condition, values = self._condition(where, counting=True)
        return int(self._one(f"SELECT count(*) FROM exchanges WHERE {condition}", values))

    def page(
        self, where: Filter = Filter(), *, limit: int = 200, offset: int = 0, order: str = "newest"
    ) -> list[Exchange]:
        """A page of matches; `order` is newest, oldest, longest or shortest."""
        if order not in ORDERS:
            raise UsageError(f"There is no order {order!r:.40}.", remedy=f"Use one of {', '.join(ORDERS)}.")
        self.index_in_background()
        condition, values = self._condition(where)
        by = ORDERS[order]
        # The ids first: an offset then skips index entries, not rows with their texts.
        found = self._read(
            f"SELECT id FROM exchanges WHERE {condition} ORDER BY {by} LIMIT ? OFFSET ?", (*values, limit, offset)
        )
        return self.exchanges([row[0] for row in found])

    def walk(self, where: Filter = Filter(), at_once: int = 500) -> Iterator[Exchange]:
        """All matches, the oldest first, read in slices."""
        condition, values = self._condition(where)
        after = 0
        while rows := self._read(
            f"SELECT id FROM exchanges WHERE id > ? AND {condition} ORDER BY id LIMIT ?", (after, *values, at_once)
        ):
            yield from self.exchanges([row[0] for row in rows])
            after = rows[-1][0]

    def ids(self, where: Filter = Filter()) -> list[int]:
        """The ids of all matches, the oldest first."""
        condition, values = self._condition(where)
        return [row[0] for row in self._read(f"SELECT id FROM exchanges WHERE {condition} ORDER BY id", values)]

    def kept_replies(self) -> tuple[KeptReply, ...]:
        """All kept replies without their texts, the oldest first."""
        return tuple(readable_kept(self._read(_KEPT)))

    def titles(self, conversation_ids: Sequence[int]) -> dict[int, str]:
        """The titles of conversations by their ids."""
        found: dict[int, str] = {}
        for start in range(0, len(conversation_ids), AT_ONCE):
            some = conversation_ids[start : start + AT_ONCE]
            found.update(self._read(_TITLES.format(", ".join("?" * len(some))), some))
        return found

    def stats(self) -> Stats:
        """Counts over everything."""
        statuses = dict(self._read("SELECT status, count(*) FROM exchanges GROUP BY status"))
        return Stats(
            exchanges=sum(statuses.values()),
            by_status={status: statuses.get(status, 0) for status in Status},
            by_source=dict(self._read("SELECT source, count(*) FROM exchanges GROUP BY source ORDER BY 2 DESC")),
            corrected=self._one("SELECT count(*) FROM exchanges WHERE original IS NOT NULL"),
            preferences=self._one("SELECT count(*) FROM preferences"),
            verdicts=self._one("SELECT count(*) FROM verdicts"),
            trained=self._one(f"SELECT count(*) FROM ({_SEEN})"),
            conversations=self._one("SELECT count(*) FROM conversations"),
        )

    def tags(self) -> dict[str, int]:
        """Tags in use and how many exchanges have each, the most used first."""
        return dict(self._read("SELECT tag, count(*) FROM tags GROUP BY tag ORDER BY 2 DESC, 1"))

    def adapters(self) -> dict[str, int]:
        """The versions that wrote replies (`base`, `NAME/vN`, `NAME/vN (removed)`) and how many each."""
        counted = "SELECT adapter, count(*) AS count FROM exchanges GROUP BY adapter"
        return dict(self._read(f"SELECT {name_of('adapter')}, count FROM ({counted}) ORDER BY 2 DESC, 1"))

    def scripts(self) -> dict[str, int]:
        """Scripts of the replies and how many are in each."""
        return dict(self._read("SELECT script, count(*) FROM exchanges GROUP BY script ORDER BY 2 DESC, 1"))

    def learned(self) -> dict[str, int]:
        """Versions and how many exchanges each was trained on as they are now, the newest version first."""
        return dict(self._read(_LEARNED))

    def ratings(self) -> dict[int, int]:
        """Stars (1 to 5) in use and how many exchanges have them."""
        return dict(self._read("SELECT rating, count(*) FROM exchanges WHERE rating IS NOT NULL GROUP BY rating"))

    def lengths(self, bars: int = 20) -> list[Bar]:
        """Histogram of the characters of prompt and reply; the last bar holds all longer ones, too."""
        total = self.count()
        if not total:
            return []
        longest = self._one("SELECT length FROM exchanges ORDER BY length LIMIT 1 OFFSET ?", (int(total * 0.98),))
        width = max(1, -(-int(longest) // bars))
        rows = self._read("SELECT min(length / ?, ?), count(*) FROM exchanges GROUP BY 1", (width, bars - 1))
        counts = dict(rows)
        return [Bar(number * width, counts.get(number, 0)) for number in range(bars)]

    def growth(self, step: float = DAY) -> list[Bar]:
        """Exchanges added in each span of `step` seconds that has any, the oldest first."""
        rows = self._read("SELECT CAST(created / ? AS INTEGER), count(*) FROM exchanges GROUP BY 1", (step,))
        return [Bar(number * step, count) for number, count in rows]
