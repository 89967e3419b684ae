"""Training that feels the 4-bit load: weights pass through NF4 on their way, gradients pass by it.

The same blocks, values and 8-bit scales as bitsandbytes; knows nothing of texts.
"""

from __future__ import annotations

import torch
from bitsandbytes import functional
from torch import Tensor, nn
from torch.nn.utils import parametrize


class ThroughNF4(nn.Module):
    """A weight as it is after a 4-bit load; the gradient goes to the weight as it was."""

    def forward(self, weight: Tensor) -> Tensor:
        """The round trip, with a straight-through gradient."""
        return weight + (round_trip(weight.detach()) - weight.detach())


@torch.no_grad()
def round_trip(weight: Tensor) -> Tensor:
    """NF4 with double quantization and back, from the 16-bit form that is saved."""
    packed, state = functional.quantize_4bit(
        weight.to(torch.bfloat16).contiguous(), blocksize=64, quant_type="nf4", compress_statistics=True
    )
    back: Tensor = functional.dequantize_4bit(packed, state)
    return back.to(weight.dtype)


def attach(model: nn.Module) -> None:
    """From here on every linear layer but the last is trained as it will be loaded."""
    for layer in _quantized(model):
        parametrize.register_parametrization(layer, "weight", ThroughNF4())


def detach(model: nn.Module) -> None:
    """Back to plain weights, as they are to be saved."""
    for layer in _quantized(model):
        parametrize.remove_parametrizations(layer, "weight", leave_parametrized=False)


def _quantized(model: nn.Module) -> list[nn.Linear]:
    return [
        part for name, part in model.named_modules() if isinstance(part, nn.Linear) and not name.endswith("lm_head")
    ]
