"""Dequantized copies of a small model's 4-bit weights for the duration of a run.

Each forward and backward pass of a 4-bit layer dequantizes its weight; where the memory is there, keeping the result
saves that time. The values are the same, so the trained adapter is, too.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch.nn import functional

from sessions.engine.libraries import bnb
from sessions.engine.skeleton import weight_of

MEMORY_SHARE = 0.25
"""The most of the free memory that the copies may take."""


def keep_dense(model: Any, free: int) -> int:
    """Give each 4-bit layer a dense weight where `free` bytes allow it; return the bytes used (0: unchanged)."""
    layers = [module for module in model.modules() if isinstance(module, bnb.nn.Linear4bit)]
    needed: int = sum(layer.in_features * layer.out_features * model.dtype.itemsize for layer in layers)
    if not layers or needed > free * MEMORY_SHARE:
        return 0
    for layer in layers:
        bias = None if layer.bias is None else layer.bias.detach()
        layer.forward = partial(_forward, weight_of(layer).clone(), bias)
    return needed


def _forward(weight: torch.Tensor, bias: torch.Tensor | None, x: torch.Tensor) -> torch.Tensor:
    return functional.linear(x.to(weight.dtype), weight, bias).to(x.dtype)
