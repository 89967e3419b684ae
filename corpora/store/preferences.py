"""The store's part for votes and pairs of a chosen and a rejected reply."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from corpora.dialog import Message, Preference, Verdict, Vote
from corpora.errors import StoreError, UsageError
from corpora.store.connection import Connection
from corpora.store.matching import pair_condition_of
from corpora.store.rows import (
    PREFERENCE,
    VERDICT,
    clean,
    dialog_json,
    preference_of,
    readable_pairs,
    verdict_of,
)
from corpora.store.undoing import Steps
from corpora.store.values import PairFilter, content_key, copy_key
from corpora.store.versions import note_name


class PreferencePart(Connection):
    """Verdicts and preferences."""

    def add_verdict(self, verdict: Verdict) -> Verdict:
        """Save a vote; left or right also makes a preference pair. One action that `undo` takes back."""
        saved = replace(
            verdict,
            created=verdict.created or time.time(),
            left_version=verdict.left_version or verdict.left_adapter,
            right_version=verdict.right_version or verdict.right_adapter,
        )
        with self._write() as db:
            steps = Steps(db, "vote")
            added = db.execute(
                "INSERT INTO verdicts (dialog, left_reply, right_reply, left_adapter, right_adapter, vote, blind,"
                " created) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    dialog_json(saved.dialog),
                    clean(saved.left),
                    clean(saved.right),
                    saved.left_version,
                    saved.right_version,
                    saved.vote,
                    saved.blind,
                    saved.created,
                ),
            )
            steps.added("verdicts", added.lastrowid)
            note_name(db, saved.left_version, saved.left_adapter)
            note_name(db, saved.right_version, saved.right_adapter)
            pair = _pair_of(saved)
            pair_id = pair and insert_pair(db, pair, verdict_id=added.lastrowid)
            if pair_id:
                steps.added("preferences", pair_id)
            steps.save()
        return replace(saved, id=added.lastrowid or 0)

    def verdicts(self) -> list[Verdict]:
        """All votes, the newest first."""
        return [verdict_of(row) for row in self._read(f"SELECT {VERDICT} FROM verdicts ORDER BY id DESC")]

    def preferences(
        self, limit: int = 1000, offset: int = 0, *, where: PairFilter = PairFilter(), oldest_first: bool = False
    ) -> list[Preference]:
        """Pairs that match, the newest first without `oldest_first`; damaged ones are left to `Store.verify`."""
        condition, values = pair_condition_of(where)
        order = "id" if oldest_first else "id DESC"
        rows = self._read(
            f"SELECT {PREFERENCE} FROM preferences WHERE {condition} ORDER BY {order} LIMIT ? OFFSET ?",
            (*values, limit, offset),
        )
        return readable_pairs(rows)

    def count_preferences(self, where: PairFilter = PairFilter()) -> int:
        """How many pairs match."""
        condition, values = pair_condition_of(where)
        return int(self._one(f"SELECT count(*) FROM preferences WHERE {condition}", values))

    def preference_ids(self, where: PairFilter = PairFilter()) -> list[int]:
        """The ids of all pairs that match, the oldest first."""
        condition, values = pair_condition_of(where)
        return [row[0] for row in self._read(f"SELECT id FROM preferences WHERE {condition} ORDER BY id", values)]

    def preference_sources(self) -> dict[str, int]:
        """Where pairs come from and how many each, the most first."""
        return dict(self._read("SELECT source, count(*) FROM preferences GROUP BY source ORDER BY 2 DESC, 1"))

    def vote_of(self, preference_id: int) -> Verdict | None:
        """The vote that a pair was made of; None where it was something else."""
        found = self._read(
            f"SELECT {VERDICT} FROM verdicts WHERE id = (SELECT verdict_id FROM preferences WHERE id = ?)",
            (preference_id,),
        )
        return verdict_of(found[0]) if found else None

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
        """Change the replies of a pair. One action that `undo` takes back.

        Raises UsageError where they would be equal, one empty, or the pair the same as another.
        """
        return self._change(preference_id, "change of a pair", lambda pair: (chosen, rejected))

    def swap_preference(self, preference_id: int) -> Preference:
        """Choose the rejected reply instead. One action that `undo` takes back; raises UsageError as a change does."""
        return self._change(preference_id, "swap of a pair", lambda pair: (pair.rejected, pair.chosen))

    def remove_preferences(self, preference_ids: Sequence[int]) -> None:
        """Remove pairs. One action that `undo` takes back."""
        with self._write() as db:
            count = len(preference_ids)
            steps = Steps(db, "removal of a pair" if count == 1 else f"removal of {count:,} pairs")
            for preference_id in preference_ids:
                _current(db, preference_id)
                steps.will_remove("preferences", preference_id)
                db.execute("DELETE FROM preferences WHERE id = ?", (preference_id,))
            steps.save()

    def _change(self, preference_id: int, label: str, replies: Callable[[Preference], tuple[str, str]]) -> Preference:
        with self._write() as db:
            pair = _current(db, preference_id)
            chosen, rejected = replies(pair)
            changed = replace(pair, chosen=clean(chosen), rejected=clean(rejected))
            if changed == pair:
                return pair
            _refuse_unfit(db, changed)
            steps = Steps(db, label)
            steps.will_change("preferences", preference_id, ("key", "chosen", "rejected"))
            db.execute(
                "UPDATE preferences SET key = ?, chosen = ?, rejected = ? WHERE id = ?",
                (pair_key(changed), changed.chosen, changed.rejected, preference_id),
            )
            steps.save()
            return changed


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
    """A hash of a pair's content: of what every format that holds pairs can say."""
    dialog = dialog_json(tuple(Message(said.role, said.content) for said in pair.dialog))
    return copy_key(content_key([dialog, clean(pair.chosen), clean(pair.rejected)]), pair.copy)


def _refuse_unfit(db: sqlite3.Connection, pair: Preference) -> None:
    """Raises UsageError for a changed pair that says nothing, or nothing new."""
    if not pair.chosen.strip() or not pair.rejected.strip():
        raise UsageError("A pair needs a chosen and a rejected reply.", data="Nothing was changed.")
    if pair.chosen.strip() == pair.rejected.strip():
        raise UsageError(
            "Chosen and rejected would be the same reply.",
            data="Nothing was changed.",
            remedy="Make them differ, or remove the pair.",
        )
    same = db.execute("SELECT id FROM preferences WHERE key = ? AND id <> ?", (pair_key(pair), pair.id)).fetchone()
    if same is not None:
        raise UsageError(
            f"The pair would be the same as pair {same[0]}.",
            data="Nothing was changed.",
            remedy="Remove one of the two instead.",
        )


def _pair_of(verdict: Verdict) -> Preference | None:
    replies = {Vote.LEFT: (verdict.left, verdict.right), Vote.RIGHT: (verdict.right, verdict.left)}
    chosen, rejected = replies.get(verdict.vote, ("", ""))
    if not chosen.strip() or not rejected.strip() or chosen.strip() == rejected.strip():
        return None
    return Preference(verdict.dialog, chosen, rejected, source="vote", created=verdict.created)


def _current(db: sqlite3.Connection, preference_id: int) -> Preference:
    row = db.execute(f"SELECT {PREFERENCE} FROM preferences WHERE id = ?", (preference_id,)).fetchone()
    if row is None:
        raise StoreError(f"There is no pair {preference_id}.", data="Nothing was changed.")
    return preference_of(row)
