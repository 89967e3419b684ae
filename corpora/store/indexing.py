"""The search index, made beside the work: an import would take five times as long if it waited for it.

A search finds exchanges that are not indexed yet, too, only slower; the first one sets the work going.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path

from corpora.errors import StoreError
from corpora.store.reading import ReadingPart

SLICE = 200
PAUSE_SECONDS = 0.01
# While someone searches, their next letter comes before the next slice.
QUIET_SECONDS = 0.25
_WAITING = "SELECT ifnull(max(id), 0) > (SELECT upto FROM indexed) FROM exchanges"
_NEXT = "SELECT id FROM exchanges WHERE id > (SELECT upto FROM indexed) ORDER BY id LIMIT ?"


class IndexingPart(ReadingPart):
    """Keeps the index up with the exchanges."""

    def __init__(self, path: Path) -> None:
        self._stop = threading.Event()
        self._indexer: threading.Thread | None = None
        self._searched = 0.0
        super().__init__(path)

    def close(self) -> None:
        """Close the connection; what is not indexed yet waits for the next time."""
        self._stop.set()
        if self._indexer is not None and self._indexer is not threading.current_thread():
            self._indexer.join()
        super().close()

    def index_pending(self, limit: int = 2000) -> int:
        """Put up to `limit` exchanges into the index; returns how many still wait."""
        if not self._one(_WAITING):
            return 0
        with self._write() as db:
            last = max((row[0] for row in db.execute(_NEXT, (limit,))), default=0)
            db.execute(
                "INSERT INTO exchange_text (rowid, prompt, reply) SELECT id, prompt, reply FROM searched_text"
                " WHERE id > (SELECT upto FROM indexed) AND id <= ?",
                (last,),
            )
            db.execute("UPDATE indexed SET upto = max(upto, ?)", (last,))
        return int(self._one("SELECT count(*) FROM exchanges WHERE id > (SELECT upto FROM indexed)"))

    def index_in_background(self) -> None:
        """Go on with the index in a thread, in slices short enough that no one waits for them."""
        with self._lock:
            running = self._indexer is not None and self._indexer.is_alive()
            if running or self.read_only or self._stop.is_set() or not self._one(_WAITING):
                return
            self._indexer = threading.Thread(target=self._index_all, name="index", daemon=True)
            self._indexer.start()

    def _pause(self) -> float:
        return QUIET_SECONDS if time.monotonic() - self._searched < QUIET_SECONDS else PAUSE_SECONDS

    def _index_all(self) -> None:
        """Until nothing waits or the store is closed. What stops it here stops the next save, and is told there."""
        try:
            while not self._stop.wait(self._pause()) and self.index_pending(SLICE):
                pass
        except StoreError:
            return
