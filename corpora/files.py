"""Writing a file whole or not at all, and making folders, for their owner alone.

Knows nothing of what stands in them.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from corpora.errors import CorpusError


@contextmanager
def whole(path: Path) -> Iterator[BinaryIO]:
    """A file beside `path` to write into; renamed to it, on disk, when the block is left without an error.

    A reader sees the old file or the new one. Raises OSError; `path` then is as it was.
    """
    private_folder(path.parent)
    descriptor, beside = tempfile.mkstemp(prefix=f".{path.name[:100]}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        Path(beside).replace(path)
    except BaseException:
        Path(beside).unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


@contextmanager
def written_whole(path: Path) -> Iterator[BinaryIO]:
    """`whole`, its OSError as a CorpusError for the person."""
    try:
        with whole(path) as file:
            yield file
    except OSError as error:
        raise CorpusError(
            f"{path} cannot be written: {error.strerror or error}.",
            data="What was there before is unharmed.",
            remedy="Check the free space and the folder's permissions, or name another path.",
        ) from error


def private_folder(path: Path) -> Path:
    """Make a folder that only its owner can enter, and each parent that is missing likewise."""
    missing = [folder for folder in (path, *path.parents) if not folder.is_dir()]
    for folder in reversed(missing):
        folder.mkdir(mode=0o700, exist_ok=True)
        folder.chmod(0o700)
    return path


def sync_folder(path: Path) -> None:
    """Make a rename in this folder survive a power cut."""
    sync_file(path)


def sync_file(path: Path) -> None:
    """Make what was written survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
