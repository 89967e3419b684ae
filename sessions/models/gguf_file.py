"""The header of a GGUF file: metadata, and where each tensor is. Torch-free; reads no weights.

`gguf.GGUFReader` makes a numpy array of every token and merge (seconds, and 100 MB for a vocabulary of 50,000);
here each array is one list. Knows nothing of what the keys mean.
"""

from __future__ import annotations

import math
import mmap
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sessions.errors import ModelUnusable

MAGIC = b"GGUF"
VERSIONS = (2, 3)
STRING, ARRAY = 8, 9
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
ALIGNMENT = 32
FLOAT32 = 0
"""ggml's number of the type."""


@dataclass(frozen=True, slots=True)
class TensorPlace:
    """One tensor: its shape with the outermost dimension first, ggml's number of its type, its offset in the file."""

    shape: tuple[int, ...]
    kind: int
    offset: int


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """The content of a GGUF file before its weights."""

    path: Path
    metadata: dict[str, Any]
    tensors: dict[str, TensorPlace]


def is_gguf(path: Path) -> bool:
    """Return whether a path is named like a GGUF file."""
    return path.suffix.lower() == ".gguf"


def read_header(path: Path) -> GgufHeader:
    """Read the metadata and the list of tensors. Raises ModelUnusable for a file that is not complete."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _Reader(data).header(path)
    except (OSError, ValueError, struct.error, UnicodeDecodeError, MemoryError) as error:
        raise damaged(path, error) from error


def read_floats(header: GgufHeader, name: str) -> Sequence[float]:
    """Read a small float32 tensor. Raises ModelUnusable for one of another type or outside the file."""
    place = header.tensors[name]
    length = 4 * math.prod(place.shape)
    with header.path.open("rb") as file:
        file.seek(place.offset)
        content = file.read(length)
    if place.kind != FLOAT32 or len(content) < length:
        raise damaged(header.path, f"{name} cannot be read")
    return struct.unpack(f"<{length // 4}f", content)


def damaged(path: Path, error: Exception | str) -> ModelUnusable:
    """Return the error for a GGUF file that cannot be read to its end."""
    return ModelUnusable(
        f"{path} is not a complete GGUF file: {error!s:.200}",
        data="Nothing was loaded.",
        remedy="Download the file again.",
    )


class _Reader:
    """Reads values one after another; every read is bounded by the file's size."""

    def __init__(self, data: mmap.mmap) -> None:
        self._data = data
        self._place = 0

    def header(self, path: Path) -> GgufHeader:
        if self._bytes(4) != MAGIC:
            raise ValueError("it does not begin with GGUF")
        version = self._scalar("I")
        if version not in VERSIONS:
            raise ValueError(f"version {version} of the format is not supported")
        tensors, keys = self._scalar("Q"), self._scalar("Q")
        metadata = {self._text(): self._value(self._scalar("I")) for _ in range(self._count(keys, 12))}
        places = [self._tensor() for _ in range(self._count(tensors, 24))]
        alignment = metadata.get("general.alignment", ALIGNMENT)
        if not isinstance(alignment, int) or alignment < 1:
            raise ValueError("general.alignment is not a positive number")
        start = -(-self._place // alignment) * alignment
        found = {name: TensorPlace(shape, kind, start + offset) for name, shape, kind, offset in places}
        return GgufHeader(path, metadata, found)

    def _tensor(self) -> tuple[str, tuple[int, ...], int, int]:
        name = self._text()
        dimensions = self._count(self._scalar("I"), 8)
        shape = tuple(self._scalar("Q") for _ in range(dimensions))
        return name, shape[::-1], self._scalar("I"), self._scalar("Q")

    def _value(self, kind: int) -> Any:
        if kind == STRING:
            return self._text()
        if kind == ARRAY:
            return self._array(self._scalar("I"))
        return self._scalar(_code(kind))

    def _array(self, kind: int) -> list[Any]:
        count = self._scalar("Q")
        if kind in (STRING, ARRAY):
            read: Callable[[], Any] = self._text if kind == STRING else lambda: self._value(ARRAY)
            return [read() for _ in range(self._count(count, 8))]
        code = _code(kind)
        size = struct.calcsize(f"<{code}")
        return list(struct.unpack(f"<{count}{code}", self._bytes(self._count(count, size) * size)))

    def _text(self) -> str:
        return self._bytes(self._scalar("Q")).decode("utf-8")

    def _scalar(self, code: str) -> Any:
        format_ = f"<{code}"
        (value,) = struct.unpack_from(format_, self._data, self._place)
        self._place += struct.calcsize(format_)
        return value

    def _bytes(self, count: int) -> bytes:
        start, self._place = self._place, self._place + self._count(count, 1)
        return self._data[start : self._place]

    def _count(self, count: int, size: int) -> int:
        """Return a count of items of at least `size` bytes, if the rest of the file can contain them."""
        if count * size > len(self._data) - self._place:
            raise ValueError("it is cut short")
        return int(count)


def _code(kind: int) -> str:
    if kind not in SCALARS:
        raise ValueError(f"there is no type {kind} of metadata")
    return SCALARS[kind]
