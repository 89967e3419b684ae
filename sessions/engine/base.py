"""Loads a base model once: from its cached arena, else quantized from its own files; for host and worker.

Knows nothing of chat, adapters or training.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import torch

from sessions.engine import arena as flat
from sessions.engine import skeleton, source
from sessions.engine.arena import Arena, Manifest
from sessions.engine.contract import Loader, Progress
from sessions.engine.errors import memory_errors
from sessions.engine.words import Words, read_words
from sessions.errors import LlamaTuiError, ModelUnusable
from sessions.models import resolve
from sessions.paths import Paths, private_folder, private_open
from sessions.protocol import ModelInfo
from sessions.settings import Settings


@dataclass(slots=True)
class LoadedBase:
    """A frozen base: the transformers model, its tokenizer, what screens show, the content's digest.

    `manifest` names where another process finds the same tensors; `arena` keeps them alive here.
    """

    model: Any
    tokenizer: Any
    words: Words
    info: ModelInfo
    digest: str
    manifest: Manifest
    arena: Arena
    dtype: torch.dtype
    descriptor: int | None = None

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.arena.data.device


def loader(model: str, paths: Paths, settings: Settings) -> Loader:
    """A function that loads the model and gives an engine; errors are those of `load_base`."""

    def load(progress: Progress) -> Any:
        from sessions.engine.local import LocalEngine

        return LocalEngine(load_base(model, paths, settings, progress), paths)

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
    quantization = settings.quantization
    progress("Reading the model", None)
    config = skeleton.read_config(found.folder)
    words = read_words(found.folder, config)
    empty = skeleton.build(config, quantization, dtype)
    with memory_errors("loading the model", "Nothing was loaded."):
        store = _Store(found.name, found.folder, quantization, dtype, device, paths, progress)
        data, manifest, descriptor, from_cache = store.open(empty)
        progress("Placing the weights", None)
        base = assemble(empty, data.to(device), manifest, words)
        base.descriptor = descriptor
    base.info = msgspec.structs.replace(base.info, load_seconds=time.monotonic() - began, from_cache=from_cache)
    return base


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


@dataclass(slots=True)
class _Store:
    """Where a base's arena is kept: a folder in the cache, or anonymous memory where the disk is full."""

    name: str
    folder: Path
    quantization: str
    dtype: torch.dtype
    device: torch.device
    paths: Paths
    progress: Progress

    def open(self, empty: Any) -> tuple[Arena, Manifest, int | None, bool]:
        """The arena and its manifest; a memory file's descriptor; whether it came from the cache."""
        kind = str(self.dtype).removeprefix("torch.")
        key = source.cache_key(self.folder, self.quantization, kind, self.device.type)
        place = self.paths.cache / "models" / key
        cached = self._cached(place)
        if cached is not None:
            return (*cached, None, True)
        try:
            private_folder(place.parent)
            manifest = self._quantize_to_disk(empty, place)
            return Arena.mapped(place / flat.DATA, manifest.size), manifest, None, False
        except OSError as error:
            self.progress(f"The quantized model cannot be kept in {place.parent}: {error.strerror}; going on", None)
            return (*self._quantize_to_memory(empty), False)

    def _cached(self, place: Path) -> tuple[Arena, Manifest] | None:
        if not (place / flat.MANIFEST).exists():
            shutil.rmtree(place, ignore_errors=True)
            return None
        try:
            self.progress("Reading the quantized model", None)
            manifest = flat.read_manifest(place / flat.MANIFEST)
            arena = Arena.mapped(place / flat.DATA, manifest.size)
            if arena.chunks() != manifest.chunks:
                raise ModelUnusable(f"{place} is damaged.")
            return arena, manifest
        except (LlamaTuiError, OSError):
            self.progress("The kept quantized model is damaged and is made again", None)
            shutil.rmtree(place, ignore_errors=True)
            return None

    def _quantize_to_disk(self, empty: Any, place: Path) -> Manifest:
        beside = Path(tempfile.mkdtemp(prefix=".new-", dir=place.parent))
        try:
            with open(beside / flat.DATA, "wb", opener=private_open) as file:
                manifest = self._quantize(file, empty, beside / flat.DATA)
                os.fsync(file.fileno())
            manifest = msgspec.structs.replace(manifest, data=str(place / flat.DATA))
            flat.save_manifest(beside / flat.MANIFEST, manifest)
            with suppress(FileExistsError, OSError):
                beside.rename(place)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
        self._forget_older(place)
        return flat.read_manifest(place / flat.MANIFEST)

    def _quantize_to_memory(self, empty: Any) -> tuple[Arena, Manifest, int]:
        descriptor = os.memfd_create("llama-tui-base")
        path = Path(f"/proc/{os.getpid()}/fd/{descriptor}")
        with path.open("wb") as file:
            manifest = self._quantize(file, empty, path)
        return Arena.mapped(path, manifest.size), manifest, descriptor

    def _quantize(self, file: Any, empty: Any, path: Path) -> Manifest:
        written = source.quantize_into(
            file, self.folder, empty, dtype=self.dtype, device=self.device, progress=self.progress
        )
        entries, shared, size = written
        file.flush()
        chunks = Arena.mapped(path, size).chunks()
        return Manifest(
            name=self.name,
            source=str(self.folder),
            quantization=self.quantization,
            dtype=str(self.dtype).removeprefix("torch."),
            size=size,
            digest=flat.digest(chunks),
            chunks=chunks,
            entries=entries,
            shared=shared,
            data=str(path),
        )

    def _forget_older(self, place: Path) -> None:
        """Remove what was made from an older state of the same model with the same settings."""
        for other in place.parent.glob(f"*/{flat.MANIFEST}"):
            with suppress(LlamaTuiError, OSError):
                about = flat.read_manifest(other)
                same = (about.source, about.quantization) == (str(self.folder), self.quantization)
                if same and other.parent != place:
                    shutil.rmtree(other.parent)


def assemble(empty: Any, data: Arena, manifest: Manifest, words: tuple[Words, Any]) -> LoadedBase:
    """A base out of a skeleton and an arena that is on its device."""
    skeleton.plug(empty, data, manifest)
    dtype: torch.dtype = getattr(torch, manifest.dtype)
    skeleton.mark_quantized(empty, manifest.quantization, dtype)
    base = LoadedBase(empty, words[1], words[0], ModelInfo(name=""), manifest.digest, manifest, data, dtype)
    base.info = _info(base)
    return base


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
