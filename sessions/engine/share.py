"""One frozen base in two processes: the host offers its arena, a worker opens it.

On a CPU both map one file; on CUDA the worker opens the host's memory through IPC, and the host must
outlive it.
"""

from __future__ import annotations

import base64
import os
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import torch

from sessions.engine import arena as flat
from sessions.engine import skeleton
from sessions.engine.arena import Arena
from sessions.engine.base import LoadedBase, assemble
from sessions.engine.words import read_words
from sessions.errors import ModelUnusable


def offer(base: LoadedBase, folder: Path) -> Path:
    """Write this process's manifest of the base's arena; raises RuntimeError where CUDA cannot share it.

    Hosts of other homes and models share the folder, so the file bears the process's number.
    """
    manifest = base.manifest
    if base.arena.data.is_cuda:
        manifest = msgspec.structs.replace(manifest, handle=_handle(base.arena.data))
    path = folder / f"{os.getpid()}.base"
    flat.save_manifest(path, manifest)
    return path


def open_shared(path: Path) -> LoadedBase:
    """The base behind an offered manifest, without a copy. Raises ModelUnusable where it is gone."""
    manifest = flat.read_manifest(path)
    dtype: torch.dtype = getattr(torch, manifest.dtype)
    if manifest.handle:
        data = Arena(_opened(manifest.handle))
    elif Path(manifest.data).exists():
        data = Arena.mapped(Path(manifest.data), manifest.size)
    else:
        raise ModelUnusable("The host that shares the model is gone.", remedy="Start the run again.")
    config = skeleton.read_config(Path(manifest.source))
    empty = skeleton.build(config, manifest.quantization, dtype)
    return assemble(empty, data, manifest, partial(read_words, Path(manifest.source), config))


def _handle(data: torch.Tensor) -> str:
    parts: Any = data.untyped_storage()._share_cuda_()  # type: ignore[no-untyped-call]
    return base64.b64encode(msgspec.msgpack.encode([data.storage_offset(), data.numel(), *parts])).decode()


def _opened(handle: str) -> torch.Tensor:
    torch.cuda.init()  # type: ignore[no-untyped-call]
    offset, count, *parts = msgspec.msgpack.decode(base64.b64decode(handle))
    storage = torch.UntypedStorage._new_shared_cuda(*parts)
    made: torch.Tensor = torch.empty(0, dtype=torch.uint8, device="cuda").set_(storage, offset, (count,))  # type: ignore[call-overload]
    return made
