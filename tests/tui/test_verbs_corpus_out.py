"""`corpus export --dataset-info`, `corpus push`, and an import from the hub, through a stand-in of it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.corpora.test_outside import ROWS, Hub
from tests.tui.calling import Caller


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Hub:
    stand_in = Hub()
    monkeypatch.setitem(sys.modules, "datasets", stand_in)
    return stand_in


def test_llama_factory_finds_an_export(run: Caller, hub: Hub, tmp_path: Path) -> None:
    assert run("corpus", "import", "jane/rows").code == 0
    done = run("corpus", "export", tmp_path / "mine.json", "--format", "alpaca", "--dataset-info")
    assert done.code == 0 and "dataset_info.json" in done.err
    told = json.loads((tmp_path / "dataset_info.json").read_text())
    assert told["mine"]["file_name"] == "mine.json" and told["mine"]["columns"]["response"] == "output"


@pytest.mark.parametrize("words", [("-",), ("pairs.jsonl", "--format", "preference")])
def test_what_it_cannot_find_is_not_written(run: Caller, hub: Hub, tmp_path: Path, words: tuple[str, ...]) -> None:
    run("corpus", "import", "jane/rows")
    file, *more = words
    done = run("corpus", "export", file if file == "-" else tmp_path / file, *more, "--dataset-info")
    assert done.code == 2 and "LLaMA-Factory" in done.err and "messages" in done.err
    assert not list(tmp_path.glob("*.json*"))


def test_what_is_kept_goes_up(run: Caller, hub: Hub) -> None:
    run("corpus", "import", "jane/rows")
    found = run("corpus", "push", "jane/mine", "--format", "alpaca", "--json").document
    assert found == {"name": "jane/mine", "format": "alpaca", "rows": 30, "private": True}
    assert hub.pushed == [ROWS[:30], ("jane/mine", True)]
    assert run("corpus", "push", "jane/mine", "--public").code == 0
    assert hub.pushed[-1] == ("jane/mine", False)
    done = run("corpus", "push", "mine")
    assert done.code == 2 and "OWNER/NAME" in done.err
