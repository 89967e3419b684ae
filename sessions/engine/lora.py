"""One LoRA (or rsLoRA, DoRA) adapter out of a PEFT folder: read, checked against the base, ready to be mixed in.

Reads the files itself, so that a swap costs what the disk costs. Knows nothing of batches.
"""

from __future__ import annotations

import math
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from sessions.engine.arena import Arena, digest
from sessions.engine.skeleton import weight_of
from sessions.errors import UNREADABLE, AdapterDamaged, AdapterMismatch

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"
_KEY = re.compile(
    r"(?:base_model\.model\.)?(?P<module>.+)\.lora_(?:(?P<half>[AB])(?:\.default)?\.weight|(?P<size>magnitude_vector))"
)


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
    """One layer's pair: `a` [rank, in], `b` [out, rank], and PEFT's scaling.

    `gain` [out] is what a DoRA adds of the base's outputs, its magnitudes being folded into `b`; None for a LoRA.
    """

    a: torch.Tensor
    b: torch.Tensor
    scaling: float
    gain: torch.Tensor | None = None


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
    with ThreadPoolExecutor(1) as pool:
        told = pool.submit(_digest, folder, seen[0], config)
        deltas = {
            module: _in(dtype, _delta(folder, config, module, parts, _linear(folder, model, module)))
            for module, parts in _parts(folder, tensors, config.use_dora).items()
        }
        return Adapter(name, told.result(), deltas, seen)


def _config(folder: Path) -> LoraConfig:
    try:
        config = msgspec.json.decode((folder / CONFIG).read_bytes(), type=LoraConfig)
        for pattern in config.alpha_pattern:
            re.compile(pattern)
    except (OSError, re.error, *UNREADABLE) as error:
        raise damaged(folder, f"its adapter_config.json cannot be read ({error})") from error
    odd = [
        text
        for text, is_so in (
            (f"of type {config.peft_type}", config.peft_type != "LORA"),
            ("one that trains biases", config.bias != "none"),
            ("one that replaces whole modules", bool(config.modules_to_save)),
        )
        if is_so
    ]
    if odd:
        raise AdapterMismatch(
            f"{folder} is {odd[0]}, which chat cannot mix with the base.",
            data="What was in use stays in use.",
            remedy="Use a LoRA, rsLoRA or DoRA adapter.",
        )
    return config


def _parts(folder: Path, tensors: dict[str, torch.Tensor], dora: bool) -> dict[str, dict[str, torch.Tensor]]:
    """Each module's tensors: `A`, `B`, and a DoRA's `magnitude_vector`."""
    found: dict[str, dict[str, torch.Tensor]] = {}
    for key, tensor in tensors.items():
        match = _KEY.fullmatch(key)
        if match is None:
            raise AdapterMismatch(f"{folder} holds {key}, which is no LoRA weight of a linear layer.")
        found.setdefault(match["module"], {})[match["half"] or match["size"]] = tensor
    whole = {"A", "B", "magnitude_vector"} if dora else {"A", "B"}
    if not found or any(set(parts) != whole for parts in found.values()):
        raise damaged(folder, "it lacks a part of a layer's weights")
    return found


def _delta(folder: Path, config: LoraConfig, module: str, parts: dict[str, torch.Tensor], linear: nn.Linear) -> Delta:
    a, b, size = parts["A"], parts["B"], parts.get("magnitude_vector")
    inputs, outputs = linear.in_features, linear.out_features
    if a.dim() != 2 or b.dim() != 2 or (a.shape[1], b.shape[0]) != (inputs, outputs) or a.shape[0] != b.shape[1]:
        raise AdapterMismatch(
            f"{folder} was made for another base: {module} is {outputs} × {inputs} here, "
            f"and the adapter has {tuple(b.shape)} × {tuple(a.shape)}.",
            data="What was in use stays in use.",
            remedy="Open the base it was trained on.",
        )
    if not a.shape[0]:
        raise damaged(folder, f"{module} has matrices of rank 0")
    if not all(_finite(part) for part in parts.values()):
        raise damaged(folder, f"{module} holds numbers that are not finite")
    delta = Delta(a, b, config.scaling(module, a.shape[0]))
    return delta if size is None else _with_magnitudes(folder, module, delta, size.flatten(), linear)


def _with_magnitudes(folder: Path, module: str, delta: Delta, size: torch.Tensor, linear: nn.Linear) -> Delta:
    """A DoRA's pair (arXiv 2402.09353, equation 5): each output is scaled to its magnitude.

    `size * (W + s B A) x / |W + s B A|` is `g (W x + s B A x)` with one g for each output, which is known now.
    """
    if linear.bias is not None or size.numel() != linear.out_features:
        raise AdapterMismatch(f"{folder} changes {module} by DoRA, which does not fit this layer.")
    a, b = delta.a.float(), delta.b.float()
    whole = torch.addmm(weight_of(linear).float(), b, a, alpha=delta.scaling)
    gain = size.float() / whole.norm(dim=1)
    return Delta(delta.a, b * gain[:, None], delta.scaling, gain - 1)


def _in(dtype: torch.dtype, delta: Delta) -> Delta:
    """The pair in the number format that computes; what is in it already stays where the file is mapped."""
    gain = None if delta.gain is None else delta.gain.to(dtype)
    return Delta(delta.a.to(dtype), delta.b.to(dtype), delta.scaling, gain)


def _finite(tensor: torch.Tensor) -> bool:
    """Whether all numbers are finite: their sum tells in one pass, unless it overflows."""
    return math.isfinite(float(tensor.sum(dtype=torch.float32))) or bool(tensor.isfinite().all())


def _linear(folder: Path, model: nn.Module, module: str) -> nn.Linear:
    try:
        found: Any = model.get_submodule(module)
    except AttributeError as error:
        raise AdapterMismatch(
            f"{folder} was made for another base: this one has no {module}.",
            data="What was in use stays in use.",
            remedy="Open the base it was trained on.",
        ) from error
    linear = getattr(found, "base", found)
    if not isinstance(linear, nn.Linear):
        raise AdapterMismatch(f"{folder} changes {module}, which is no linear layer.")
    return linear


def _digest(folder: Path, size: int, config: LoraConfig) -> str:
    return digest((*Arena.mapped(folder / WEIGHTS, size).chunks(), str(config)))


def damaged(folder: Path, why: str) -> AdapterDamaged:
    """The error for an adapter that is never switched in."""
    return AdapterDamaged(
        f"The adapter in {folder} cannot be used: {why}.",
        data="What was in use stays in use.",
        remedy="Train or import it again, or go back to an older version.",
    )
