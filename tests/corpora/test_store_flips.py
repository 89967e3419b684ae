"""Bytes changed on the disk: what is not on the damaged page stays readable, and errors are in words.

LLAMA_TUI_FLIPS sets how many.
"""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import pytest

from corpora.dataset import take_rows
from corpora.dialog import Status
from corpora.errors import StoreError
from corpora.store import Filter, ImportedDialog, ImportedTurn, Store

FLIPS = int(os.environ.get("LLAMA_TUI_FLIPS", "60"))
ROWS = 300


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("whole") / "corpus.db"
    with Store(path) as store:
        turns = (ImportedTurn(f"prompt {number}", f"reply {number} " * 40) for number in range(ROWS))
        store.add_dialogs(ImportedDialog((turn,), None, "f", turn.prompt) for turn in turns)
        while store.index_pending():
            pass
    return path


def test_a_changed_byte_costs_at_most_what_is_on_its_page(whole: Path, tmp_path: Path) -> None:
    chance, outcomes = random.Random(7), list[int]()
    for number in range(FLIPS):
        path = tmp_path / f"{number}.db"
        shutil.copy(whole, path)
        with path.open("r+b") as file:
            file.seek(chance.randrange(100, path.stat().st_size))
            file.write(bytes([chance.randrange(256)]))
        outcomes.append(_readable(path))
        path.unlink()
    lost = [ROWS - count for count in outcomes]
    assert sum(each <= 12 for each in lost) >= 0.85 * FLIPS, lost


def _readable(path: Path) -> int:
    """How many exchanges can be read; every failure is a StoreError."""
    try:
        with Store(path) as store:
            store.verify()
            for call in (store.stats, store.tags, lambda: store.count(Filter(text="reply")), store.conversations):
                _tried(call)
            _tried(lambda: store.set_status([1], Status.REJECTED))
            _tried(lambda: take_rows(store))
            return len(store.page(limit=ROWS))
    except StoreError as error:
        assert error.data and error.remedy
        return 0


def _tried(call) -> None:
    try:
        call()
    except StoreError as error:
        assert str(error)


def test_the_index_can_be_made_anew(whole: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(whole, tmp_path / "corpus.db"))
    with Store(path) as store:
        store.rebuild_index()
        assert store.count(Filter(text='"reply 299 "')) == 1
        assert store.index_pending() == 0
