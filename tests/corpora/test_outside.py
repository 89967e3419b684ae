"""What others read: LLaMA-Factory's list of data sets, and the hub through a stand-in of `datasets`."""

from __future__ import annotations

import json
import socket
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from corpora.errors import CorpusError, ImportRefused
from corpora.formats import llamafactory
from corpora.store import Store
from corpora.transfer import export_file, import_files, push_to_hub

ROWS = [{"instruction": f"i{n}", "input": "", "output": "o"} for n in range(30)] + [{"instruction": 5, "output": "x"}]


class Hub(ModuleType):
    """As much of `datasets` as is called."""

    def __init__(self) -> None:
        super().__init__("datasets")
        self.pushed: list[Any] = []
        self.Dataset = self

    def load_dataset(self, name: str, *, split: str, streaming: bool) -> list[dict[str, Any]]:
        if name != "jane/rows" or split != "train" or not streaming:
            raise FileNotFoundError(f"Couldn't find {name}\nmore")
        return ROWS

    def from_list(self, rows: list[Any]) -> Hub:
        self.pushed.append(rows)
        return self

    def push_to_hub(self, name: str, *, private: bool) -> None:
        self.pushed.append((name, private))


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Hub:
    stand_in = Hub()
    monkeypatch.setitem(sys.modules, "datasets", stand_in)
    return stand_in


def test_a_data_set_comes_in_by_name(store: Store, hub: Hub) -> None:
    report = import_files(store, [Path("jane/rows")])
    assert (report.new, [row.line for row in report.refused]) == (30, [31])
    assert import_files(store, [Path("jane/rows")]).duplicates == 30
    assert store.stats().by_source == {"jane/rows": 30}


def test_a_data_set_that_is_not_there_is_said(store: Store, hub: Hub) -> None:
    with pytest.raises(ImportRefused, match="Couldn't find jane/none"):
        import_files(store, [Path("jane/none")])
    with pytest.raises(ImportRefused, match="not a file"):
        import_files(store, [Path("jane/rows.json")])


def test_a_hub_out_of_reach_is_said_in_words(store: Store, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object, **__: object) -> None:
        try:
            raise socket.gaierror(-2, "Name or service not known")
        except OSError as error:
            raise RuntimeError("[Errno -2] Name or service not known") from error

    import_files(store, [Path("jane/rows")])
    for name in ("load_dataset", "push_to_hub"):
        monkeypatch.setattr(hub, name, unreachable)
    with pytest.raises(ImportRefused, match="read from the hub: it cannot be reached from here"):
        import_files(store, [Path("jane/rows")])
    with pytest.raises(CorpusError, match="written to the hub: it cannot be reached from here"):
        push_to_hub(store, "jane/mine", "alpaca")


def test_a_hub_that_was_switched_off_is_said_so(store: Store, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    class OfflineModeIsEnabled(ConnectionError): ...

    def offline(*_: object, **__: object) -> None:
        raise OfflineModeIsEnabled("Offline mode is enabled.")

    monkeypatch.setattr(hub, "load_dataset", offline)
    with pytest.raises(ImportRefused, match="offline mode is on .HF_HUB_OFFLINE is set."):
        import_files(store, [Path("jane/rows")])


def test_what_is_kept_goes_up_private(store: Store, hub: Hub) -> None:
    import_files(store, [Path("jane/rows")])
    assert push_to_hub(store, "jane/mine", "alpaca") == 30
    assert hub.pushed == [ROWS[:30], ("jane/mine", True)]


def test_llama_factory_is_told_of_an_export(store: Store, hub: Hub, tmp_path: Path) -> None:
    import_files(store, [Path("jane/rows")])
    (tmp_path / "dataset_info.json").write_text('{"other": {"file_name": "x"}}')
    for name, format in (("a.json", "alpaca"), ("s.jsonl", "sharegpt"), ("m.parquet", "parquet")):
        export_file(store, tmp_path / name, format)
        llamafactory.describe(tmp_path / name, format)
    told = json.loads((tmp_path / "dataset_info.json").read_text())
    assert set(told) == {"other", "a", "s", "m"}
    assert told["a"]["file_name"] == "a.json" and told["a"]["columns"]["query"] == "input"
    with pytest.raises(CorpusError, match="no preference file"):
        llamafactory.describe(tmp_path / "p.jsonl", "preference")
    (tmp_path / "dataset_info.json").write_text("[")
    with pytest.raises(CorpusError, match="cannot be read"):
        llamafactory.describe(tmp_path / "a.json", "alpaca")


def test_the_data_needs_none_of_the_heavy_libraries() -> None:
    import subprocess

    modules = "corpora.transfer, corpora.curation, corpora.dataset, corpora.preview, corpora.formats.hub"
    heavy = ("torch", "transformers", "datasets", "pyarrow", "pandas", "textual", "sessions", "tui")
    code = f"import sys, {modules}; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
