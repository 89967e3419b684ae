"""The store's part for masses: imported dialogs in, dialogs to train on or export out, what was trained."""

from __future__ import annotations

import json
import sqlite3
import sys
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from corpora.dialog import Exchange, Status
from corpora.scripts import script_of
from corpora.store.chat import ChatPart, title_of
from corpora.store.connection import in_words
from corpora.store.matching import condition_of
from corpora.store.rows import clean
from corpora.store.values import KEPT, Branch, Filter, ImportedDialog, ImportedTurn, dialog_key
from corpora.store.versions import name_of, note_name

BATCH = 4000
AT_ONCE = 500
_ADD = (
    "INSERT INTO exchanges (id, conversation_id, parent_id, status, source, tags, script, length, instruction,"
    " created, updated, edited, system, prompt, reply, finish, model, adapter)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'imported', '', '')"
)

_CHANGED = (
    "SELECT id FROM conversations WHERE key IS NULL UNION SELECT conversation_id FROM exchanges WHERE edited <> created"
)
_LONGER = "SELECT conversation_id FROM exchanges WHERE parent_id IS NOT NULL"


class ImportingPart(ChatPart):
    """Dialogs in and out by the thousand."""

    def add_dialogs(self, dialogs: Iterable[ImportedDialog], status: Status = Status.KEPT) -> int:
        """Add dialogs that are not there yet, in one transaction a batch; returns how many were new."""
        waiting, new = iter(dialogs), 0
        while batch := list(islice(waiting, BATCH)):
            with self._write() as db:
                new += _add(db, batch, status)
        return new

    def known_keys(self, keys: Sequence[str]) -> set[str]:
        """Those of the keys whose dialogs are in the store."""
        with self._lock, in_words(self.path):
            return _known(self._db, keys)

    def said(self, *, beginnings: bool = False) -> Counter[str]:
        """How often each dialog is said in chats and in imported dialogs that were changed or gone on with, up
        to each of their exchanges; keys as `dialog_key` gives them. `beginnings` adds those of other dialogs."""
        found: Counter[str] = Counter()
        ids = [row[0] for row in self._read(f"{_CHANGED} UNION {_LONGER}" if beginnings else _CHANGED)]
        for start in range(0, len(ids), AT_ONCE):
            some = ids[start : start + AT_ONCE]
            marks = ", ".join("?" * len(some))
            imported = dict(self._read(f"SELECT id, key FROM conversations WHERE id IN ({marks})", some))
            for tree in self._trees(set(some)):
                said = Counter(_keys(tree))
                key = imported[next(iter(tree.values())).conversation_id]
                # What an imported dialog itself still says is known by its key.
                said.subtract({key.partition("-")[0]} & said.keys() if key else ())
                found.update(said)
        return +found

    def branches(self, where: Filter = KEPT) -> Iterator[Branch]:
        """Every match once: branches from their first exchange to their last match.

        Matches before the last that are under the same system prompt come in the same branch. Oldest
        conversation first; read in slices, so that a long walk holds no other process up.
        """
        condition, values = condition_of(where)
        wanted = self._read(f"SELECT conversation_id, id FROM exchanges WHERE {condition}", values)
        yield from self.branches_to(sorted(wanted))

    def branches_to(self, wanted: Sequence[tuple[int, int]]) -> Iterator[Branch]:
        """The same for exchanges given as (conversation id, exchange id), sorted."""
        start = 0
        while start < len(wanted):
            last = wanted[min(start + AT_ONCE, len(wanted)) - 1][0]
            end = bisect_right(wanted, (last, sys.maxsize), lo=start)
            some = wanted[start:end]
            yield from self._branches_of({row[0] for row in some}, {row[1] for row in some})
            start = end

    def _branches_of(self, conversations: set[int], wanted: set[int]) -> Iterator[Branch]:
        for tree in self._trees(conversations):
            yield from _branches(tree, wanted)

    def _trees(self, conversations: set[int]) -> Iterable[dict[int, Exchange]]:
        marks = ", ".join("?" * len(conversations))
        rows = self._read(
            f"SELECT id FROM exchanges WHERE conversation_id IN ({marks}) ORDER BY conversation_id, id",
            sorted(conversations),
        )
        trees: dict[int, dict[int, Exchange]] = {}
        for exchange in self.exchanges([row[0] for row in rows]):
            trees.setdefault(exchange.conversation_id, {})[exchange.id] = exchange
        return trees.values()

    def mark_trained(
        self, exchange_ids: Sequence[int], version: str, at: float | None = None, *, address: str = ""
    ) -> None:
        """Record that a version was trained on these exchanges as they were at `at` (default: now).

        `version` is its identity, `address` what it is called now.
        """
        seen = time.time() if at is None else at
        with self._write() as db:
            note_name(db, version, address)
            db.executemany(
                "INSERT OR REPLACE INTO trained SELECT id, ?, ? FROM exchanges WHERE id = ?",
                ((version, seen, exchange_id) for exchange_id in exchange_ids),
            )

    def trained_in(self, exchange_id: int) -> tuple[str, ...]:
        """Names of the versions that were trained on an exchange as it is now, the oldest first."""
        rows = self._read(
            f"SELECT {name_of('trained.adapter')} FROM trained JOIN exchanges ON id = exchange_id"
            " WHERE id = ? AND at >= edited ORDER BY at",
            (exchange_id,),
        )
        return tuple(row[0] for row in rows)


def _branches(tree: dict[int, Exchange], wanted: set[int]) -> list[Branch]:
    """From the newest match down: a child's id is above its parent's, so ends of branches come first."""
    left = {exchange_id for exchange_id in tree if exchange_id in wanted}
    found: list[Branch] = []
    for exchange_id in sorted(left, reverse=True):
        if exchange_id not in left:
            continue
        path = _path(tree, exchange_id)
        mine = frozenset(each.id for each in path if each.id in left and each.system == path[-1].system)
        left -= mine
        found.append(Branch(path, mine))
    return found[::-1]


def _keys(tree: dict[int, Exchange]) -> Iterator[str]:
    for last in tree.values():
        turns = [ImportedTurn(each.prompt, each.reply) for each in _path(tree, last.id)]
        yield dialog_key(last.system, turns)


def _path(tree: dict[int, Exchange], exchange_id: int) -> tuple[Exchange, ...]:
    found: list[Exchange] = []
    at: int | None = exchange_id
    while at is not None and at in tree:
        found.append(tree[at])
        at = tree[at].parent_id
    return tuple(found[::-1])


def _add(db: sqlite3.Connection, batch: list[ImportedDialog], status: Status) -> int:
    """Ids are given out here, so that both tables are filled by one statement each."""
    known = _known(db, [dialog.key for dialog in batch])
    fresh = {dialog.key: dialog for dialog in reversed(batch) if dialog.key not in known and dialog.turns}
    now = time.time()
    conversation = _highest(db, "conversations")
    exchange = _highest(db, "exchanges")
    conversations, exchanges = [], list[tuple[object, ...]]()
    for dialog in reversed(fresh.values()):
        conversation += 1
        title = title_of(clean(dialog.turns[0].prompt))
        conversations.append((conversation, title, dialog.source, dialog.key, now, now))
        for number, row in enumerate(_rows(dialog, status, now)):
            exchange += 1
            exchanges.append((exchange, conversation, exchange - 1 if number else None, *row))
    db.executemany(
        "INSERT INTO conversations (id, title, source, key, created, updated) VALUES (?, ?, ?, ?, ?, ?)", conversations
    )
    db.executemany(_ADD, exchanges)
    return len(fresh)


def _rows(dialog: ImportedDialog, status: Status, now: float) -> Iterator[tuple[object, ...]]:
    tags = json.dumps(dialog.tags, ensure_ascii=False) if dialog.tags else "[]"
    system = None if dialog.system is None else clean(dialog.system)
    for turn in dialog.turns:
        prompt, reply = clean(turn.prompt), clean(turn.reply)
        about = (str(_status(turn, status)), dialog.source, tags, script_of(reply), len(prompt) + len(reply))
        yield (*about, turn.instruction, now, now, now, system, prompt, reply)


def _status(turn: ImportedTurn, status: Status) -> Status:
    """What the file says of a reply, else the import's status; a reply that was not trained waits."""
    if turn.status is not None:
        return turn.status
    return status if turn.kept else Status.PENDING


def _known(db: sqlite3.Connection, keys: Sequence[str]) -> set[str]:
    found: set[str] = set()
    for start in range(0, len(keys), 500):
        some = keys[start : start + 500]
        marks = ", ".join("?" * len(some))
        found.update(row[0] for row in db.execute(f"SELECT key FROM conversations WHERE key IN ({marks})", some))
    return found


def _highest(db: sqlite3.Connection, table: str) -> int:
    """The highest id that the table ever had: ids of removed exchanges are not given out again."""
    if table == "exchanges":
        row = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'exchanges'").fetchone()
        return int(row[0]) if row else 0
    return int(db.execute(f"SELECT ifnull(max(id), 0) FROM {table}").fetchone()[0])
