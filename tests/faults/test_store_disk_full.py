"""A full disk at each place where the corpora write: a clear message, and nothing that was there is harmed."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from corpora.dataset import snapshot_of, take_rows, write_snapshot
from corpora.dialog import Finish, Message, Status, Verdict, Vote
from corpora.errors import CorpusError
from corpora.store import ImportedDialog, ImportedTurn, Store
from corpora.transfer import export_file

BIG = "x" * 3_000_000


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of two MiB, where this machine lets one be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], check=False, capture_output=True)
    if made.returncode:
        pytest.skip("a small tmpfs cannot be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def _filled(path: Path) -> Store:
    store = Store(path)
    conversation = store.start_conversation()
    begun = store.begin(conversation.id, None, "prompt " * 2000)
    store.finish(begun.id, "reply " * 60_000, Finish.EOS)
    store.set_status([begun.id], Status.KEPT)
    return store


def _dialog(key: str) -> ImportedDialog:
    return ImportedDialog((ImportedTurn("p", BIG),), None, "f", key)


WRITES: dict[str, Callable[[Store], object]] = {
    "begin": lambda store: store.begin(1, None, BIG),
    "partial": lambda store: store.write_partial(1, BIG),
    "finish": lambda store: store.finish(1, BIG, Finish.EOS),
    "correct": lambda store: store.correct(1, BIG),
    "prompt": lambda store: store.edit_prompt(1, BIG),
    "note": lambda store: store.set_note(1, BIG),
    "tags": lambda store: store.set_tags([1], [BIG]),
    "title": lambda store: store.rename_conversation(1, BIG),
    "import": lambda store: store.add_dialogs([_dialog("a"), _dialog("b")]),
    "vote": lambda store: store.add_verdict(Verdict((Message("user", "q"),), BIG, "r", "a", "b", Vote.LEFT, True)),
    "backup": lambda store: [store.backup() for _ in range(20)],
    "export": lambda store: [export_file(store, store.path.parent / f"{n}.jsonl", "messages") for n in range(20)],
    "parquet": lambda store: [export_file(store, store.path.parent / f"{n}.pq", "parquet") for n in range(2000)],
    "snapshot": lambda store: [
        write_snapshot(snapshot_of(take_rows(store).rows), store.path.parent / f"{n}") for n in range(20)
    ],
}


@pytest.mark.parametrize("name", list(WRITES))
def test_a_full_disk_is_said_and_harms_nothing(name: str, disk: Path) -> None:
    with _filled(disk / "corpus.db") as store:
        before = (store.exchange(1), store.stats(), store.last_action(), store.conversations())
        with pytest.raises(CorpusError) as raised:
            WRITES[name](store)
        words = str(raised.value).lower()
        assert "full" in words or "no space" in words
        assert (store.exchange(1), store.stats(), store.last_action(), store.conversations()) == before
        assert store.verify() == []
    assert not [path for path in disk.iterdir() if path.name.startswith(".")]


def test_after_space_is_made_it_goes_on(disk: Path) -> None:
    with _filled(disk / "corpus.db") as store:
        filler = disk / "filler"
        with pytest.raises(OSError), filler.open("wb") as file:
            while True:
                file.write(b"x" * 4096)
                file.flush()
        with pytest.raises(CorpusError):
            store.finish(1, BIG, Finish.EOS)
        filler.unlink()
        assert store.finish(1, "short", Finish.EOS).reply == "short"


def test_no_store_can_be_made_on_a_full_disk(disk: Path) -> None:
    (disk / "filler").write_bytes(b"x" * (2 * 1024 * 1024 - 12_288))
    with pytest.raises(CorpusError, match="full"):
        Store(disk / "corpus.db")
