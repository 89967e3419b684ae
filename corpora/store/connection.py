"""The connection to corpus.db: opening, migrating, transactions, errors in words. Knows no table but its own.

Rollback journal and synchronous=FULL: write-ahead logging loses commits in SQLite before 3.51.3 when two
connections checkpoint together, and does not work on NFS, where many homes are.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any, Self

from corpora.errors import StoreError, StoreIsNewer
from corpora.files import private_folder, sync_file, sync_folder

WAIT_SECONDS = 60.0
UNFINISHED = ".part"
# A copy that a killed process left behind; one that is being written is younger.
ABANDONED_SECONDS = 3600.0
APPLICATION = 0x4C74_7569
CACHE_KIB = 32 * 1024
# A new store reads its texts in a third less time from large pages than from SQLite's own 4 KiB.
SETTINGS = f"""
PRAGMA page_size = 16384;
PRAGMA journal_mode = TRUNCATE;
PRAGMA synchronous = FULL;
PRAGMA foreign_keys = ON;
PRAGMA cache_size = -{CACHE_KIB};
PRAGMA recursive_triggers = ON;
"""


class Connection:
    """One connection, guarded by a lock; the parts of `Store` build on it."""

    def __init__(self, path: Path) -> None:
        """Open or create; migrate after a backup. Raises StoreError for a damaged file (with the way out)."""
        self.path = path
        self.read_only = False
        self._lock = threading.RLock()
        with in_words(path):
            self._db = _connect(path)
        try:
            with in_words(path):
                self._prepare()
        except BaseException:
            self._db.close()
            raise

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        """One transaction; on disk when the block is left, undone when it raises."""
        with self._lock, in_words(self.path):
            self._refuse_newer()
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def _read(self, statement: str, values: Sequence[object] = ()) -> list[Any]:
        """All rows of a query: a cursor left open would hold other processes' writes up."""
        with self._lock, in_words(self.path):
            return self._db.execute(statement, values).fetchall()

    def _one(self, statement: str, values: Sequence[object] = ()) -> Any:
        rows = self._read(statement, values)
        return rows[0][0] if rows else None

    @property
    def newer(self) -> StoreIsNewer | None:
        """What to tell the person where a newer llama-tui wrote the store; any write raises it."""
        if not self.read_only:
            return None
        return StoreIsNewer(
            f"{self.path} was written by a newer llama-tui; it is open for reading only.",
            data="Nothing was changed.",
            remedy="Update llama-tui, or use another data home with --home.",
        )

    def _refuse_newer(self) -> None:
        if self.newer is not None:
            raise self.newer

    def _prepare(self) -> None:
        version, known = _version(self._db), len(migrations())
        self._refuse_foreign(version)
        if version > known:
            self._db.execute("PRAGMA query_only = ON")
            self.read_only = True
            return
        self._db.executescript(SETTINGS)
        if version < known:
            if version:
                self._copy_to(backup_path(self.path, f"v{version}"))
            self._migrate()
        self._db.execute("SELECT count(*) FROM exchanges WHERE id < 0").fetchone()

    def _copy_to(self, target: Path) -> None:
        """The whole store as another file, which is whole or not there."""
        beside = _free_beside(target)
        try:
            self._db.execute("VACUUM INTO ?", (str(beside),))
            sync_file(beside)
            beside.replace(target)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise
        sync_folder(target.parent)

    def _refuse_foreign(self, version: int) -> None:
        tables = self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        mine = self._db.execute("PRAGMA application_id").fetchone()[0] == APPLICATION
        if not mine and (version or tables):
            raise StoreError(
                f"{self.path} is a database of another program.",
                data="It was left as it is.",
                remedy="Move it aside, or use another data home with --home.",
            )

    def _migrate(self) -> None:
        """Bring the schema up, each step in a transaction: another process may have been first."""
        for number, script in enumerate(migrations(), start=1):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                if _version(self._db) < number:
                    for statement in statements(script):
                        self._db.execute(statement)
                    self._db.execute(f"PRAGMA user_version = {number}")
                    self._db.execute(f"PRAGMA application_id = {APPLICATION}")
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise


def migrations() -> list[str]:
    """The numbered scripts in their order; the n-th leads to schema n."""
    folder = resources.files("corpora") / "migrations"
    found = sorted((file for file in folder.iterdir() if file.name.endswith(".sql")), key=lambda file: file.name)
    return [file.read_text(encoding="utf-8") for file in found]


def statements(script: str) -> Iterator[str]:
    """The statements of a script one by one: `executescript` would commit the transaction around it."""
    pending = ""
    for line in script.splitlines(keepends=True):
        pending += line
        if sqlite3.complete_statement(pending):
            yield pending
            pending = ""


def backup_path(path: Path, label: str) -> Path:
    """A free path `backups/corpus-TIME-LABEL.db` beside the store; makes the folder, private."""
    folder = private_folder(path.parent / "backups")
    for beside in folder.glob(f".*{UNFINISHED}"):
        if time.time() - beside.stat().st_mtime > ABANDONED_SECONDS:
            beside.unlink(missing_ok=True)
    stem = f"{path.stem}-{time.strftime('%Y%m%d-%H%M%S')}-{label}"
    candidates = (folder / f"{stem}{'' if n == 0 else f'-{n}'}.db" for n in range(10_000))
    return next(candidate for candidate in candidates if not candidate.exists())


def _free_beside(target: Path) -> Path:
    """A new, empty file of a name that no other copy has: SQLite writes into no other."""
    private_folder(target.parent)
    descriptor, name = tempfile.mkstemp(prefix=f".{target.name[:100]}.", suffix=UNFINISHED, dir=target.parent)
    os.close(descriptor)
    return Path(name)


def private_file(path: Path) -> None:
    """Create an empty file that only its owner can read, in a folder likewise, whatever the umask."""
    private_folder(path.parent)
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))


def _connect(path: Path) -> sqlite3.Connection:
    if not path.exists():
        private_file(path)
    db = sqlite3.connect(path, timeout=WAIT_SECONDS, isolation_level=None, check_same_thread=False)
    # A damaged byte in one text must not make its neighbours unreadable; `verify` finds it.
    db.text_factory = _text
    return db


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")


def _version(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])


@contextmanager
def in_words(path: Path) -> Iterator[None]:
    """SQLite's errors as StoreError: what happened, what it means for the data, what to do."""
    try:
        yield
    except UnicodeDecodeError as error:
        # SQLite quotes the damaged schema in its message, which then is no text.
        raise _damaged(path, "its schema cannot be read") from error
    except (sqlite3.Error, OSError) as error:
        raise _explained(path, error) from error


def _explained(path: Path, error: Exception) -> StoreError:
    said = str(error)
    if "full" in said or "No space" in said:
        return StoreError(
            f"The disk is full: {path} cannot be written.",
            data="What was saved before is unharmed; the last change was not saved.",
            remedy="Free some space and do it again.",
        )
    if "locked" in said or "busy" in said:
        return StoreError(
            f"Another program has held {path} for {WAIT_SECONDS:.0f} seconds.",
            data="The last change was not saved.",
            remedy="Close it, or wait, and do it again.",
        )
    if "not a database" in said or "malformed" in said or "disk image" in said or "no such table" in said:
        return _damaged(path, said)
    if "readonly" in said or "Permission" in said or "unable to open" in said:
        return StoreError(
            f"{path} cannot be opened or written: {said}.",
            data="Nothing was changed.",
            remedy="Check the permissions of the file and its folder, or use another data home with --home.",
        )
    return StoreError(f"{path}: {said}.", data="The last change was not saved.", remedy="Try again; then see the log.")


def _damaged(path: Path, said: str) -> StoreError:
    backups = sorted((path.parent / "backups").glob("*.db"), key=lambda file: file.stat().st_mtime)
    newest = f" and copy {backups[-1]} to {path}" if backups else "; a new, empty one will be made"
    return StoreError(
        f"{path} is damaged: {said}.",
        data="It was left as it is.",
        remedy=f"Move it aside{newest}. `sqlite3 DAMAGED .recover` may save the rest.",
    )
