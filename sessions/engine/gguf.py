"""Weights of a GGUF file, one tensor at a time under the names and in the layout of transformers' Llama."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
import numpy as np
import torch
import xxhash
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize

from sessions.errors import UNREADABLE, ModelUnusable
from sessions.models.gguf_file import TensorPlace, damaged, read_header
from sessions.models.gguf_folder import Record
from sessions.models.gguf_llama import own_name
from sessions.paths import write_atomic

Bytes: TypeAlias = np.ndarray[Any, np.dtype[np.uint8]]
ELEMENTS = 1 << 21
"""Dequantized at a time by each thread, which bounds the float32 values in memory."""
THREADS = min(8, os.cpu_count() or 1)
"""numpy releases the GIL while it computes."""
CHUNK = 64 << 20
DIGEST = "digest.json"


class _Digest(msgspec.Struct, frozen=True):
    """A file's digest, with the state of the file that it was computed from."""

    record: Record
    digest: str


def gguf_digest(path: Path, folder: Path) -> str:
    """Return the XXH3 digest (128 bits) of the whole file; stored in its folder until the file changes."""
    record = Record.of(path)
    with suppress(OSError, *UNREADABLE):
        kept = msgspec.json.decode((folder / DIGEST).read_bytes(), type=_Digest)
        if kept.record == record:
            return kept.digest
    made = xxhash.xxh3_128()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            made.update(chunk)
    with suppress(OSError):  # Where it cannot be kept it is computed again.
        write_atomic(folder / DIGEST, msgspec.json.encode(_Digest(record, made.hexdigest())))
    return made.hexdigest()


def gguf_tensors(path: Path, config: Any, dtype: torch.dtype) -> Iterator[tuple[str, torch.Tensor, float]]:
    """Yield each tensor with its name in transformers and the fraction that is read after it.

    Raises ModelUnusable for a damaged file.
    """
    header = read_header(path)
    data = np.memmap(path, np.uint8, "r")
    for index, (name, place) in enumerate(header.tensors.items()):
        own = own_name(name)
        if own is not None:
            tensor = _dequantized(path, data, place, dtype)
            yield own, _in_order(own, tensor, config), (index + 1) / len(header.tensors)


def _dequantized(path: Path, data: Bytes, place: TensorPlace, dtype: torch.dtype) -> torch.Tensor:
    """Dequantize one tensor, some rows at a time."""
    kind = _kind(path, place.kind)
    block, size = GGML_QUANT_SIZES[kind]
    try:
        *outer, inner = place.shape
        rows = int(np.prod(outer, dtype=np.int64))
        length = inner // block * size
        raw = data[place.offset : place.offset + rows * length].reshape(rows, length)
        made = torch.empty((rows, inner), dtype=dtype)
        step = max(1, ELEMENTS // inner)

        def fill(start: int) -> None:
            values = dequantize(_typed(raw[start : start + step], kind), kind)
            made[start : start + step] = torch.from_numpy(np.require(values, np.float32, ["C", "W"]))

        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(fill, range(0, rows, step)))
        return made.view(place.shape)
    except NotImplementedError as error:
        raise _unsupported(path, kind.name) from error
    except (ValueError, ZeroDivisionError) as error:
        raise damaged(path, error) from error


def _kind(path: Path, number: int) -> GGMLQuantizationType:
    try:
        return GGMLQuantizationType(number)
    except ValueError as error:
        raise _unsupported(path, f"type {number}") from error


def _unsupported(path: Path, kind: str) -> ModelUnusable:
    return ModelUnusable(
        f"{path} is quantized as {kind}, which the gguf package cannot read.",
        data="Nothing was loaded.",
        remedy="Get the file in another quantization, such as Q4_K_M or Q8_0, or update the gguf package.",
    )


def _typed(raw: Bytes, kind: GGMLQuantizationType) -> np.ndarray[Any, Any]:
    plain = {GGMLQuantizationType.F32: np.float32, GGMLQuantizationType.F16: np.float16}
    return raw.view(plain[kind]) if kind in plain else raw


def _in_order(name: str, tensor: torch.Tensor, config: Any) -> torch.Tensor:
    """Reorder query and key rows for transformers: llama.cpp interleaves the two halves of each head."""
    part = name.split(".")[-2]
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}.get(part)
    if heads is None:
        return tensor
    half = tensor.shape[0] // heads // 2
    return tensor.view(heads, half, 2, *tensor.shape[1:]).transpose(1, 2).reshape(tensor.shape)
