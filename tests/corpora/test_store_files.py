"""The file: migrations, newer and damaged stores, several processes at once."""

from __future__ import annotations

import multiprocessing
import os
import sqlite3
import threading
import time
from pathlib import Path

import pytest

from corpora.dataset import take_rows
from corpora.dialog import Finish, Status
from corpora.errors import StoreError, StoreIsNewer
from corpora.store import Filter, ImportedDialog, ImportedTurn, Store, connection
from corpora.transfer import export_file


def _fill(path: Path, count: int = 3) -> None:
    with Store(path) as store:
        conversation = store.start_conversation()
        for number in range(count):
            begun = store.begin(conversation.id, None, f"prompt {number}")
            store.finish(begun.id, f"reply {number}", Finish.EOS)


def _sql(path: Path, statement: str) -> None:
    db = sqlite3.connect(path)
    with db:
        db.execute(statement)
    db.close()


def test_a_newer_schema_opens_for_reading_only(tmp_path: Path) -> None:
    path = tmp_path / "corpus.db"
    _fill(path)
    _sql(path, "PRAGMA user_version = 99")
    before = path.read_bytes()
    with Store(path) as store:
        assert store.read_only
        assert len(store.page()) == 3
        assert store.count(Filter(text="prompt")) == 3
        for write in (
            store.start_conversation,
            lambda: store.set_status([1], Status.KEPT),
            lambda: store.write_partial(1, "x"),
            lambda: store.add_dialogs([ImportedDialog((ImportedTurn("a", "b"),), None, "f", "k")]),
            store.undo,
        ):
            with pytest.raises(StoreIsNewer, match="newer llama-tui"):
                write()
    assert path.read_bytes() == before


def test_an_older_schema_is_backed_up_and_migrated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "corpus.db"
    _fill(path)
    scripts = connection.migrations()
    step = (
        "-- more\nALTER TABLE exchanges ADD COLUMN mood TEXT;\nUPDATE exchanges SET mood = 'calm; -- not a comment';\n"
    )
    monkeypatch.setattr(connection, "migrations", lambda: [*scripts, step])
    with Store(path) as store:
        assert len(store.page()) == 3
    monkeypatch.undo()
    (backup,) = (tmp_path / "backups").glob(f"corpus-*-v{len(scripts)}.db")
    with Store(backup) as old:
        assert not old.read_only
        assert len(old.page()) == 3
    with Store(path) as store:
        assert store.read_only


def test_a_migration_that_fails_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "corpus.db"
    _fill(path)
    scripts = connection.migrations()
    monkeypatch.setattr(connection, "migrations", lambda: [*scripts, "CREATE TABLE half (x);\nSELECT nonsense;\n"])
    with pytest.raises(StoreError):
        Store(path)
    monkeypatch.undo()
    with Store(path) as store:
        assert (store.read_only, len(store.page())) == (False, 3)


@pytest.mark.parametrize("content", [b"not a database at all" * 100, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_damaged_file_is_said_with_the_way_out(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "corpus.db"
    path.write_bytes(content)
    with pytest.raises(StoreError, match="damaged") as raised:
        Store(path)
    assert "Move it aside" in raised.value.remedy
    assert path.read_bytes() == content


def test_the_way_out_names_the_newest_backup(tmp_path: Path) -> None:
    path = tmp_path / "corpus.db"
    _fill(path)
    with Store(path) as store:
        backup = store.backup()
    path.write_bytes(b"x" * 5000)
    with pytest.raises(StoreError) as raised:
        Store(path)
    assert str(backup) in raised.value.remedy


def test_a_database_of_another_program_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "corpus.db"
    _sql(path, "CREATE TABLE theirs (x)")
    with pytest.raises(StoreError, match="another program"):
        Store(path)


def test_folders_and_files_are_private_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with Store(tmp_path / "new" / "home" / "corpus.db") as store:
            conversation = store.start_conversation()
            store.finish(store.begin(conversation.id, None, "p").id, "r", Finish.EOS)
            store.set_status([1], Status.KEPT)
            store.backup()
            store.backup(tmp_path / "elsewhere" / "deep" / "copy.db")
            export_file(store, tmp_path / "out" / "deep" / "rows.jsonl", "messages")
    finally:
        os.umask(before)
    for path in tmp_path.rglob("*"):
        assert oct(path.stat().st_mode & 0o777) == oct(0o700 if path.is_dir() else 0o600), path


def test_a_backup_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with Store(tmp_path / "corpus.db") as store, pytest.raises(StoreError, match="file/copy.db"):
        store.backup(tmp_path / "file" / "copy.db")


def test_a_folder_in_its_place_is_said(tmp_path: Path) -> None:
    with pytest.raises(StoreError):
        Store(tmp_path)


def test_damaged_rows_are_set_aside_and_the_rest_stays(tmp_path: Path) -> None:
    path = tmp_path / "corpus.db"
    _fill(path, 4)
    _sql(path, "UPDATE exchanges SET status = 'k\u0001pt' WHERE id = 1")
    _sql(path, "UPDATE exchanges SET note = CAST(x'ff41' AS TEXT) WHERE id = 2")
    with Store(path) as store:
        assert [each.id for each in store.page()] == [4, 3, 2]
        with pytest.raises(StoreError, match="damaged"):
            store.exchange(1)
        with pytest.raises(StoreError, match="damaged"):
            store.path_to(1)
        problems = store.verify()
        assert len(problems) == 2
        assert "exchanges 1" in problems[0] and "not UTF-8" in problems[1]
        assert len(take_rows(store).rows) == 0
        store.set_status([3], Status.KEPT)
    db = sqlite3.connect(path)
    assert [row[0] for row in db.execute("SELECT origin FROM set_aside")] == ["exchanges 1", "exchanges 2"]
    db.close()


def test_a_whole_store_has_no_problems(tmp_path: Path) -> None:
    _fill(tmp_path / "corpus.db")
    with Store(tmp_path / "corpus.db") as store:
        assert store.verify() == []


def test_threads_share_one_store(store: Store) -> None:
    conversation, errors = store.start_conversation(), list[BaseException]()

    def work(number: int) -> None:
        try:
            for turn in range(10):
                begun = store.begin(conversation.id, None, f"{number}:{turn}")
                store.finish(begun.id, "done", Finish.EOS)
                store.page(Filter(text="done"))
        except BaseException as error:  # noqa: BLE001 -- told in the test's own thread
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert store.count(Filter(text="done")) == 40


# Exchanges of each terminal; five writes go to one.
EACH = 120


def _writer(path: Path, name: str, count: int) -> None:
    with Store(path) as store:
        conversation = store.start_conversation(source=name)
        for number in range(count):
            begun = store.begin(conversation.id, None, f"{name} {number}")
            store.write_partial(begun.id, "half")
            store.finish(begun.id, "whole", Finish.EOS)
            store.set_status([begun.id], Status.KEPT)
            store.set_tags([begun.id], [name])
            store.page(Filter(text=name))


def _importer(path: Path, count: int) -> None:
    with Store(path) as store:
        for start in range(0, count, 500):
            rows = [ImportedTurn(f"p{number}", "r" * 300) for number in range(start, start + 500)]
            store.add_dialogs(ImportedDialog((row,), None, "import", row.prompt) for row in rows)
            store.index_pending(200)


def test_two_terminals_and_a_worker_never_see_a_lock(tmp_path: Path) -> None:
    path = tmp_path / "corpus.db"
    spawn = multiprocessing.get_context("spawn")
    work = [(_writer, (path, "one", EACH)), (_writer, (path, "two", EACH)), (_importer, (path, 4000))]
    processes = [spawn.Process(target=target, args=args) for target, args in work]
    for process in processes:
        process.start()
    for process in processes:
        process.join(240)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    with Store(path) as store:
        assert store.stats().by_source == {"import": 4000, "one": EACH, "two": EACH}
        assert store.count(Filter(statuses=(Status.KEPT,))) == 4000 + 2 * EACH
        assert store.verify() == []


def test_the_index_is_made_in_the_background(store: Store) -> None:
    store.add_dialogs(ImportedDialog((ImportedTurn(f"p{n}", "word"),), None, "f", str(n)) for n in range(1000))
    assert store.count(Filter(text="word")) == 1000
    deadline = time.monotonic() + 60
    while store.index_pending(1) and time.monotonic() < deadline:
        assert store.count(Filter(text="word p999")) == 1
    assert store.index_pending() == 0
    assert store.count(Filter(text="word")) == 1000


def test_a_store_closes_while_it_is_indexed(tmp_path: Path) -> None:
    with Store(tmp_path / "corpus.db") as store:
        store.add_dialogs(ImportedDialog((ImportedTurn(f"p{n}", "word"),), None, "f", str(n)) for n in range(3000))
        store.index_in_background()
    with Store(tmp_path / "corpus.db") as store:
        assert store.index_pending(1) > 0
        assert store.verify() == []
