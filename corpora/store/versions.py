"""Names of adapter versions. Records refer to a version by its identity; this says what it is called.

An identity is `base` or a content digest. Does not know where versions are stored.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Mapping

from corpora.store.connection import Connection

RECORDED = (("exchanges", "adapter"), ("verdicts", "left_adapter"), ("verdicts", "right_adapter"))
UNNAMED = ("", "base")
IDENTITY_OF = "coalesce((SELECT max(identity) FROM version_names WHERE name = ?), ?)"
"""SQL for the identity of a name, which is given twice; a text that names no version stands for itself."""


def name_of(column: str) -> str:
    """SQL for the name of the version in a column; an identity without a name is shown as it is."""
    named = "SELECT address || CASE WHEN removed THEN ' (removed)' ELSE '' END FROM versions"
    return f"coalesce(({named} WHERE identity = {column}), {column})"


class VersionNames:
    """The names of the versions that a store's records refer to."""

    def __init__(self, store: Connection) -> None:
        self._store = store

    def all(self) -> dict[str, str]:
        """Identities and what they are called."""
        return dict(self._store._read(f"SELECT identity, {name_of('known.identity')} FROM versions AS known"))

    def update(self, addresses: Mapping[str, str], removed: Mapping[str, str] | None = None) -> None:
        """Take over where every version is now, and where removed ones were, by identity.

        A version that is in neither counts as removed. Writes only what has changed.
        """
        known = {row[0]: (row[1], bool(row[2])) for row in self._store._read("SELECT * FROM versions")}
        now = {identity: (address, False) for identity, address in addresses.items()}
        gone = {identity: address for identity, (address, _) in known.items()} | dict(removed or {})
        now |= {identity: (address, True) for identity, address in gone.items() if identity not in addresses}
        changed = [(identity, *where) for identity, where in now.items() if known.get(identity) != where]
        if changed and not self._store.read_only:
            with self._store._write() as db:
                db.executemany("INSERT OR REPLACE INTO versions VALUES (?, ?, ?)", changed)

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
                    db.execute("INSERT OR IGNORE INTO versions VALUES (?, ?, 1)", (address, address))
            db.execute("INSERT INTO identified VALUES (?)", (time.time(),))
        return True

    def _identified(self) -> bool:
        return bool(self._store._read("SELECT 1 FROM identified"))


def note_name(db: sqlite3.Connection, identity: str, address: str) -> None:
    """Remember what a version is called where something is recorded about it."""
    if address not in (*UNNAMED, identity):
        db.execute("INSERT OR REPLACE INTO versions VALUES (?, ?, 0)", (identity, address))


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
