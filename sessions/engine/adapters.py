"""LoRA adapters in memory: which are held, mixed into one batch row by row, swapped.

The base is never touched: a wrapped layer adds `scale * B(A(x))`, with a scale of its own for each row.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import nn
from torch.nn import functional

from sessions.engine.lora import Adapter, Delta

MOST = 8
MOST_BYTES = 4 << 30


class TunedLinear(nn.Module):
    """A frozen linear layer plus the deltas that are active now.

    `scale` [rows, 1, ranks] weighs each row's deltas; `factor` stands for it where all weights are one number.
    """

    def __init__(self, base: nn.Module) -> None:
        super().__init__()
        self.base = base
        self.a: torch.Tensor | None = None
        self.b: torch.Tensor | None = None
        self.scale: torch.Tensor | None = None
        self.factor: float | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[rows, tokens, in] to [rows, tokens, out]."""
        out: torch.Tensor = self.base(x)
        if self.a is None or self.b is None or self.scale is None:
            return out
        inner = functional.linear(x.to(self.a.dtype), self.a) * self.scale
        return out + (inner @ self.b).to(out.dtype)

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
        self._active: tuple[tuple[str, float], ...] = ()
        self.version = 0

    def names(self) -> tuple[str, ...]:
        """Names in memory, the last used first."""
        return tuple(reversed(self._held))

    def get(self, name: str) -> Adapter | None:
        """An adapter in memory, counted as used."""
        if name in self._held:
            self._held.move_to_end(name)
        return self._held.get(name)

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

    def activate(self, columns: list[tuple[Adapter | None, float]]) -> None:
        """Make row i compute with column i's adapter (None: the base) at that strength."""
        wanted = tuple((adapter.digest if adapter else "", strength) for adapter, strength in columns)
        if wanted == self._active:
            return
        used = list({adapter.digest: adapter for adapter, _ in columns if adapter}.values())
        for name, layer in self.layers.items():
            _activate_layer(layer, [adapter.deltas.get(name) for adapter in used], _shares(columns, used))
        self._active = wanted
        self.version += 1

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


def _shares(columns: list[tuple[Adapter | None, float]], used: list[Adapter]) -> list[list[float]]:
    """For each row, how much of each used adapter it takes."""
    return [
        [strength if adapter is not None and adapter.digest == other.digest else 0.0 for other in used]
        for adapter, strength in columns
    ]


def _activate_layer(layer: TunedLinear, deltas: list[Delta | None], shares: list[list[float]]) -> None:
    present = [(index, delta) for index, delta in enumerate(deltas) if delta is not None]
    if not present:
        layer.a = layer.b = layer.scale = layer.factor = None
        return
    pairs = [delta for _, delta in present]
    layer.a = pairs[0].a if len(pairs) == 1 else torch.cat([pair.a for pair in pairs])
    layer.b = pairs[0].b if len(pairs) == 1 else torch.cat([pair.b for pair in pairs])
    rows = [[row[index] * delta.scaling for index, delta in present for _ in range(delta.a.shape[0])] for row in shares]
    layer.scale = torch.tensor(rows, dtype=layer.a.dtype).to(layer.a.device).unsqueeze(1)
    weights = {weight for row in rows for weight in row}
    layer.factor = weights.pop() if len(weights) == 1 else None
