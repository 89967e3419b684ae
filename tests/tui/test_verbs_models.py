"""`llama-tui models list|get`, as a person types it."""

from __future__ import annotations

from pathlib import Path

import pytest

from sessions.errors import ModelNotFound
from sessions.models import OPEN_CHAT
from sessions.paths import Paths
from tests.models import put_into_hub_cache, put_starter, tiny_llama
from tests.tui.calling import Caller

UNREACHABLE = ModelNotFound("The hub cannot be reached.", data="Nothing was loaded.", remedy="Go online.")


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the hub nor the package index answers."""

    def fail(*_: object) -> Path:
        raise UNREACHABLE

    monkeypatch.setattr("sessions.models.hub.download", fail)
    monkeypatch.setattr("sessions.models.locate.download_starter", fail)


def test_the_list_names_models_and_the_way_to_them(run: Caller) -> None:
    done = run("models", "list")
    assert done.code == 0 and done.err == ""
    lines = {line.split()[0]: line for line in done.out.splitlines() if line}
    assert "gated" in lines["meta-llama/Llama-2-70b-hf"] and "138.0 GB" in lines["meta-llama/Llama-2-70b-hf"]
    assert "open" in lines[OPEN_CHAT] and "Apache-2.0" in lines["smollm2"]
    assert "yes" in lines["demo"] and "Without --model, demo opens." in done.out
    for part in ("models get NAME", "--model NAME", "hours to days", "auth login", "7b-chat", ".gguf"):
        assert part in done.out


def test_the_list_knows_what_is_on_disk(run: Caller, paths: Paths) -> None:
    put_starter(paths)
    rows = {row["name"]: row for row in run("models", "list", "--json").document}
    assert rows["smollm2"]["path"].startswith(str(paths.cache)) and not rows[OPEN_CHAT]["path"]
    assert rows["meta-llama/Llama-2-7b-chat-hf"]["short"] == "7b-chat"
    assert "Without --model, smollm2 opens." in run("models", "list").out


def test_a_model_that_is_here_is_not_downloaded_again(run: Caller, paths: Paths, tmp_path: Path, offline: None) -> None:
    snapshot = put_into_hub_cache(paths, "me/mine", tiny_llama(tmp_path / "model"))
    done = run("models", "get", "me/mine")
    assert done.code == 0 and f"already in {snapshot}" in done.out and "--model me/mine" in done.out
    document = run("models", "get", "me/mine", "--json").document
    assert document == {"name": "me/mine", "path": str(snapshot), "downloaded": False}


def test_get_downloads(run: Caller, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, paths: Paths) -> None:
    folder = tiny_llama(tmp_path / "model")

    def download(name: str, progress: object) -> Path:
        progress(f"Downloading {name}", 0.5)  # type: ignore[operator]
        return folder

    monkeypatch.setattr("sessions.models.hub.download", download)
    done = run("models", "get", "7b-chat")
    assert done.code == 0 and f"7b-chat is in {folder}" in done.out
    assert "Downloading meta-llama/Llama-2-7b-chat-hf: 50%" in done.err


def test_a_model_that_cannot_be_had_is_an_error(run: Caller, offline: None) -> None:
    done = run("models", "get", "smollm2")
    assert done.code == 1 and UNREACHABLE.what in done.err and UNREACHABLE.remedy in done.err
    failed = run("models", "get", "smollm2", "--json")
    assert failed.document["error"]["kind"] == "ModelNotFound"


def test_with_optional_it_is_one_line(run: Caller, offline: None) -> None:
    done = run("models", "get", "smollm2", "--optional")
    (line,) = done.err.splitlines()
    assert done.code == 0 and done.out == ""
    assert line.startswith("The hub cannot be reached. demo opens instead; later: `")
    assert "models get smollm2" in line


@pytest.mark.parametrize("flag", [(), ("--optional",)])
def test_a_name_that_is_no_models_is_an_error(run: Caller, offline: None, flag: tuple[str, ...]) -> None:
    done = run("models", "get", "nonsense", *flag)
    assert done.code == 1 and "No model is called 'nonsense'" in done.err and "models list" in done.err


def test_a_path_is_nothing_to_download(run: Caller, tmp_path: Path) -> None:
    done = run("models", "get", str(tmp_path))
    assert done.code == 2 and "on this disk" in done.err


def test_asking_a_model_that_is_not_here_names_open_ones(run: Caller, paths: Paths) -> None:
    done = run("ask", "--model", "./gone.gguf", "Hi")
    assert done.code == 1 and f"models get {OPEN_CHAT}" in done.err and "--model smollm2" in done.err
