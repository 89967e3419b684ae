"""Fixtures of the tests of models at work."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from gguf import GGMLQuantizationType

from sessions.paths import Paths
from sessions.settings import Settings
from tests.corpora.chat_templates import CHATML
from tests.ggufs import byte_level_words, sentence_piece_words, write_gguf
from tests.models import byte_level_tokenizer, tiny_adapter, tiny_llama

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


@pytest.fixture(scope="module")
def chatml(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small Llama with grouped queries, a byte-level tokenizer and a chat template, as a folder."""
    place = tmp_path_factory.mktemp("chatml")
    words = byte_level_tokenizer(place / "words", CHATML.template, special=CHATML.special, eos=CHATML.end)
    return tiny_llama(place / "model", words, kv_heads=2)


@pytest.fixture(scope="module")
def chatml_words(chatml: Path) -> dict[str, Any]:
    """Its tokenizer as a GGUF file's keys."""
    return byte_level_words(chatml, "gpt-2", template=CHATML.template)


@pytest.fixture(scope="module")
def llama2_gguf(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small Llama with Llama 2's vocabulary as a GGUF file, as convert.py wrote it: without a chat template.

    The same model as a folder, not quantized, is `model` beside it.
    """
    place = tmp_path_factory.mktemp("llama2")
    folder = tiny_llama(place / "model", shared / "llama2-tokenizer")
    words = sentence_piece_words(shared / "llama2-tokenizer/tokenizer.model")
    return write_gguf(place / "llama-2-7b-chat.Q8_0.gguf", folder, words, kind=GGMLQuantizationType.Q8_0)


@pytest.fixture
def handlers() -> Iterator[None]:
    """The signal handlers from before, after a run in this process has installed its own."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def few_anchors(monkeypatch: pytest.MonkeyPatch) -> None:
    """One chunk of anchors and eight of them at the gate, for runs in this process."""
    from sessions.training import session

    monkeypatch.setattr(session, "ANCHOR_CHUNKS", 1)
    monkeypatch.setattr(session, "GATE_ANCHORS", 8)
    monkeypatch.setattr(session, "FEW_GATE_ANCHORS", 8)
