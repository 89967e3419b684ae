"""The store's part for its own health: backups on request, and a check that sets damaged rows aside."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from corpora.errors import StoreError
from corpora.store.connection import Connection, backup_path, in_words
from corpora.store.rows import (
    EXCHANGE,
    PINNED_TEST,
    PREFERENCE,
    VERDICT,
    exchange_of,
    pinned_test_of,
    preference_of,
    verdict_of,
)

_READERS = (
    ("exchanges", EXCHANGE, exchange_of),
    ("verdicts", VERDICT, verdict_of),
    ("preferences", PREFERENCE, preference_of),
    ("pinned_tests", PINNED_TEST, pinned_test_of),
)
_TEXTS = {
    "exchanges": ("prompt", "reply", "system", "original", "note"),
    "verdicts": ("left_reply", "right_reply"),
    "preferences": ("chosen", "rejected"),
    "pinned_tests": ("dialog", "text"),
}
SLICE = 2000


class CaringPart(Connection):
    """Backups and checks."""

    def backup(self, target: Path | None = None) -> Path:
        """Write a whole copy, to `backups/` beside the store or to a path that does not exist yet."""
        if target is not None and target.exists():
            raise StoreError(f"{target} exists.", data="Nothing was written.", remedy="Name another file.")
        with self._lock, in_words(target or self.path):
            target = target or backup_path(self.path, "backup")
            self._copy_to(target)
        return target

    def rebuild_index(self) -> None:
        """Make the search index anew from the exchanges."""
        with self._write() as db:
            db.execute("INSERT INTO exchange_text (exchange_text) VALUES ('rebuild')")
            db.execute("UPDATE indexed SET upto = (SELECT ifnull(max(id), 0) FROM exchanges)")

    def verify(self) -> list[str]:
        """Look at every page and row; one line a problem, none where all is well.

        A row that cannot be read is copied to the table `set_aside` as it is; the rest stays usable.
        """
        problems = [str(row[0]) for row in self._read("PRAGMA integrity_check") if row[0] != "ok"]
        problems += [f"{row[0]} {row[1]}: its {row[2]} is missing." for row in self._read("PRAGMA foreign_key_check")]
        for table, columns, reader in _READERS:
            for row_id, reason in self._damaged(table, columns, reader):
                problems.append(f"{table} {row_id}: {reason}")
                if not self.read_only:
                    self._set_aside(table, row_id, reason)
        return problems

    def _damaged(self, table: str, columns: str, reader: Callable[[Any], object]) -> Iterator[tuple[int, str]]:
        """(id, reason) of rows that do not read as their value or whose text is not UTF-8."""
        raw = ", ".join(f"CAST({column} AS BLOB)" for column in _TEXTS[table])
        after = -1
        while rows := self._read(
            f"SELECT id, {columns}, {raw} FROM {table} WHERE id > ? ORDER BY id LIMIT ?", (after, SLICE)
        ):
            texts = len(_TEXTS[table])
            for row in rows:
                reason = _unreadable(row[1:-texts], reader) or _undecodable(_TEXTS[table], row[-texts:])
                if reason:
                    yield row[0], reason
            after = rows[-1][0]

    def _set_aside(self, table: str, row_id: int, reason: str) -> None:
        with self._write() as db:
            row = db.execute(f"SELECT * FROM {table} WHERE id = ?", (row_id,)).fetchone()
            # A damaged page can show a row to a walk and not to a look by its id.
            content = None if row is None else repr(tuple(row)).encode("utf-8", "replace")
            origin = f"{table} {row_id}"
            db.execute("DELETE FROM set_aside WHERE origin = ?", (origin,))
            db.execute(
                "INSERT INTO set_aside (origin, reason, content, created) VALUES (?, ?, ?, ?)",
                (origin, reason, content, time.time()),
            )


def _unreadable(row: Any, reader: Callable[[Any], object]) -> str:
    try:
        reader(row)
    except (ValueError, TypeError, KeyError) as error:
        return f"cannot be read: {error}"
    return ""


def _undecodable(names: tuple[str, ...], texts: Any) -> str:
    for name, text in zip(names, texts, strict=True):
        try:
            (text or b"").decode("utf-8")
        except UnicodeDecodeError as error:
            return f"its {name} is not UTF-8 at byte {error.start}"
    return ""
