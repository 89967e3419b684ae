"""A full disk at each place where the program writes beside the corpus: it is said, and what was there stays."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from corpora.dialog import Finish, Status
from corpora.errors import CorpusError, LlamaTuiError
from corpora.formats import llamafactory
from corpora.store import Store, connection
from sessions import settings
from sessions.errors import DiskFull
from sessions.paths import Paths, write_atomic
from sessions.registry import Registry
from sessions.training import checkpoints, events, recipe, runs
from sessions.training.events import RunFinished, Warned
from tests.faults.test_store_disk_full import disk
from tests.sessions.test_registry import fill
from tui import prompts
from tui.chat_file import write_chat

__all__ = ["disk"]
BIG = "x" * 3_000_000


def _paths(home: Path) -> Paths:
    return Paths(home, home, home / "config.toml", home)


@contextmanager
def _no_space(folder: Path) -> Iterator[None]:
    """Nothing more fits onto the disk of a folder."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        for piece in (65_536, 512, 1):
            try:
                while file.write(b"x" * piece) == piece:
                    pass
            except OSError:
                continue
    try:
        yield
    finally:
        filler.unlink()


def _is_full(error: BaseException) -> bool:
    found: BaseException | None = error
    while found is not None:
        if (isinstance(found, OSError) and found.errno == errno.ENOSPC) or "full" in str(found).lower():
            return True
        found = found.__cause__
    return False


def _learned(paths: Paths) -> Store:
    store = Store(paths.corpus)
    begun = store.begin(store.start_conversation().id, None, "prompt")
    store.finish(begun.id, "reply", Finish.EOS)
    store.set_status([begun.id], Status.KEPT)
    return store


SMALL: dict[str, tuple[str, Callable[[Paths], object]]] = {
    "settings": ("config.toml", lambda paths: settings.save(paths.config, system=BIG[:15_000])),
    "draft": ("draft.json", lambda paths: prompts.save_draft(paths, prompts.Draft(BIG))),
    "recipe": ("recipe.toml", lambda paths: recipe.save(recipe.Recipe(), paths.home / "recipe.toml")),
    "copied reply": ("reply.txt", lambda paths: write_atomic(paths.home / "reply.txt", BIG.encode())),
    "dataset_info": ("dataset_info.json", lambda paths: llamafactory.describe(paths.home / "a.json", "alpaca")),
}


@pytest.mark.parametrize("name", list(SMALL))
def test_a_file_that_is_written_whole_stays(name: str, disk: Path) -> None:
    file, write = SMALL[name]
    before = b"{}" if file.endswith(".json") else b""
    (disk / file).write_bytes(before)
    with _no_space(disk), pytest.raises((OSError, LlamaTuiError)) as raised:
        write(_paths(disk))
    assert _is_full(raised.value)
    assert (disk / file).read_bytes() == before
    assert [path.name for path in disk.iterdir()] == [file]


def test_events_of_a_run(disk: Path) -> None:
    """An event that is not written whole raises; those before it are read, and those after it when there is room."""
    (disk / "filler").write_bytes(b"x" * 1_500_000)
    said = list[events.RunEvent]()
    with pytest.raises(OSError) as raised:
        while True:
            event = Warned(text=f"{len(said)} {'x' * 3000}")
            events.append(disk, event)
            said.append(event)
    assert _is_full(raised.value) and said
    assert [event for event, _ in events.read(disk)] == said
    (disk / "filler").unlink()
    events.append(disk, RunFinished())
    read = [event for event, _ in events.read(disk)]
    assert read[: len(said)] == said and isinstance(read[-1], RunFinished)


def test_prompts_typed_before(disk: Path) -> None:
    history = prompts.History(disk / "history")
    history.add("first")
    with _no_space(disk), pytest.raises(OSError) as raised:
        history.add(BIG[:100_000])
    assert _is_full(raised.value)
    history.add("third")
    assert prompts.History(disk / "history").entries[0] == "first"
    assert prompts.History(disk / "history").entries[-1] == "third"


def test_a_chat_as_a_file(disk: Path) -> None:
    paths = _paths(disk)
    with _learned(paths) as store, _no_space(disk), pytest.raises(LlamaTuiError, match="No space"):
        write_chat(str(disk / "chat.md"), store.page())
    assert not (disk / "chat.md").exists()


def test_a_run_that_cannot_be_prepared_is_none(disk: Path) -> None:
    paths = _paths(disk)
    with _learned(paths) as store, _no_space(disk), pytest.raises(DiskFull, match="0 MB are free"):
        runs.prepare(paths, store, model="m", adapter="mine", recipe=recipe.Recipe())
    assert not paths.runs.exists() or not list(paths.runs.iterdir())


def test_a_checkpoint_is_whole_or_absent(disk: Path) -> None:
    checkpoints.write(disk, 1, lambda folder: (folder / "state").write_bytes(b"1") and None)
    with pytest.raises(OSError) as raised:
        checkpoints.write(disk, 2, lambda folder: (folder / "state").write_bytes(BIG.encode()) and None)
    assert _is_full(raised.value)
    assert [path.name for path in disk.iterdir()] == ["checkpoint-1"]


def test_an_adapter_is_whole_or_absent(disk: Path) -> None:
    registry = Registry(_paths(disk))
    assert registry.import_folder(fill(disk.parent / "peft"), "mine") == "mine/v1"
    other = fill(disk.parent / "other", value=2.0)
    with _no_space(disk), pytest.raises((OSError, LlamaTuiError)) as raised:
        registry.import_folder(other, "mine")
    assert _is_full(raised.value)
    assert [found.address for found in registry.versions("mine")] == ["mine/v1"]
    registry.verified("mine/v1")


def test_an_older_store_stays_as_it_was(disk: Path) -> None:
    """Its backup does not fit, so nothing is migrated; with room it is."""
    path = disk / "corpus.db"
    db = sqlite3.connect(path)
    db.executescript(connection.migrations()[0])
    db.execute("INSERT INTO conversations VALUES (1, ?, 'chat', NULL, 1, 1)", (BIG[:300_000],))
    db.execute("PRAGMA user_version = 1")
    db.execute(f"PRAGMA application_id = {connection.APPLICATION}")
    db.commit()
    db.close()
    before = path.read_bytes()
    with _no_space(disk), pytest.raises(CorpusError, match="full"):
        Store(path)
    assert path.read_bytes() == before
    assert not list((disk / "backups").glob("*"))
    with Store(path) as store:
        assert len(store.conversations()) == 1
