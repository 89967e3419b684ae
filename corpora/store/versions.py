"""Names of adapter versions. Records refer to a version by its identity; this says what it is called.

An identity is `base` or a content digest. Does not know where versions are stored.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Collection, Iterator, Mapping
from typing import TypeAlias

from corpora.store.connection import Connection

RECORDED = (("exchanges", "adapter"), ("verdicts", "left_adapter"), ("verdicts", "right_adapter"))
UNNAMED = ("", "base")
IDENTITY_OF = "coalesce((SELECT max(identity) FROM version_names WHERE name = ?), ?)"
"""SQL for the identity of a name, which is given twice; a text that names no version is returned unchanged."""


_KNOWN = "SELECT identity, address, removed FROM versions"
_PUT = (
    "INSERT INTO versions (identity, address, removed) VALUES (?, ?, ?)"
    " ON CONFLICT (identity, address) DO UPDATE SET removed = excluded.removed"
)
Address: TypeAlias = tuple[str, str]
"""An identity and an address that the version has."""


def name_of(column: str) -> str:
    """SQL for the name of the version in a column; an identity without a name is shown as it is."""
    named = "SELECT address || CASE WHEN removed THEN ' (removed)' ELSE '' END FROM versions"
    return f"coalesce(({named} WHERE identity = {column} ORDER BY removed, id LIMIT 1), {column})"


class VersionNames:
    """The names of the versions that a store's records refer to."""

    def __init__(self, store: Connection) -> None:
        self._store = store

    def update(self, live: Collection[Address], removed: Collection[Address] = ()) -> bool:
        """Take over where every version is now, and where removed ones were; False where nothing has changed.

        A version that is in neither counts as removed.
        """
        known: dict[Address, int] = {row[:2]: row[2] for row in self._store._read(_KNOWN)}
        given = {identity for identity, _ in (*live, *removed)}
        lost = [pair for pair in known if pair[0] not in given]
        here = {identity for identity, _ in live}
        gone = [pair for pair in removed if pair[0] not in here]
        wanted = {**dict.fromkeys((*lost, *gone), 1), **dict.fromkeys(live, 0)}
        if wanted == known or self._store.read_only:
            return False
        changed = [(*pair, state) for pair, state in wanted.items() if known.get(pair) != state]
        with self._store._write() as db:
            db.executemany("DELETE FROM versions WHERE identity = ? AND address = ?", known.keys() - wanted.keys())
            db.executemany(_PUT, sorted(changed))
        return True

    def identify(self, identities: Mapping[str, str]) -> bool:
        """Replace recorded addresses by identities, once for each store; False where that was done before.

        One transaction; `update` then says what the versions are called. An address that is not in `identities`
        stays and is shown as that of a removed version.
        """
        if self._store.read_only or self._identified():
            return False
        with self._store._write() as db:
            if db.execute("SELECT 1 FROM identified").fetchone() is not None:
                return False
            for address in _addresses(db):
                if address in identities:
                    _replace(db, address, identities[address])
                else:
                    db.execute(_PUT, (address, address, 1))
            db.execute("INSERT INTO identified VALUES (?)", (time.time(),))
        return True

    def _identified(self) -> bool:
        return bool(self._store._read("SELECT 1 FROM identified"))


def note_name(db: sqlite3.Connection, identity: str, address: str) -> None:
    """Remember what a version is called where something is recorded about it."""
    if address not in (*UNNAMED, identity):
        db.execute("UPDATE versions SET removed = 1 WHERE address = ? AND identity <> ?", (address, identity))
        db.execute(_PUT, (identity, address, 0))


def _addresses(db: sqlite3.Connection) -> Iterator[str]:
    """What is recorded and is neither the base nor the identity of a known version."""
    columns = (*RECORDED, ("trained", "adapter"))
    listed = " UNION ".join(f"SELECT {column} FROM {table}" for table, column in columns)
    rows = db.execute(f"{listed} EXCEPT SELECT identity FROM versions").fetchall()
    return (row[0] for row in rows if row[0] not in UNNAMED)


def _replace(db: sqlite3.Connection, address: str, identity: str) -> None:
    for table, column in RECORDED:
        db.execute(f"UPDATE {table} SET {column} = ? WHERE {column} = ?", (identity, address))
    db.execute(
        "INSERT INTO trained SELECT exchange_id, ?, at FROM trained WHERE adapter = ?"
        " ON CONFLICT (exchange_id, adapter) DO UPDATE SET at = max(at, excluded.at)",
        (identity, address),
    )
    db.execute("DELETE FROM trained WHERE adapter = ?", (address,))
