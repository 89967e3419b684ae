"""Fixtures of the tests of models at work."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sessions.paths import Paths
from sessions.settings import Settings
from tests.models import tiny_adapter, tiny_llama

if TYPE_CHECKING:
    from sessions.engine.local import LocalEngine


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Torch on one thread: small models are quicker so, and neighbours on the same cores do not slow them."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small Llama on disk."""
    return tiny_llama(tmp_path_factory.mktemp("model"), kv_heads=2)


@pytest.fixture
def engine(folder: Path, paths: Paths) -> LocalEngine:
    """That Llama in NF4, computing in float32, with two adapters of ranks 4 and 8 at hand."""
    import torch

    from sessions.engine.base import load_base
    from sessions.engine.local import LocalEngine

    for version in (1, 2):
        tiny_adapter(paths.adapter("mine", version), folder, seed=version, rank=4 * version)
    base = load_base(str(folder), paths, Settings(), lambda *_: None, dtype=torch.float32)
    return LocalEngine(base, paths)
