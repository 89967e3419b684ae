"""Keeps an arena in the cache: made once, whole or absent, checked when read, made again when damaged.

Where nothing can be written it lives in anonymous memory. Knows nothing of what the tensors mean.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeAlias

import msgspec

from sessions.engine import arena as flat
from sessions.engine.arena import Arena, Entry, Manifest, Piece
from sessions.engine.contract import Progress
from sessions.errors import LlamaTuiError, ModelUnusable
from sessions.paths import private_folder, private_open

Filled: TypeAlias = tuple[dict[str, Entry], dict[str, Piece], int]
Fill: TypeAlias = Callable[[BinaryIO], Filled]
"""Writes tensors into a file; returns entries, pieces that they share, and the size."""


@dataclass(frozen=True, slots=True)
class Opened:
    """An arena with its manifest; `descriptor` is a memory file's, kept open as long as it is used."""

    arena: Arena
    manifest: Manifest
    from_cache: bool
    descriptor: int | None = None


@dataclass(frozen=True, slots=True)
class Store:
    """One arena's place: a folder `place` in the cache, and what its manifest says besides the tensors."""

    place: Path
    about: Manifest
    progress: Progress

    def open(self, fill: Fill) -> Opened:
        """The arena out of the cache, else made by `fill` and kept."""
        kept = self._kept()
        if kept is not None:
            return kept
        try:
            private_folder(self.place.parent)
            manifest = self._make_on_disk(fill)
            return Opened(Arena.mapped(self.place / flat.DATA, manifest.size), manifest, False)
        except OSError as error:
            self.progress(
                f"The quantized model cannot be kept in {self.place.parent} ({error.strerror}); going on", None
            )
            return self._make_in_memory(fill)

    def _kept(self) -> Opened | None:
        if not (self.place / flat.MANIFEST).exists():
            shutil.rmtree(self.place, ignore_errors=True)
            return None
        try:
            self.progress("Reading the quantized model", None)
            manifest = flat.read_manifest(self.place / flat.MANIFEST)
            arena = Arena.mapped(self.place / flat.DATA, manifest.size)
            if arena.chunks() != manifest.chunks:
                raise ModelUnusable(f"{self.place} is damaged.")
            return Opened(arena, manifest, True)
        except (LlamaTuiError, OSError):
            self.progress("The kept quantized model is damaged and is made again", None)
            shutil.rmtree(self.place, ignore_errors=True)
            return None

    def _make_on_disk(self, fill: Fill) -> Manifest:
        beside = Path(tempfile.mkdtemp(prefix=".new-", dir=self.place.parent))
        try:
            with open(beside / flat.DATA, "wb", opener=private_open) as file:
                manifest = self._filled(fill, file, beside / flat.DATA, str(self.place / flat.DATA))
                os.fsync(file.fileno())
            flat.save_manifest(beside / flat.MANIFEST, manifest)
            # Another process may have been faster; its arena is as good.
            with suppress(OSError):
                beside.rename(self.place)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
        self._forget_older()
        return flat.read_manifest(self.place / flat.MANIFEST)

    def _make_in_memory(self, fill: Fill) -> Opened:
        descriptor = os.memfd_create("llama-tui-base")
        path = Path(f"/proc/{os.getpid()}/fd/{descriptor}")
        with path.open("wb") as file:
            manifest = self._filled(fill, file, path, str(path))
        return Opened(Arena.mapped(path, manifest.size), manifest, False, descriptor)

    def _filled(self, fill: Fill, file: BinaryIO, path: Path, data: str) -> Manifest:
        entries, shared, size = fill(file)
        file.flush()
        chunks = Arena.mapped(path, size).chunks()
        return msgspec.structs.replace(
            self.about, entries=entries, shared=shared, size=size, chunks=chunks, digest=flat.digest(chunks), data=data
        )

    def _forget_older(self) -> None:
        """Remove what was made from an older state of the same model, or in an older format, with the same settings."""
        for other in self.place.parent.glob(f"*/{flat.MANIFEST}"):
            with suppress(LlamaTuiError, OSError):
                about = flat.read_any_manifest(other)
                same = (about.source, about.quantization) == (self.about.source, self.about.quantization)
                if same and other.parent != self.place:
                    shutil.rmtree(other.parent)
