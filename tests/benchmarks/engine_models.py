"""Models of the engine's benchmarks: Llamas of three sizes with random weights, adapters, prompts."""

from __future__ import annotations

import os
from pathlib import Path

from sessions.paths import Paths
from sessions.registry import Lineage, Registry
from tests.models import tiny_adapter, tiny_llama

SHAPES = {
    "60m": {"hidden": 512, "intermediate": 1408, "layers": 8, "heads": 8},
    "300m": {"hidden": 1024, "intermediate": 2816, "layers": 18, "heads": 16},
    "7b": {"hidden": 4096, "intermediate": 11008, "layers": 32, "heads": 32},
}
NEW = int(os.environ.get("BENCH_NEW_TOKENS", "64"))
REPEATS = 5
SENTENCE = "The quick brown fox jumps over the lazy dog, and the cat looks on. "


def words(tokens: int) -> str:
    """A text of about that many tokens."""
    return SENTENCE * max(1, tokens // 17)


def prepare(folder: Path, size: str) -> Path:
    """The model's folder with two adapters of rank 64 beside it; made once."""
    model = folder / size
    if not (model / "model.safetensors").exists():
        tiny_llama(model, _tokenizer(), context=4096, spread=0.02, **SHAPES[size])
    home = folder / f"{size}-home"
    registry = Registry(Paths(home, home, home / "config.toml", home))
    for version in (1, 2):
        if version not in registry.catalog.numbers("mine"):
            made = tiny_adapter(home / "made" / f"v{version}", model, rank=64, alpha=16, seed=version, size=0.02)
            registry.publish(made, Lineage(adapter="mine", version=0, parent="base", base_model=str(model)))
    return model


def _tokenizer() -> Path | None:
    """The real Llama 2 tokenizer where it is at hand: its vocabulary is what the head's cost depends on."""
    root = Path(__file__).resolve().parents[2]
    found = Path(os.environ.get("LLAMA_TUI_SHARED", root.parent / "shared")) / "llama2-tokenizer"
    return found if found.is_dir() else None
