"""A store of a test's own, and the real Llama 2 vocabulary."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from corpora.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "corpus.db") as opened:
        yield opened


@pytest.fixture(scope="session")
def words(shared: Path) -> Tokenizer:
    return Tokenizer.from_file(str(shared / "llama2-tokenizer/tokenizer.json"))
