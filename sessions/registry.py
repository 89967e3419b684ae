"""Adapters on disk: names, versions, lineage, atomic publish, roll-back, import and export. Torch-free.

`adapters/NAME/vN/` is a PEFT folder, whole or absent; `adapters/NAME/current` names the version in use.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from sessions.paths import Paths
from sessions.training.events import Scored


class Lineage(msgspec.Struct, frozen=True, kw_only=True):
    """lineage.json: where a version comes from and what it has seen.

    `parent` is `base` or `NAME/vN`; `base_digest` identifies the base's weights; `seen` are hashes of the
    rows that this run trained on (those of its ancestors stand in theirs).
    """

    adapter: str
    version: int
    parent: str
    base_model: str
    base_digest: str = ""
    digest: str = ""
    run: str = ""
    snapshot: str = ""
    rows: int = 0
    seen: tuple[str, ...] = ()
    rank: int = 0
    loss: float | None = None
    held_out: float | None = None
    scores: tuple[Scored, ...] = ()
    worse: str = ""
    steps: int = 0
    created: float = 0.0
    note: str = ""


class Registry:
    """The adapters of one data home."""

    def __init__(self, paths: Paths) -> None:
        self.paths = paths

    def names(self) -> list[str]:
        """Names that have a version, sorted."""
        raise NotImplementedError

    def versions(self, name: str) -> list[Lineage]:
        """Whole versions, the oldest first; one that is damaged is left out."""
        raise NotImplementedError

    def all(self) -> list[Lineage]:
        """Every version of every name."""
        raise NotImplementedError

    def lineage(self, adapter: str) -> Lineage:
        """Of `NAME/vN` or `NAME` (its current version). Raises AdapterNotFound, AdapterDamaged."""
        raise NotImplementedError

    def resolve(self, adapter: str) -> str:
        """`base`, or `NAME/vN` for `NAME/vN`, `NAME@vN`, `NAME@N` or `NAME`. Raises AdapterNotFound."""
        raise NotImplementedError

    def folder(self, adapter: str) -> Path:
        """The PEFT folder of `NAME/vN`, checked to be whole. Raises AdapterNotFound, AdapterDamaged."""
        raise NotImplementedError

    def current(self, name: str) -> str:
        """The version in use as `NAME/vN`; `base` after a roll-back past v1 or where none exists."""
        raise NotImplementedError

    def use(self, adapter: str) -> None:
        """Make `NAME/vN` the current version of its name."""
        raise NotImplementedError

    def rollback(self, name: str) -> str:
        """Make the parent of the current version current; returns it (`base` at the first)."""
        raise NotImplementedError

    def publish(self, staged: Path, lineage: Lineage) -> str:
        """Move a finished PEFT folder into place as the next version; returns `NAME/vN`.

        Writes lineage.json and README.md, fsyncs, renames: a reader sees all of it or nothing.
        """
        raise NotImplementedError

    def rename(self, name: str, new: str) -> None:
        """Rename an adapter with all its versions (lineages of others follow)."""
        raise NotImplementedError

    def remove(self, adapter: str) -> None:
        """Remove `NAME/vN` or `NAME` with all versions. The current version is refused with the way out."""
        raise NotImplementedError

    def import_folder(self, folder: Path, name: str) -> str:
        """Copy a PEFT folder in as the next version of a name; safetensors only. Raises AdapterDamaged."""
        raise NotImplementedError

    def export(self, adapter: str, target: Path) -> Path:
        """Copy a version out as a PEFT folder that `PeftModel.from_pretrained` opens."""
        raise NotImplementedError
