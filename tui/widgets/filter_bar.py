"""What of the exchanges is shown: the bar's query, and a status by its tab. Makes a `Filter`."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from corpora import queries
from corpora.dialog import Status
from corpora.store import Filter, PairFilter
from tui.widgets.query_bar import ALL, PAIRS, QueryBar


class FilterBar(QueryBar[Filter]):
    """Exchanges: words and `key:value` words; `status:` words stand above the tab."""

    PLACEHOLDER: ClassVar[str] = "/ words, tag:x rating:>=4 len:>200 … (f: all filters)"

    def __init__(self, *, id: str | None = None) -> None:
        self._status: Status | None = None
        super().__init__(id=id)

    def read(self, query: str) -> Filter:
        """The filter of a query."""
        return queries.parse(query)

    @property
    def where(self) -> Filter:
        """The filter as it stands."""
        if self._status is None or self._where.statuses:
            return self._where
        return replace(self._where, statuses=(self._status,))

    @property
    def status(self) -> Status | None:
        """The one status that is shown."""
        statuses = self.where.statuses
        return statuses[0] if len(statuses) == 1 else None

    @property
    def tab(self) -> str:
        """The status that is shown, or all."""
        return self.status.value if self.status else ALL

    def choose(self, status: Status | None) -> None:
        """Show one status, or all."""
        self._status = status
        if self._where.statuses:
            self.put(queries.replaced(self.query_text, "status", ()))
        else:
            self.post_message(self.Changed())

    def clear(self, *, tell: bool = True) -> None:
        """Show everything."""
        self._status = None
        super().clear(tell=tell)


class PairBar(QueryBar[PairFilter]):
    """Preference pairs: words and `source:`."""

    PLACEHOLDER: ClassVar[str] = "/ words in prompts and replies, source:vote"

    def read(self, query: str) -> PairFilter:
        """The filter of a query."""
        return queries.parse_pairs(query)

    @property
    def tab(self) -> str:
        """The pairs."""
        return PAIRS
