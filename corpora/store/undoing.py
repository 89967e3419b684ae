"""How actions are taken back: each is stored as the steps that put its rows back, the last first."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Mapping, Sequence
from typing import Any

DEEP = 1000
_EDITED = "prompt reply original status script length instruction updated edited tags note rating"
_PAIR = "id key dialog chosen rejected source exchange_id verdict_id created"
_VERDICT = "id dialog left_reply right_reply left_adapter right_adapter vote blind created"
_COLUMNS = {
    "exchanges": frozenset(_EDITED.split()),
    "preferences": frozenset(_PAIR.split()),
    "corrections": frozenset(("id", "exchange_id", "reply", "created")),
    "verdicts": frozenset(_VERDICT.split()),
    "pinned_tests": frozenset(("id", "key", "dialog", "kind", "text", "created")),
    "pinned_results": frozenset(("id", "test_id", "digest", "model", "passed", "reply", "created")),
}


class Steps:
    """Collects, inside a transaction, what one action is about to change."""

    def __init__(self, db: sqlite3.Connection, label: str) -> None:
        self._db = db
        self._label = label
        self._steps: list[list[object]] = []

    def will_change(self, table: str, row_id: int, columns: Sequence[str]) -> None:
        """Call before the row changes."""
        self._steps.append(["change", table, row_id, self._row(table, row_id, columns)])

    def will_remove(self, table: str, row_id: int) -> None:
        """Call before the row is removed."""
        self._steps.append(["remove", table, row_id, self._row(table, row_id, sorted(_COLUMNS[table]))])

    def added(self, table: str, row_id: int | None) -> None:
        """Call after a row was added."""
        self._steps.append(["add", table, row_id, {}])

    def had_status(self, before: Mapping[str, Sequence[int]]) -> None:
        """Many exchanges by the status that they had."""
        self._steps.append(["status", "exchanges", 0, dict(before)])

    def save(self) -> None:
        """Write the action; the oldest beyond `DEEP` is forgotten."""
        added = self._db.execute(
            "INSERT INTO actions (label, before, created) VALUES (?, ?, ?)",
            (self._label, to_json(self._steps), time.time()),
        )
        self._db.execute("DELETE FROM actions WHERE id <= ?", ((added.lastrowid or 0) - DEEP,))

    def _row(self, table: str, row_id: int, columns: Sequence[str]) -> dict[str, object]:
        listed = ", ".join(columns)
        row = self._db.execute(f"SELECT {listed} FROM {_known(table, columns)} WHERE id = ?", (row_id,)).fetchone()
        return dict(zip(columns, row, strict=True))


def undo_last(db: sqlite3.Connection) -> str | None:
    """Take the last action back, inside the caller's transaction; its label, or None where there is none."""
    row = db.execute("SELECT id, label, before FROM actions ORDER BY id DESC LIMIT 1").fetchone()
    if row is None:
        return None
    for kind, table, row_id, values in reversed(json.loads(row[2])):
        _take_back(db, kind, table, row_id, values)
    db.execute("DELETE FROM actions WHERE id = ?", (row[0],))
    return str(row[1])


def forget(db: sqlite3.Connection, exchange_id: int) -> None:
    """Remove all actions that hold texts of an exchange, or of rows that belong to it."""
    for action_id, before in db.execute("SELECT id, before FROM actions").fetchall():
        steps = json.loads(before)
        own = (step[1] == "exchanges" and step[2] == exchange_id for step in steps)
        belonging = (step[3].get("exchange_id") == exchange_id for step in steps if isinstance(step[3], dict))
        if any(own) or any(belonging):
            db.execute("DELETE FROM actions WHERE id = ?", (action_id,))


def to_json(value: object) -> str:
    """Compact JSON."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _take_back(db: sqlite3.Connection, kind: str, table: str, row_id: int, values: dict[str, Any]) -> None:
    if kind == "status":
        for status, ids in values.items():
            db.executemany("UPDATE exchanges SET status = ? WHERE id = ?", ((status, each) for each in ids))
        return
    _known(table, list(values))
    if kind == "change":
        listed = ", ".join(f"{column} = ?" for column in values)
        db.execute(f"UPDATE {table} SET {listed} WHERE id = ?", (*values.values(), row_id))
    elif kind == "add":
        db.execute(f"DELETE FROM {table} WHERE id = ?", (row_id,))
    else:
        marks = ", ".join("?" * len(values))
        db.execute(f"INSERT OR IGNORE INTO {table} ({', '.join(values)}) VALUES ({marks})", tuple(values.values()))


def _known(table: str, columns: Sequence[str]) -> str:
    """The table's name, where it and the columns are ours: both stand in the statement as they are."""
    if not _COLUMNS.get(table, frozenset()).issuperset(columns):
        raise sqlite3.DatabaseError(f"malformed action on {table!r}")
    return table
