"""Reading exchanges by their ids; a damaged page or row costs those on it, never their neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

from corpora.dialog import Exchange
from corpora.errors import StoreError
from corpora.store.connection import Connection
from corpora.store.rows import EXCHANGE, readable

AT_ONCE = 500


class ReadingPart(Connection):
    """Exchanges in a wanted order."""

    def exchanges(self, ids: Sequence[int]) -> list[Exchange]:
        """Those of the exchanges that can be read, in the order of `ids`."""
        slices = (ids[start : start + AT_ONCE] for start in range(0, len(ids), AT_ONCE))
        found = {each.id: each for each in chain.from_iterable(self._slice(some) for some in slices)}
        return [found[exchange_id] for exchange_id in ids if exchange_id in found]

    def _slice(self, ids: Sequence[int]) -> list[Exchange]:
        """By halves where a page among them is damaged, down to the exchanges on it."""
        try:
            marks = ", ".join("?" * len(ids))
            return readable(self._read(f"SELECT {EXCHANGE} FROM exchanges WHERE id IN ({marks})", ids))
        except StoreError:
            if len(ids) < 2:
                return []
            middle = len(ids) // 2
            return [*self._slice(ids[:middle]), *self._slice(ids[middle:])]
