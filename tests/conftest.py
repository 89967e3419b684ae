"""Fixtures that several packages' tests share."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs
import pytest

from sessions.errors import LlamaTuiError
from sessions.models import STARTER
from sessions.models.starter import download_starter, starter_file
from sessions.paths import Paths
from tests.models import link_starter

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with the real tokenizer, golden ids and real data; skips where it is not at hand."""
    for candidate in (os.environ.get("LLAMA_TUI_SHARED"), ROOT.parent / "shared"):
        if candidate and (Path(candidate) / "llama2-tokenizer").is_dir():
            return Path(candidate)
    pytest.skip("the shared folder (real tokenizer, golden ids, data) is not beside the checkout")


@pytest.fixture
def paths(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Paths:
    """A data home, cache and runtime folder of the test's own; anchors of the same base are computed once."""
    (tmp_path / "cache").mkdir(mode=0o700)
    shared = tmp_path_factory.getbasetemp() / "anchors"
    shared.mkdir(mode=0o700, exist_ok=True)
    (tmp_path / "cache" / "anchors").symlink_to(shared)
    monkeypatch.setenv("LLAMA_TUI_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LLAMA_TUI_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hf" / "hub"))
    runtime = tmp_path / "run"
    runtime.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    return Paths.find()


@pytest.fixture(scope="session")
def starter_model() -> Path:
    """The starter model's file, downloaded once into a cache of the tests; skips where it cannot be had."""
    folder = os.environ.get("LLAMA_TUI_TEST_CACHE") or platformdirs.user_cache_dir("llama-tui-tests")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLAMA_TUI_CACHE", str(folder))
        try:
            return starter_file() or download_starter(lambda stage, share: None)
        except LlamaTuiError as error:
            pytest.skip(f"the starter model cannot be had: {error.what}")


@pytest.fixture
def starter(paths: Paths, starter_model: Path) -> str:
    """The starter model in the test's own cache; its name."""
    link_starter(paths.cache, starter_model)
    return STARTER
