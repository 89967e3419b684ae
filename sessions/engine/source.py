"""From a model's own files to an arena: reads safetensors or GGUF one tensor at a time, quantizes, writes.

Never holds more than one tensor of the source in memory.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from sessions.engine.arena import FORMAT, Entry, Piece, Writer
from sessions.engine.contract import Progress
from sessions.engine.gguf import gguf_digest, gguf_tensors
from sessions.engine.libraries import bnb
from sessions.engine.skeleton import quantized, write_entry
from sessions.errors import UNREADABLE, ModelUnusable
from sessions.models import Source

HASHED = ("config.json", "generation_config.json", "tokenizer.json", "model.safetensors.index.json")


def cache_key(found: Source, *settings: str) -> str:
    """Identify source files (safetensors by size and time; others by content), versions and settings."""
    import transformers

    told = [str(FORMAT), torch.__version__, transformers.__version__, bnb.__version__, *settings]
    if found.weights is not None:
        told.append(gguf_digest(found.weights, found.folder))
    for path in sorted(found.folder.iterdir()):
        if path.suffix == ".safetensors":
            about = path.stat()
            told += [path.name, path.resolve().name, str(about.st_size), str(about.st_mtime_ns)]
        elif path.name in HASHED:
            told += [path.name, hashlib.sha256(path.read_bytes()).hexdigest()]
    return hashlib.sha256("\0".join(told).encode()).hexdigest()[:32]


def quantize_into(
    file: BinaryIO, found: Source, model: Any, *, dtype: torch.dtype, device: torch.device, progress: Progress
) -> tuple[dict[str, Entry], dict[str, Piece], int]:
    """Write every parameter and buffer of `model` from its weights on disk; entries, code books, size.

    Raises ModelUnusable for damaged or missing weights, OSError where the disk is full.
    """
    writer, shared, entries = Writer(file), dict[str, Piece](), dict[str, Entry]()
    parameters, renamed = dict(model.named_parameters()), _renamings(model)
    where = found.weights or found.folder
    tensors = _tensors(found.folder) if found.weights is None else gguf_tensors(found.weights, model.config, dtype)
    for key, tensor, done in tensors:
        name = _own_name(renamed(key), model, parameters)
        if name is None:
            continue
        _check_shape(f"{where}: {key}", tensor, parameters[name], model.get_submodule(name.rpartition(".")[0]))
        entries[name] = write_entry(writer, quantized(model, name), tensor.to(device, dtype), shared)
        progress("Quantizing the model", done)
    _check_complete(where, set(parameters) - set(entries))
    for name, buffer in model.named_buffers():
        entries[name] = write_entry(writer, "plain", buffer, shared)
    return entries, shared, writer.size


def _tensors(folder: Path) -> Iterator[tuple[str, torch.Tensor, float]]:
    """Yield each tensor with its key and the fraction that is read after it."""
    keys = [(path, key) for path in _files(folder) for key in _keys(path)]
    opened: tuple[Path, Any] | None = None
    for index, (path, key) in enumerate(keys):
        try:
            if opened is None or opened[0] != path:
                opened = (path, safe_open(path, framework="pt"))
            tensor = opened[1].get_tensor(key)
        except (SafetensorError, OSError) as error:
            raise _damaged(path, error) from error
        yield key, tensor, (index + 1) / len(keys)


def _files(folder: Path) -> list[Path]:
    index = folder / "model.safetensors.index.json"
    if index.exists():
        try:
            named = msgspec.json.decode(index.read_bytes(), type=dict[str, Any])["weight_map"]
        except (*UNREADABLE, KeyError) as error:
            raise _damaged(index, error) from error
        return [folder / name for name in sorted(set(named.values()))]
    single = folder / "model.safetensors"
    return [single] if single.exists() else sorted(folder.glob("*.safetensors"))


def _keys(path: Path) -> list[str]:
    try:
        with safe_open(path, framework="pt") as file:
            return list(file.keys())
    except (SafetensorError, OSError) as error:
        raise _damaged(path, error) from error


def _renamings(model: Any) -> Callable[[str], str]:
    """Return a function that gives a checkpoint's key the name of today's transformers."""
    from transformers.conversion_mapping import WeightRenaming, get_model_conversion_mapping

    found = [each for each in get_model_conversion_mapping(model) if isinstance(each, WeightRenaming)]

    def renamed(key: str) -> str:
        for each in found:
            key = each.rename_source_key(key)[0]
        return key

    return renamed


def _own_name(key: str, model: Any, parameters: dict[str, nn.Parameter]) -> str | None:
    """Return the parameter that a checkpoint's key names, with or without the base's prefix."""
    prefix = f"{model.base_model_prefix}."
    candidates = (key, prefix + key, key.removeprefix(prefix))
    return next((name for name in candidates if name in parameters), None)


def _check_shape(what: str, tensor: torch.Tensor, parameter: torch.Tensor, module: nn.Module) -> None:
    linear = isinstance(module, nn.Linear) and tensor.dim() == 2
    wanted = (module.out_features, module.in_features) if linear else tuple(parameter.shape)
    if tuple(tensor.shape) != wanted:
        raise ModelUnusable(
            f"{what} is {tuple(tensor.shape)}, and config.json asks for {wanted}.",
            data="Nothing was loaded.",
            remedy="Its config and its weights do not belong together; get the model again.",
        )


def _check_complete(where: Path, missing: set[str]) -> None:
    if missing:
        raise ModelUnusable(
            f"{where} lacks {len(missing)} of its weights, such as {min(missing)}.",
            data="Nothing was loaded.",
            remedy="Get the model again; or it stores its weights in a layout that is not supported.",
        )


def _damaged(path: Path, error: Exception) -> ModelUnusable:
    return ModelUnusable(
        f"{path} is damaged: {error!s:.200}", data="Nothing was loaded.", remedy="Download the model again."
    )
