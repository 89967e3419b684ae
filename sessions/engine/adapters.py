"""LoRA adapters in memory: which are held, mixed into one batch row by row, swapped.

The base is never touched: a wrapped layer adds `scale * B(A(x))` to the rows that an adapter writes.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace

import torch
from torch import nn

from sessions.engine.adapter import Adapter

MOST = 8
MOST_BYTES = 4 << 30


@dataclass(frozen=True, slots=True)
class Part:
    """One adapter's delta on neighbouring rows: `a` [rank, in], `b` [out, rank], and its weight.

    `gain` [out], or None, is what the adapter adds of the base's own outputs (DoRA).
    """

    rows: slice
    a: torch.Tensor
    b: torch.Tensor
    factor: float
    gain: torch.Tensor | None

    def onto(self, out: torch.Tensor, x: torch.Tensor) -> None:
        """Add to the base's `out` [n, out] what the adapter makes of `x` [n, in], both in the adapter's dtype."""
        if self.gain is not None:
            out.addcmul_(out, self.gain)
        out.addmm_(torch.mm(x, self.a.T), self.b.T, alpha=self.factor)


class TunedLinear(nn.Module):
    """A frozen linear layer plus the deltas that are active now, each on its own of `rows` rows."""

    def __init__(self, base: nn.Module) -> None:
        super().__init__()
        self.base = base
        self.parts: tuple[Part, ...] = ()
        self.rows = 1

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[rows, tokens, in] or [rows * tokens, in], as some models have it, to the same of `out`."""
        out: torch.Tensor = self.base(x)
        if not self.parts:
            return out
        given, made = (each.reshape(self.rows, -1, each.shape[-1]) for each in (x, out))
        for part in self.parts:
            wide = made[part.rows].to(part.a.dtype).flatten(0, 1)
            part.onto(wide, given[part.rows].to(part.a.dtype).flatten(0, 1))
            made[part.rows] = wide.view(-1, *made.shape[1:]).to(out.dtype)
        return made.view(out.shape)

    @property
    def weight(self) -> torch.Tensor:
        """The base's weight, for code that looks at its dtype or device."""
        return self.base.weight  # type: ignore[return-value]


class Residents:
    """The adapters in memory, the last used last, and those that are active in the model."""

    def __init__(self, model: nn.Module, most: int = MOST, most_bytes: int = MOST_BYTES) -> None:
        self.model = model
        self.layers: dict[str, TunedLinear] = {}
        self._held: OrderedDict[str, Adapter] = OrderedDict()
        self._most, self._most_bytes = most, most_bytes
        self.active: tuple[tuple[str, float], ...] = ()
        """Digest and strength of each row's adapter, as they compute now."""

    def names(self) -> tuple[str, ...]:
        """Names in memory, the last used first."""
        return tuple(reversed(self._held))

    def get(self, name: str) -> Adapter | None:
        """An adapter in memory, counted as used."""
        if name in self._held:
            self._held.move_to_end(name)
        return self._held.get(name)

    def at(self, name: str, version: str) -> Adapter | None:
        """The adapter with an identity, under the name that it has now, counted as used."""
        found = next((held for held in self._held.values() if held.version == version), None)
        if found is None or not version:
            return self.get(name)
        if found.name != name:
            del self._held[found.name]
            self._held[name] = replace(found, name=name)
        return self.get(name)

    def add(self, adapter: Adapter) -> None:
        """Hold an adapter, in the place of an older one of its name; the least recently used may go."""
        self.wrap(adapter)
        self._held[adapter.name] = adapter
        self._held.move_to_end(adapter.name)
        while len(self._held) > 1 and self._too_much():
            self._held.popitem(last=False)

    def remove(self, name: str) -> None:
        """Forget one."""
        self._held.pop(name, None)

    def clear(self) -> None:
        """Forget all, and leave the model as it was."""
        for name, layer in self.layers.items():
            parent, _, leaf = name.rpartition(".")
            setattr(self.model.get_submodule(parent), leaf, layer.base)
        self.layers.clear()
        self._held.clear()
        self.active = ()

    def activate(self, columns: list[tuple[Adapter | None, float]]) -> None:
        """Make row i compute with column i's adapter (None: the base) at that strength."""
        wanted = tuple((adapter.digest if adapter else "", strength) for adapter, strength in columns)
        if wanted == self.active:
            return
        runs = _runs(columns)
        for name, layer in self.layers.items():
            layer.parts = tuple(_part(*run, name) for run in runs if name in run[1].deltas)
            layer.rows = len(columns)
        self.active = wanted

    def _too_much(self) -> bool:
        total = sum(adapter.bytes for adapter in self._held.values())
        return len(self._held) > self._most or total > self._most_bytes

    def wrap(self, adapter: Adapter) -> None:
        """Prepare the layers that an adapter changes."""
        for name in adapter.deltas:
            if name not in self.layers:
                parent, _, leaf = name.rpartition(".")
                layer = TunedLinear(self.model.get_submodule(name))
                setattr(self.model.get_submodule(parent), leaf, layer.eval())
                self.layers[name] = layer


def _runs(columns: list[tuple[Adapter | None, float]]) -> list[tuple[slice, Adapter, float]]:
    """Neighbouring rows with the same adapter at the same strength; rows of the base are in none."""
    found: list[tuple[slice, Adapter, float]] = []
    for row, (adapter, strength) in enumerate(columns):
        if adapter is None:
            continue
        if found and found[-1][0].stop == row and (found[-1][1].digest, found[-1][2]) == (adapter.digest, strength):
            found[-1] = (slice(found[-1][0].start, row + 1), adapter, strength)
        else:
            found.append((slice(row, row + 1), adapter, strength))
    return found


def _part(rows: slice, adapter: Adapter, strength: float, name: str) -> Part:
    delta = adapter.deltas[name]
    gain = None if delta.gain is None else delta.gain * strength
    return Part(rows, delta.a, delta.b, delta.scaling * strength, gain)
