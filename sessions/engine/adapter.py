"""One adapter in memory, whatever made it: changes of linear layers, or virtual tokens before the prompt.

Values and their errors only; who reads them from a folder is in `reading.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from sessions.adapter_folder import WEIGHTS
from sessions.engine.kv import KvStore
from sessions.errors import AdapterDamaged, AdapterMismatch


@dataclass(frozen=True, slots=True)
class Delta:
    """What changes one linear layer: a pair `a` [rank, in], `b` [out, rank] with PEFT's scaling, a `gain` [out].

    `gain` is what an adapter adds of the base's outputs, as DoRA and IA3 do, and None for a LoRA; the rank may be 0.
    """

    a: torch.Tensor
    b: torch.Tensor
    scaling: float
    gain: torch.Tensor | None = None

    def to(self, dtype: torch.dtype) -> Delta:
        """The same in the number format that computes; what is in it already stays where the file is mapped."""
        gain = None if self.gain is None else self.gain.to(dtype)
        return Delta(self.a.to(dtype), self.b.to(dtype), self.scaling, gain)

    @property
    def bytes(self) -> int:
        """Memory it takes."""
        return sum(part.nbytes for part in (self.a, self.b, self.gain) if part is not None)

    @property
    def empty(self) -> bool:
        """True where it changes nothing, as an untrained one."""
        return (not self.b.any() or not self.a.any()) and (self.gain is None or not self.gain.any())


class Lead(Protocol):
    """Virtual tokens that stand before a prompt. Rows with and without them cannot share a batch."""

    @property
    def tokens(self) -> int:
        """How many places they take."""
        ...

    @property
    def bytes(self) -> int:
        """Memory they take."""
        ...

    def place(self, model: Any, kv: KvStore) -> None:
        """Fill the first places of the empty window."""
        ...


@dataclass(frozen=True, slots=True)
class Adapter:
    """One adapter in memory. `stamp` tells whether its files changed since; `digest` is their checksum."""

    name: str
    digest: str
    stamp: tuple[int, int]
    deltas: dict[str, Delta]
    lead: Lead | None = None
    version: str = ""
    """The identity of the version: another one may be found under the same name later."""

    @property
    def bytes(self) -> int:
        """Memory it takes."""
        return sum(delta.bytes for delta in self.deltas.values()) + (self.lead.bytes if self.lead else 0)

    @property
    def empty(self) -> bool:
        """True where it changes nothing."""
        return self.lead is None and all(delta.empty for delta in self.deltas.values())


def stamp(folder: Path) -> tuple[int, int]:
    """Size and time of the weights. Raises AdapterDamaged where there are none."""
    try:
        about = (folder / WEIGHTS).stat()
    except OSError as error:
        raise damaged(folder, f"it has no {WEIGHTS}") from error
    return about.st_size, about.st_mtime_ns


def linear(folder: Path, model: nn.Module, module: str) -> nn.Linear:
    """The frozen layer that an adapter changes, whatever is wrapped around it. Raises AdapterMismatch."""
    try:
        found: Any = model.get_submodule(module)
    except AttributeError as error:
        raise mismatch(folder, f"was made for another base: this one has no {module}") from error
    layer = getattr(found, "base", found)
    if not isinstance(layer, nn.Linear):
        raise mismatch(folder, f"changes {module}, which is no linear layer")
    return layer


def mismatch(folder: Path, why: str, remedy: str = "Open the base it was trained on.") -> AdapterMismatch:
    """The error for an adapter that does not fit the base."""
    return AdapterMismatch(f"{folder} {why}.", data="What was in use stays in use.", remedy=remedy)


def damaged(folder: Path, why: str) -> AdapterDamaged:
    """The error for an adapter that is never switched in."""
    return AdapterDamaged(
        f"The adapter in {folder} cannot be used: {why}.",
        data="What was in use stays in use.",
        remedy="Train or import it again, or go back to an older version.",
    )
