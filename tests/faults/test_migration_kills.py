"""A migration killed at any moment: the old data is whole, and the next opening completes it.

LLAMA_TUI_KILLS sets how many kills there are in all (some without).
"""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from corpora.dialog import Finish
from corpora.store import Filter, Store, connection

KILLS = min(300, int(os.environ.get("LLAMA_TUI_KILLS", "8")))
ROWS = 4000
OPENER = """
import sys
from pathlib import Path
from corpora.store import Store
sys.stdin.readline()
sys.stdout.write("opening\\n")
sys.stdout.flush()
Store(Path(sys.argv[1])).close()
sys.stdout.write("open\\n")
sys.stdout.flush()
"""


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A store of the first schema, with rows in every table that a person fills."""
    path = tmp_path_factory.mktemp("first") / "corpus.db"
    db = sqlite3.connect(path)
    db.executescript(connection.migrations()[0])
    db.execute("INSERT INTO conversations VALUES (1, 'title', 'chat', NULL, 1, 1)")
    db.executemany(
        "INSERT INTO exchanges (id, conversation_id, status, finish, model, adapter, source, tags, length, created,"
        " updated, edited, prompt, reply)"
        " VALUES (?, 1, 'kept', 'eos', 'm', 'base', 'chat', '[\"t\"]', 9, 1, 1, 1, ?, ?)",
        ((number, f"prompt {number}", f"reply {number} " * 40) for number in range(1, ROWS + 1)),
    )
    db.execute("INSERT INTO exchange_text (rowid, prompt, reply) SELECT id, prompt, reply FROM exchanges")
    db.execute("UPDATE indexed SET upto = ?", (ROWS,))
    db.execute("INSERT INTO preferences VALUES (1, 'k', '[]', 'a', 'b', 'vote', NULL, NULL, 1)")
    db.execute("PRAGMA user_version = 1")
    db.execute(f"PRAGMA application_id = {connection.APPLICATION}")
    db.commit()
    db.close()
    return path.read_bytes()


@pytest.mark.slow
@pytest.mark.timeout(max(300, 15 * KILLS))
def test_a_killed_migration_is_completed(first: bytes, tmp_path: Path) -> None:
    whole = _seconds_of(first, tmp_path / "whole")
    chance, cut = random.Random(3), 0
    for number in range(KILLS):
        path = tmp_path / str(number) / "corpus.db"
        cut += _killed(first, path, chance.uniform(0.0, whole))
        _check(path)
    assert cut > KILLS // 4


def test_two_that_open_an_old_store_at_once(first: bytes, tmp_path: Path) -> None:
    path = tmp_path / "corpus.db"
    path.write_bytes(first)
    both = [_opener(path) for _ in range(2)]
    told = [process.communicate(b"\n")[0] for process in both]
    assert told == [b"opening\nopen\n"] * 2
    _check(path)


def _opener(path: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", OPENER, str(path)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def _begun(first: bytes, path: Path) -> subprocess.Popen[bytes]:
    path.parent.mkdir()
    path.write_bytes(first)
    process = _opener(path)
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(b"\n")
    process.stdin.flush()
    assert process.stdout.readline() == b"opening\n"
    return process


def _seconds_of(first: bytes, folder: Path) -> float:
    """How long a migration takes here that nobody disturbs."""
    process, start = _begun(first, folder / "corpus.db"), time.monotonic()
    process.communicate()
    return time.monotonic() - start


def _killed(first: bytes, path: Path, after: float) -> bool:
    """Whether the kill came before the end."""
    process = _begun(first, path)
    time.sleep(after)
    process.send_signal(signal.SIGKILL)
    return b"open" not in process.communicate()[0]


def _check(path: Path) -> None:
    """Every backup is a whole store of the old schema; the store itself is whole and of the newest."""
    for backup in (path.parent / "backups").glob("*.db"):
        db = sqlite3.connect(f"file:{backup}?mode=ro", uri=True)
        assert db.execute("SELECT count(*), sum(length(reply)) FROM exchanges").fetchone() == _sums()
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        db.close()
    with Store(path) as store:
        assert not store.read_only
        assert store.verify() == []
        assert (store.stats().exchanges, store.count_preferences(), store.tags()) == (ROWS, 1, {"t": ROWS})
        assert store.exchange(ROWS).prompt == f"prompt {ROWS}"
        assert [each.id for each in store.walk(Filter(text=f'"prompt {ROWS}"'))] == [ROWS]
        begun = store.begin(1, None, "after")
        assert store.finish(begun.id, "all", Finish.EOS).reply == "all"
    db = sqlite3.connect(path)
    assert db.execute("PRAGMA user_version").fetchone() == (len(connection.migrations()),)
    db.close()


def _sums() -> tuple[int, int]:
    return ROWS, sum(len(f"reply {number} ") * 40 for number in range(1, ROWS + 1))
