"""The gains of an IA3 adapter (arXiv 2205.05638), from its tensors, checked against the base. Knows no batches."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from torch import nn

from sessions.engine.adapter import Delta, damaged, linear, mismatch

_KEY = re.compile(r"(?:base_model\.model\.)?(?P<module>.+)\.ia3_l(?:\.default)?")
GATED = ("gate_proj", "up_proj", "down_proj", "act_fn")


def read(folder: Path, tensors: dict[str, torch.Tensor], model: nn.Module) -> dict[str, Delta]:
    """The gains of an IA3 as deltas of rank 0, by the layer they change.

    A layer's inputs are scaled where they are made: `down(act(gate x) * up x * l)` is `down(act(gate x) * (l up x))`.
    Raises AdapterDamaged, AdapterMismatch for another base.
    """
    sizes: dict[str, torch.Tensor] = {}
    for key, tensor in tensors.items():
        match = _KEY.fullmatch(key)
        if match is None:
            raise mismatch(folder, f"holds {key}, which is no IA3 weight of a linear layer")
        module = _scaled(folder, model, match["module"], tensor)
        sizes[module] = sizes.get(module, 1) * tensor.flatten().float()
    if not sizes:
        raise damaged(folder, "it holds no weights")
    return {module: _gain(linear(folder, model, module), size) for module, size in sizes.items()}


def _scaled(folder: Path, model: nn.Module, module: str, tensor: torch.Tensor) -> str:
    """The layer whose outputs the vector scales: `[out, 1]` the module's own, `[1, in]` what makes its inputs."""
    layer = linear(folder, model, module)
    if tensor.shape == (layer.out_features, 1):
        return module
    if tensor.shape != (1, layer.in_features):
        raise mismatch(folder, f"was made for another base: {module} has other sizes here")
    parent = module.rpartition(".")[0]
    if not module.endswith(".down_proj") or not all(hasattr(model.get_submodule(parent), name) for name in GATED):
        why = f"scales the inputs of {module}, which chat cannot mix with this kind of base"
        raise mismatch(folder, why, "Use an IA3 without feedforward_modules.")
    return f"{parent}.up_proj"


def _gain(layer: nn.Linear, size: torch.Tensor) -> Delta:
    a, b = size.new_empty(0, layer.in_features), size.new_empty(layer.out_features, 0)
    return Delta(a, b, 1.0, size - 1)
