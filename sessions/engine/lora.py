"""The deltas of a LoRA, rsLoRA or DoRA adapter, from its tensors, checked against the base. Knows no batches."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import torch
from torch import nn

from sessions.adapter_folder import CONFIG
from sessions.engine.adapter import Delta, damaged, linear, mismatch
from sessions.engine.skeleton import weight_of
from sessions.errors import UNREADABLE

_KEY = re.compile(
    r"(?:base_model\.model\.)?(?P<module>.+)\.lora_(?:(?P<half>[AB])(?:\.default)?\.weight|(?P<size>magnitude_vector))"
)


class LoraConfig(msgspec.Struct, frozen=True):
    """The keys of adapter_config.json that change what an adapter computes."""

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


def read(folder: Path, raw: bytes, tensors: dict[str, torch.Tensor], model: nn.Module) -> dict[str, Delta]:
    """The deltas of a LoRA, rsLoRA or DoRA, by the layer they change; `raw` is its config.

    Raises AdapterDamaged for weights that are not finite, AdapterMismatch for another base.
    """
    config = _config(folder, raw)
    return {
        module: _delta(folder, config, module, parts, linear(folder, model, module))
        for module, parts in _parts(folder, tensors, config.use_dora).items()
    }


def _config(folder: Path, raw: bytes) -> LoraConfig:
    try:
        config = msgspec.json.decode(raw, type=LoraConfig)
        for pattern in config.alpha_pattern:
            re.compile(pattern)
    except (re.error, *UNREADABLE) as error:
        raise damaged(folder, f"its {CONFIG} cannot be read ({error})") from error
    odd = "trains biases" if config.bias != "none" else "replaces whole modules" if config.modules_to_save else ""
    if odd:
        raise mismatch(folder, f"{odd}, which chat cannot mix with the base", "Use an adapter without them.")
    return config


def _parts(folder: Path, tensors: dict[str, torch.Tensor], dora: bool) -> dict[str, dict[str, torch.Tensor]]:
    """Each module's tensors: `A`, `B`, and a DoRA's `magnitude_vector`."""
    found: dict[str, dict[str, torch.Tensor]] = {}
    for key, tensor in tensors.items():
        match = _KEY.fullmatch(key)
        if match is None:
            raise mismatch(folder, f"holds {key}, which is no LoRA weight of a linear layer")
        found.setdefault(match["module"], {})[match["half"] or match["size"]] = tensor
    whole = {"A", "B", "magnitude_vector"} if dora else {"A", "B"}
    if not found or any(set(parts) != whole for parts in found.values()):
        raise damaged(folder, "it lacks a part of a layer's weights")
    return found


def _delta(folder: Path, config: LoraConfig, module: str, parts: dict[str, torch.Tensor], linear: nn.Linear) -> Delta:
    a, b, size = parts["A"], parts["B"], parts.get("magnitude_vector")
    inputs, outputs = linear.in_features, linear.out_features
    if a.dim() != 2 or b.dim() != 2 or (a.shape[1], b.shape[0]) != (inputs, outputs) or a.shape[0] != b.shape[1]:
        shapes = f"{tuple(b.shape)} × {tuple(a.shape)}"
        raise mismatch(
            folder, f"was made for another base: {module} is {outputs} × {inputs} here, and the adapter has {shapes}"
        )
    if not a.shape[0]:
        raise damaged(folder, f"{module} has matrices of rank 0")
    delta = Delta(a, b, config.scaling(module, a.shape[0]))
    return delta if size is None else _with_magnitudes(folder, module, delta, size.flatten(), linear)


def _with_magnitudes(folder: Path, module: str, delta: Delta, size: torch.Tensor, linear: nn.Linear) -> Delta:
    """A DoRA's pair (arXiv 2402.09353, equation 5): each output is scaled to its magnitude.

    `size * (W + s B A) x / |W + s B A|` is `g (W x + s B A x)` with one g for each output, which is known now.
    """
    if linear.bias is not None or size.numel() != linear.out_features:
        raise mismatch(folder, f"changes {module} by DoRA, which does not fit this layer")
    a, b = delta.a.float(), delta.b.float()
    whole = torch.addmm(weight_of(linear).float(), b, a, alpha=delta.scaling)
    gain = size.float() / whole.norm(dim=1)
    return Delta(delta.a, b * gain[:, None], delta.scaling, gain - 1)
