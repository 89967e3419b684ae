"""Loads a base model once: from its cached arena, else quantized from its own files; for host and worker.

Knows nothing of chat, adapters or training.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import torch

from corpora.templates import form_of
from sessions.engine import skeleton, source
from sessions.engine.arena import Arena, Manifest
from sessions.engine.contract import Loader, Progress
from sessions.engine.errors import memory_errors
from sessions.engine.store import Opened, Store
from sessions.engine.words import Words, read_words, wrapped
from sessions.models import Source, resolve
from sessions.paths import Paths
from sessions.protocol import ModelInfo
from sessions.settings import Settings


@dataclass(slots=True)
class LoadedBase:
    """A frozen base: the transformers model, its tokenizer, what screens show, the content's digest.

    `manifest` names where another process finds the same tensors; `arena` keeps them alive here. `read` gives the
    tokenizer, once: a worker has its base before it needs words.
    """

    model: Any
    read: Callable[[], Words]
    info: ModelInfo
    digest: str
    manifest: Manifest
    arena: Arena
    dtype: torch.dtype
    descriptor: int | None = None
    _words: Words | None = None
    _wrapped: Any = None

    @property
    def words(self) -> Words:
        """The model's tokenizer; raises ModelUnusable where it cannot be read."""
        if self._words is None:
            self._words = self.read()
        return self._words

    @property
    def tokenizer(self) -> Any:
        """The tokenizer as transformers and TRL take it, made when it is first asked for."""
        if self._wrapped is None:
            self._wrapped = wrapped(self.words)
        return self._wrapped

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.arena.data.device


def loader(model: str, paths: Paths, settings: Settings) -> Loader:
    """A function that loads the model and gives an engine; errors are those of `load_base`."""

    def load(progress: Progress) -> Any:
        from sessions.engine.local import LocalEngine

        return LocalEngine(load_base(model, paths, settings, progress), paths, progress)

    return load


def load_base(
    model: str,
    paths: Paths,
    settings: Settings,
    progress: Progress,
    *,
    device: torch.device | None = None,
    dtype: torch.dtype | None = None,
) -> LoadedBase:
    """The model on its device, ready to run.

    Raises ModelNotFound, ModelUnusable, DiskFull (while downloading), OutOfMemory.
    """
    began = time.monotonic()
    found = resolve(model, progress)
    device = device or best_device()
    dtype = dtype or best_dtype(device)
    progress("Reading the model", None)
    config = skeleton.read_config(found.folder)
    words = read_words(found.folder, config)
    empty = skeleton.build(config, settings.quantization, dtype)
    fill = partial(source.quantize_into, found=found, model=empty, dtype=dtype, device=device, progress=progress)
    with memory_errors("loading the model", "Nothing was loaded."):
        opened = _store(found, settings.quantization, dtype, device, paths=paths, progress=progress).open(fill)
        progress("Placing the weights", None)
        base = assemble(empty, opened.arena.to(device), opened.manifest, lambda: words)
    return _finished(base, found, opened, time.monotonic() - began)


def _finished(base: LoadedBase, found: Source, opened: Opened, seconds: float) -> LoadedBase:
    base.descriptor = opened.descriptor
    base.info = msgspec.structs.replace(
        base.info,
        name=found.name,
        load_seconds=seconds,
        from_cache=opened.from_cache,
        chat_format=form_of(base.words.vocabulary),
    )
    return base


def _store(
    found: Source, quantization: str, dtype: torch.dtype, device: torch.device, *, paths: Paths, progress: Progress
) -> Store:
    kind = str(dtype).removeprefix("torch.")
    key = source.cache_key(found, quantization, kind, device.type)
    about = Manifest(name=found.name, source=str(found.folder), quantization=quantization, dtype=kind)
    return Store(paths.cache / "models" / key, about, progress)


def best_device() -> torch.device:
    """CUDA where there is a GPU, else the CPU; LLAMA_TUI_DEVICE overrides."""
    named = os.environ.get("LLAMA_TUI_DEVICE")
    return torch.device(named or ("cuda" if torch.cuda.is_available() else "cpu"))


def best_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the hardware computes in it; else float16 on a GPU and float32 on a CPU."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    has_bf16 = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
    return torch.bfloat16 if has_bf16 else torch.float32


def assemble(empty: Any, data: Arena, manifest: Manifest, read: Callable[[], Words]) -> LoadedBase:
    """A base out of a skeleton and an arena that is on its device."""
    skeleton.plug(empty, data, manifest)
    dtype: torch.dtype = getattr(torch, manifest.dtype)
    skeleton.mark_quantized(empty, manifest.quantization, dtype)
    base = LoadedBase(empty, read, ModelInfo(name=""), manifest.digest, manifest, data, dtype)
    base.info = _info(base)
    return base


def move(base: LoadedBase, device: torch.device) -> None:
    """Have the model's tensors on another device; on a CPU they are mapped from where they are kept.

    Nothing may be wrapped around the model's layers.
    """
    kept = Arena.mapped(Path(base.manifest.data), base.manifest.size)
    base.arena = kept.to(device)
    skeleton.plug(base.model, base.arena, base.manifest)


def _info(base: LoadedBase) -> ModelInfo:
    entries = base.manifest.entries.items()
    return ModelInfo(
        name=base.manifest.name,
        architecture=type(base.model).__name__,
        parameters=sum(_count(entry.shape) for key, entry in entries if "inv_freq" not in key),
        context=context_of(base.model.config),
        quantization=base.manifest.quantization,
        device=_device_name(base.device),
        memory=base.manifest.size,
    )


def context_of(config: Any) -> int:
    """Tokens that the model can look at; 2048 where its config does not say."""
    for key in ("max_position_embeddings", "n_positions", "seq_length"):
        if getattr(config, key, None):
            return int(getattr(config, key))
    return 2048


def _count(shape: tuple[int, ...]) -> int:
    total = 1
    for side in shape:
        total *= side
    return total


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
