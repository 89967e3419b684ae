"""All tensors of a frozen base in one flat file with a manifest: written once, mapped by every process.

A mapping is private: who writes to a tensor gets a copy of that page, and the file stays as it is.
Knows nothing of models' names, caches or quantization.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

import msgspec
import torch
import xxhash

from sessions.adapter_folder import CHUNK
from sessions.errors import UNREADABLE, ModelUnusable
from sessions.paths import write_atomic

FORMAT = 2
ALIGNMENT = 64
MANIFEST = "manifest.json"
DATA = "base.bin"


class Piece(msgspec.Struct, frozen=True):
    """One tensor's place in the file: offset in bytes, shape, and dtype by torch's name."""

    offset: int
    shape: tuple[int, ...]
    dtype: str


class Entry(msgspec.Struct, frozen=True):
    """One parameter or buffer: `plain`, `nf4` or `int8`, its unpacked shape, and its parts."""

    kind: str
    shape: tuple[int, ...]
    pieces: dict[str, Piece]


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What lies in the file. `digest` identifies the content; `source` is the model's own folder."""

    name: str
    source: str
    quantization: str
    dtype: str
    size: int = 0
    digest: str = ""
    chunks: tuple[str, ...] = ()
    entries: dict[str, Entry] = {}
    shared: dict[str, Piece] = {}
    data: str = DATA
    handle: str = ""
    format: int = FORMAT


class Writer:
    """Appends tensors to an open file, each at an aligned offset."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.size = 0

    def add(self, tensor: torch.Tensor) -> Piece:
        """Write one tensor; raises OSError where the disk is full."""
        flat = tensor.detach().cpu().contiguous()
        padding = -self.size % ALIGNMENT
        self._file.write(b"\0" * padding)
        piece = Piece(self.size + padding, tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."))
        self._file.write(flat.reshape(-1).view(torch.uint8).numpy().data)
        self.size = piece.offset + flat.numel() * flat.element_size()
        return piece


class Arena:
    """The file's bytes as one uint8 tensor, on the CPU (mapped) or on a device (copied)."""

    def __init__(self, data: torch.Tensor) -> None:
        self.data = data

    @classmethod
    def mapped(cls, path: Path, size: int) -> Arena:
        """Map a file. Raises ModelUnusable where it is shorter than its manifest says."""
        if path.stat().st_size < size:
            raise ModelUnusable(f"{path} is cut short.", remedy="Remove it; it is made again.")
        storage = torch.UntypedStorage.from_file(str(path), shared=False, nbytes=size)
        return cls(torch.empty(0, dtype=torch.uint8).set_(storage, 0, (size,)))  # type: ignore[call-overload]

    def to(self, device: torch.device) -> Arena:
        """A copy on another device, chunk by chunk."""
        if device.type == self.data.device.type:
            return self
        there = torch.empty_like(self.data, device=device)
        for start in range(0, self.data.numel(), CHUNK):
            there[start : start + CHUNK].copy_(self.data[start : start + CHUNK])
        return Arena(there)

    def view(self, piece: Piece) -> torch.Tensor:
        """A tensor that shares the arena's memory."""
        dtype: torch.dtype = getattr(torch, piece.dtype)
        count = 1
        for side in piece.shape:
            count *= side
        end = piece.offset + count * dtype.itemsize
        return self.data[piece.offset : end].view(dtype).view(piece.shape)

    def chunks(self) -> tuple[str, ...]:
        """XXH3 (128 bits) of each `CHUNK` bytes, in parallel: as fast as memory; it finds damage, it guards nothing."""
        starts = range(0, self.data.numel(), CHUNK)
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            return tuple(pool.map(self._chunk, starts))

    def _chunk(self, start: int) -> str:
        return xxhash.xxh3_128_hexdigest(self.data[start : start + CHUNK].cpu().numpy().data)


def digest(chunks: tuple[str, ...]) -> str:
    """One digest of all chunks."""
    return xxhash.xxh3_128_hexdigest("".join(chunks).encode())


def save_manifest(path: Path, manifest: Manifest) -> None:
    """Write a manifest; it is the mark that its data is whole."""
    write_atomic(path, msgspec.json.encode(manifest))


def read_manifest(path: Path) -> Manifest:
    """Read a manifest. Raises ModelUnusable where it is damaged or of another format."""
    manifest = read_any_manifest(path)
    if manifest.format != FORMAT:
        raise ModelUnusable(f"{path} is of another version.", remedy="Remove its folder; it is made again.")
    return manifest


def read_any_manifest(path: Path) -> Manifest:
    """Read a manifest of whatever format. Raises ModelUnusable where it is damaged."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Manifest)
    except (OSError, *UNREADABLE) as error:
        raise ModelUnusable(f"{path} cannot be read: {error}", remedy="Remove its folder; it is made again.") from error
