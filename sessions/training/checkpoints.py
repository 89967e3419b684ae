"""Checkpoints of a run on disk: written beside and renamed, the newest and the best kept.

Knows nothing of what is in them.
"""

from __future__ import annotations

import errno
import re
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path

from corpora.files import sync_folder
from sessions.adapter_folder import sync_files
from sessions.paths import private_folder

NAME = re.compile(r"checkpoint-([0-9]+)")
KEPT = 2


def folder_of(run: Path, step: int) -> Path:
    """Where the checkpoint of a step lies."""
    return run / f"checkpoint-{step}"


def steps(run: Path) -> list[int]:
    """Steps that have a whole checkpoint, in order."""
    return sorted(int(match[1]) for path in run.glob("checkpoint-*") if (match := NAME.fullmatch(path.name)))


def step_of(folder: Path) -> int:
    """The step that a checkpoint's folder is of."""
    return int(folder.name.rpartition("-")[2])


def newest(run: Path) -> Path | None:
    """The last whole checkpoint, or None."""
    found = steps(run)
    return folder_of(run, found[-1]) if found else None


def write(run: Path, step: int, fill: Callable[[Path], None], best: int = 0) -> Path:
    """Have `fill` write into a hidden folder, then rename it into place; older ones go, but the best stays.

    Raises OSError where the disk is full; nothing half-written is left.
    """
    beside = private_folder(run / f".checkpoint-{secrets.token_hex(4)}")
    try:
        fill(beside)
        sync_files(beside)
        sync_folder(beside)
        target = folder_of(run, step)
        if target.exists():
            shutil.rmtree(target)
        beside.rename(target)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    sync_folder(run)
    _rotate(run, best)
    return target


def is_disk_full(error: BaseException) -> bool:
    """Return whether an error of the system or of safetensors means that the disk is full."""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    return "No space left on device" in str(error) or "Disk quota exceeded" in str(error)


def clear(run: Path) -> None:
    """Remove every checkpoint, whole or not."""
    for path in [*run.glob("checkpoint-*"), *run.glob(".checkpoint-*")]:
        shutil.rmtree(path, ignore_errors=True)


def _rotate(run: Path, best: int) -> None:
    found = steps(run)
    keep = {found[-1], best} if best in found else set(found[-KEPT:])
    for step in found:
        if step not in keep:
            doomed = folder_of(run, step).rename(run / f".checkpoint-{secrets.token_hex(4)}")
            shutil.rmtree(doomed, ignore_errors=True)
