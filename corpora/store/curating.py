"""The store's part for curation: statuses, corrections, tags, notes, ratings, and undo of each.

Each call is one action; its transaction also writes how to put the rows back.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence

from corpora.dialog import Exchange, Message, Preference, Status, dialog_of
from corpora.errors import StoreError, UsageError
from corpora.scripts import script_of
from corpora.store import undoing
from corpora.store.matching import condition_of
from corpora.store.preferences import PreferencePart, insert_pair
from corpora.store.rows import EXCHANGE, clean, exchange_of
from corpora.store.undoing import Steps
from corpora.store.values import Correction, Filter

TEXT = ("prompt", "reply", "original", "status", "script", "length", "instruction", "updated", "edited")


class CuratingPart(PreferencePart):
    """What a person decides about exchanges."""

    def set_status(self, exchange_ids: Sequence[int], status: Status) -> None:
        """Keep, reject, defer or reopen."""
        with self._write() as db:
            _set_status(db, list(exchange_ids), status)

    def set_status_where(self, where: Filter, status: Status) -> int:
        """The same for all that match, as one action; returns how many changed."""
        condition, values = condition_of(where)
        with self._write() as db:
            found = db.execute(f"SELECT id FROM exchanges WHERE {condition}", values).fetchall()
            return _set_status(db, [row[0] for row in found], status)

    def correct(self, exchange_id: int, reply: str, *, keep: bool = True, pair: bool = True) -> Exchange:
        """Replace a reply; the first original stays, and (with `pair`) a preference pair is made of the two.

        A correction back to the original takes the pair away.
        """
        now, reply = time.time(), clean(reply)
        with self._write() as db:
            before = _current(db, exchange_id)
            steps = Steps(db, "correction")
            steps.will_change("exchanges", exchange_id, TEXT)
            if reply != before.reply:
                added = db.execute(
                    "INSERT INTO corrections (exchange_id, reply, created) VALUES (?, ?, ?)",
                    (exchange_id, before.reply, now),
                )
                steps.added("corrections", added.lastrowid)
                _replace_reply(db, before, reply, now)
            if keep:
                db.execute("UPDATE exchanges SET status = 'kept', updated = ? WHERE id = ?", (now, exchange_id))
            if pair:
                _renew_pair(db, exchange_id, steps)
            steps.save()
            return _current(db, exchange_id)

    def corrections(self, exchange_id: int) -> list[Correction]:
        """Replies that corrections replaced, the first original first."""
        rows = self._read("SELECT reply, created FROM corrections WHERE exchange_id = ? ORDER BY id", (exchange_id,))
        return [Correction(*row) for row in rows]

    def forget_earlier(self, exchange_id: int) -> None:
        """Remove what an exchange was before it was changed: its original, its corrections, its pair, and the
        actions that would bring them back. For secrets; cannot be undone."""
        with self._write() as db:
            _current(db, exchange_id)
            db.execute("PRAGMA secure_delete = ON")
            db.execute("UPDATE exchanges SET original = NULL WHERE id = ?", (exchange_id,))
            for table in ("corrections", "preferences"):
                db.execute(f"DELETE FROM {table} WHERE exchange_id = ?", (exchange_id,))
            undoing.forget(db, exchange_id)

    def edit_prompt(self, exchange_id: int, prompt: str) -> Exchange:
        """Change the prompt of a stored exchange."""
        now, prompt = time.time(), clean(prompt)
        with self._write() as db:
            _current(db, exchange_id)
            steps = Steps(db, "change of a prompt")
            steps.will_change("exchanges", exchange_id, TEXT)
            db.execute(
                "UPDATE exchanges SET prompt = ?, length = ? + length(reply), instruction = NULL, updated = ?,"
                " edited = ? WHERE id = ?",
                (prompt, len(prompt), now, now, exchange_id),
            )
            _renew_pair(db, exchange_id, steps)
            steps.save()
            return _current(db, exchange_id)

    def set_tags(self, exchange_ids: Sequence[int], tags: Sequence[str]) -> None:
        """Replace the tags."""
        names = list(dict.fromkeys(clean(tag).strip() for tag in tags if tag.strip()))
        self._set(exchange_ids, "tags", undoing.to_json(names), "change of tags")

    def set_note(self, exchange_id: int, note: str) -> None:
        """Replace the note."""
        self._set([exchange_id], "note", clean(note), "change of a note")

    def rate(self, exchange_ids: Sequence[int], rating: int | None) -> None:
        """1 to 5 stars, or None for no rating. Raises UsageError for any other."""
        if rating is not None and not 1 <= rating <= 5:
            raise UsageError(f"A rating is 1 to 5, not {rating}.", remedy="0 takes a rating away.")
        self._set(exchange_ids, "rating", rating, "rating")

    def undo(self) -> str | None:
        """Take the last action back; returns what it was in words, or None where there is none."""
        with self._write() as db:
            return undoing.undo_last(db)

    def last_action(self) -> str | None:
        """What `undo` would take back, in words."""
        found = self._one("SELECT label FROM actions ORDER BY id DESC LIMIT 1")
        return None if found is None else str(found)

    def _set(self, exchange_ids: Sequence[int], column: str, value: object, label: str) -> None:
        now = time.time()
        with self._write() as db:
            steps = Steps(db, label if len(exchange_ids) == 1 else f"{label} of {len(exchange_ids)} exchanges")
            for exchange_id in exchange_ids:
                _current(db, exchange_id)
                steps.will_change("exchanges", exchange_id, (column, "updated"))
                db.execute(f"UPDATE exchanges SET {column} = ?, updated = ? WHERE id = ?", (value, now, exchange_id))
            steps.save()


def _set_status(db: sqlite3.Connection, ids: list[int], status: Status) -> int:
    now, before = time.time(), dict[str, list[int]]()
    for start in range(0, len(ids), 500):
        some = ids[start : start + 500]
        marks = ", ".join("?" * len(some))
        found = db.execute(f"SELECT id, status FROM exchanges WHERE id IN ({marks})", some).fetchall()
        if len(found) != len(set(some)):
            raise StoreError(f"{len(set(some)) - len(found)} of the exchanges do not exist.", data="Nothing changed.")
        for exchange_id, old in found:
            if old != status:
                before.setdefault(old, []).append(exchange_id)
    changed = [exchange_id for some in before.values() for exchange_id in some]
    db.executemany(
        "UPDATE exchanges SET status = ?, updated = ? WHERE id = ?", ((str(status), now, each) for each in changed)
    )
    steps = Steps(db, f"{status}" if len(changed) == 1 else f"{status} for {len(changed)} exchanges")
    steps.had_status(before)
    if changed:
        steps.save()
    return len(changed)


def _replace_reply(db: sqlite3.Connection, before: Exchange, reply: str, now: float) -> None:
    first = before.reply if before.original is None else before.original
    db.execute(
        "UPDATE exchanges SET reply = ?, original = ?, script = ?, length = ?, updated = ?, edited = ? WHERE id = ?",
        (
            reply,
            None if reply == first else first,
            script_of(reply),
            len(before.prompt) + len(reply),
            now,
            now,
            before.id,
        ),
    )


def _renew_pair(db: sqlite3.Connection, exchange_id: int, steps: Steps) -> None:
    """The one pair of a corrected exchange, as its prompt and reply now stand."""
    old = db.execute(
        "SELECT id FROM preferences WHERE exchange_id = ? AND source = 'correction'", (exchange_id,)
    ).fetchall()
    for (pair_id,) in old:
        steps.will_remove("preferences", pair_id)
        db.execute("DELETE FROM preferences WHERE id = ?", (pair_id,))
    now = _current(db, exchange_id)
    if now.original and now.original.strip() and now.original.strip() != now.reply.strip():
        pair = Preference(_asked(db, now), now.reply, now.original, exchange_id=exchange_id)
        added = insert_pair(db, pair)
        if added is not None:
            steps.added("preferences", added)


def _asked(db: sqlite3.Connection, exchange: Exchange) -> tuple[Message, ...]:
    """The dialog up to the exchange's prompt."""
    path, parent = [exchange], exchange.parent_id
    while parent is not None:
        path.append(_current(db, parent))
        parent = path[-1].parent_id
    return dialog_of(path[::-1])[:-1]


def _current(db: sqlite3.Connection, exchange_id: int) -> Exchange:
    row = db.execute(f"SELECT {EXCHANGE} FROM exchanges WHERE id = ?", (exchange_id,)).fetchone()
    if row is None:
        raise StoreError(f"There is no exchange {exchange_id}.", data="Nothing was changed.")
    return exchange_of(row)
