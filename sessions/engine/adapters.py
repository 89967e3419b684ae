"""LoRA adapters in memory: read from PEFT folders, checked, mixed into one batch row by row, swapped.

The base is never touched: a wrapped layer adds `scale * B(A(x))`, with a scale of its own for each row.
"""

from __future__ import annotations

import re
import time
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional

from sessions.engine.arena import Arena, digest
from sessions.errors import AdapterDamaged, AdapterMismatch

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"
_KEY = re.compile(r"(?:base_model\.model\.)?(?P<module>.+)\.lora_(?P<half>[AB])(?:\.default)?\.weight")
MOST = 8
MOST_BYTES = 4 << 30


class LoraConfig(msgspec.Struct, frozen=True):
    """The keys of adapter_config.json that change what an adapter computes."""

    peft_type: str
    r: int = 8
    lora_alpha: float = 8
    use_rslora: bool = False
    use_dora: bool = False
    bias: str = "none"
    modules_to_save: list[str] | None = None
    rank_pattern: dict[str, int] = {}
    alpha_pattern: dict[str, float] = {}

    def scaling(self, module: str, rank: int) -> float:
        """PEFT's factor on one module's delta: alpha / r, or alpha / sqrt(r) with rsLoRA."""
        alpha = next((value for key, value in self.alpha_pattern.items() if _matches(key, module)), self.lora_alpha)
        return alpha / (rank**0.5 if self.use_rslora else rank)


def _matches(pattern: str, module: str) -> bool:
    return re.match(rf"(.*\.)?({pattern})$", module) is not None


@dataclass(frozen=True, slots=True)
class Delta:
    """One layer's pair: `a` [rank, in], `b` [rank, out] (as products read it fastest), and PEFT's scaling."""

    a: torch.Tensor
    b: torch.Tensor
    scaling: float


@dataclass(frozen=True, slots=True)
class Adapter:
    """One adapter in memory. `stamp` tells whether its files changed since."""

    name: str
    digest: str
    deltas: dict[str, Delta]
    stamp: tuple[int, int]

    @property
    def bytes(self) -> int:
        """Memory it takes."""
        return sum((pair.a.numel() + pair.b.numel()) * pair.a.element_size() for pair in self.deltas.values())

    @property
    def empty(self) -> bool:
        """True where all its deltas are zero, as those of an untrained adapter."""
        return all(not pair.b.any() or not pair.a.any() for pair in self.deltas.values())


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


def stamp(folder: Path) -> tuple[int, int]:
    """Size and time of the weights. Raises AdapterDamaged where there are none."""
    try:
        about = (folder / WEIGHTS).stat()
    except OSError as error:
        raise damaged(folder, "it has no adapter_model.safetensors") from error
    return about.st_size, about.st_mtime_ns


def read(name: str, folder: Path, model: nn.Module, device: torch.device, dtype: torch.dtype) -> Adapter:
    """Read a PEFT folder and check it against the base.

    Raises AdapterDamaged for bad files or weights that are not finite, AdapterMismatch for another base.
    """
    seen, config = stamp(folder), _config(folder)
    try:
        tensors = load_file(folder / WEIGHTS, device=str(device))
    except (SafetensorError, OSError) as error:
        raise damaged(folder, f"its weights cannot be read ({error})") from error
    halves = _halves(folder, tensors)
    deltas: dict[str, Delta] = {}
    for module, pair in halves.items():
        scaling = config.scaling(module, pair["A"].shape[0])
        delta = _delta(folder, module, pair, _sides(folder, model, module), scaling)
        deltas[module] = Delta(delta.a.to(dtype).contiguous(), delta.b.to(dtype).contiguous(), scaling)
    return Adapter(name, _digest(folder, seen[0]), deltas, seen)


def _config(folder: Path) -> LoraConfig:
    try:
        config = msgspec.json.decode((folder / CONFIG).read_bytes(), type=LoraConfig)
    except (msgspec.MsgspecError, OSError) as error:
        raise damaged(folder, f"its adapter_config.json cannot be read ({error})") from error
    odd = [
        text
        for text, is_so in (
            (f"of type {config.peft_type}", config.peft_type != "LORA"),
            ("a DoRA", config.use_dora),
            ("one that trains biases", config.bias != "none"),
            ("one that replaces whole modules", bool(config.modules_to_save)),
        )
        if is_so
    ]
    if odd:
        raise AdapterMismatch(
            f"{folder} is {odd[0]}, which chat cannot mix with the base.",
            data="What was in use stays in use.",
            remedy="Use a LoRA adapter.",
        )
    return config


def _halves(folder: Path, tensors: dict[str, torch.Tensor]) -> dict[str, dict[str, torch.Tensor]]:
    found: dict[str, dict[str, torch.Tensor]] = {}
    for key, tensor in tensors.items():
        match = _KEY.fullmatch(key)
        if match is None:
            raise AdapterMismatch(f"{folder} holds {key}, which is no LoRA weight of a linear layer.")
        found.setdefault(match["module"], {})[match["half"]] = tensor
    if not found or any(len(pair) != 2 for pair in found.values()):
        raise damaged(folder, "it lacks one half of a layer's pair")
    return found


def _delta(folder: Path, module: str, pair: dict[str, torch.Tensor], sides: tuple[int, int], scaling: float) -> Delta:
    a, b = pair["A"], pair["B"]
    inputs, outputs = sides
    if a.dim() != 2 or b.dim() != 2 or (a.shape[1], b.shape[0]) != (inputs, outputs) or a.shape[0] != b.shape[1]:
        raise AdapterMismatch(
            f"{folder} was made for another base: {module} is {outputs} × {inputs} here, "
            f"and the adapter has {tuple(b.shape)} × {tuple(a.shape)}.",
            data="What was in use stays in use.",
            remedy="Open the base it was trained on.",
        )
    if not (a.isfinite().all() and b.isfinite().all()):
        raise damaged(folder, f"{module} holds numbers that are not finite")
    return Delta(a, b.T, scaling)


def _sides(folder: Path, model: nn.Module, module: str) -> tuple[int, int]:
    try:
        found: Any = model.get_submodule(module)
    except AttributeError as error:
        raise AdapterMismatch(
            f"{folder} was made for another base: this one has no {module}.",
            data="What was in use stays in use.",
            remedy="Open the base it was trained on.",
        ) from error
    linear = found.base if isinstance(found, TunedLinear) else found
    if not isinstance(linear, nn.Linear):
        raise AdapterMismatch(f"{folder} changes {module}, which is no linear layer.")
    return linear.in_features, linear.out_features


def _digest(folder: Path, size: int) -> str:
    chunks = Arena.mapped(folder / WEIGHTS, size).chunks()
    config = msgspec.json.decode((folder / CONFIG).read_bytes(), type=LoraConfig)
    return digest((*chunks, str(config)))


def damaged(folder: Path, why: str) -> AdapterDamaged:
    """The error for an adapter that is never switched in."""
    return AdapterDamaged(
        f"The adapter in {folder} cannot be used: {why}.",
        data="What was in use stays in use.",
        remedy="Train or import it again, or go back to an older version.",
    )


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


@dataclass(slots=True)
class Timer:
    """Seconds since it was made."""

    began: float = 0.0

    def __post_init__(self) -> None:
        self.began = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds so far."""
        return time.monotonic() - self.began
