"""The store's part for votes and pairs of a chosen and a rejected reply."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace

from corpora.dialog import Preference, Verdict, Vote
from corpora.errors import StoreError
from corpora.store.connection import Connection
from corpora.store.rows import PREFERENCE, VERDICT, clean, dialog_json, preference_of, verdict_of
from corpora.store.undoing import Steps
from corpora.store.values import content_key, copy_key


class PreferencePart(Connection):
    """Verdicts and preferences."""

    def add_verdict(self, verdict: Verdict) -> Verdict:
        """Save a vote; left or right also makes a preference pair. One action that `undo` takes back."""
        saved = replace(verdict, created=verdict.created or time.time())
        with self._write() as db:
            steps = Steps(db, "vote")
            added = db.execute(
                "INSERT INTO verdicts (dialog, left_reply, right_reply, left_adapter, right_adapter, vote, blind,"
                " created) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    dialog_json(saved.dialog),
                    clean(saved.left),
                    clean(saved.right),
                    saved.left_adapter,
                    saved.right_adapter,
                    saved.vote,
                    saved.blind,
                    saved.created,
                ),
            )
            steps.added("verdicts", added.lastrowid)
            pair = _pair_of(saved)
            pair_id = pair and insert_pair(db, pair, verdict_id=added.lastrowid)
            if pair_id:
                steps.added("preferences", pair_id)
            steps.save()
        return replace(saved, id=added.lastrowid or 0)

    def verdicts(self) -> list[Verdict]:
        """All votes, the newest first."""
        return [verdict_of(row) for row in self._read(f"SELECT {VERDICT} FROM verdicts ORDER BY id DESC")]

    def preferences(self, limit: int = 1000, offset: int = 0, *, oldest_first: bool = False) -> list[Preference]:
        """Pairs, the newest first without `oldest_first`."""
        order = "id" if oldest_first else "id DESC"
        rows = self._read(f"SELECT {PREFERENCE} FROM preferences ORDER BY {order} LIMIT ? OFFSET ?", (limit, offset))
        return [preference_of(row) for row in rows]

    def count_preferences(self) -> int:
        """How many pairs there are."""
        return int(self._one("SELECT count(*) FROM preferences"))

    def add_preferences(self, pairs: Iterable[Preference]) -> int:
        """Add pairs that are not there yet; returns how many were new."""
        with self._write() as db:
            return sum(insert_pair(db, pair) is not None for pair in pairs)

    def known_preferences(self, pairs: Sequence[Preference]) -> int:
        """How many of the pairs are in the store."""
        keys = [pair_key(pair) for pair in pairs]
        marks = ", ".join("?" * len(keys))
        return int(self._one(f"SELECT count(*) FROM preferences WHERE key IN ({marks})", keys))

    def edit_preference(self, preference_id: int, chosen: str, rejected: str) -> Preference:
        """Change both replies of a pair. One action that `undo` takes back."""
        with self._write() as db:
            pair = _current(db, preference_id)
            steps = Steps(db, "change of a pair")
            steps.will_change("preferences", preference_id, ("key", "chosen", "rejected"))
            changed = replace(pair, chosen=clean(chosen), rejected=clean(rejected))
            db.execute(
                "UPDATE OR IGNORE preferences SET key = ?, chosen = ?, rejected = ? WHERE id = ?",
                (pair_key(changed), changed.chosen, changed.rejected, preference_id),
            )
            steps.save()
            return _current(db, preference_id)

    def remove_preference(self, preference_id: int) -> None:
        """Remove a pair. One action that `undo` takes back."""
        with self._write() as db:
            _current(db, preference_id)
            steps = Steps(db, "removal of a pair")
            steps.will_remove("preferences", preference_id)
            db.execute("DELETE FROM preferences WHERE id = ?", (preference_id,))
            steps.save()


def insert_pair(db: sqlite3.Connection, pair: Preference, verdict_id: int | None = None) -> int | None:
    """The id of a new pair, or None where it is there already."""
    added = db.execute(
        "INSERT OR IGNORE INTO preferences (key, dialog, chosen, rejected, source, exchange_id, verdict_id, created)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            pair_key(pair),
            dialog_json(pair.dialog),
            clean(pair.chosen),
            clean(pair.rejected),
            pair.source,
            pair.exchange_id,
            verdict_id,
            pair.created or time.time(),
        ),
    )
    return added.lastrowid if added.rowcount else None


def pair_key(pair: Preference) -> str:
    """A hash of a pair's content."""
    return copy_key(content_key([dialog_json(pair.dialog), clean(pair.chosen), clean(pair.rejected)]), pair.copy)


def _pair_of(verdict: Verdict) -> Preference | None:
    replies = {Vote.LEFT: (verdict.left, verdict.right), Vote.RIGHT: (verdict.right, verdict.left)}
    chosen, rejected = replies.get(verdict.vote, ("", ""))
    if chosen.strip() == rejected.strip():
        return None
    return Preference(verdict.dialog, chosen, rejected, source="vote", created=verdict.created)


def _current(db: sqlite3.Connection, preference_id: int) -> Preference:
    row = db.execute(f"SELECT {PREFERENCE} FROM preferences WHERE id = ?", (preference_id,)).fetchone()
    if row is None:
        raise StoreError(f"There is no pair {preference_id}.", data="Nothing was changed.")
    return preference_of(row)
