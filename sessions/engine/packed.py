"""4-bit weights in the layout of bitsandbytes' AVX512-BF16 kernel, for decoding on such a CPU.

A second, derived arena: the base's own weights stay as they are, since training and prefill need them so.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import torch
from torch import nn

from sessions.engine.arena import Entry, Manifest, Piece, Writer
from sessions.engine.contract import Progress
from sessions.engine.libraries import bnb, bnf
from sessions.engine.store import Filled, Opened, Store

BLOCK = 64
PANEL = 32
KERNEL = "gemv_4bit_inference_cpu_nf4_bf16"
Groups: TypeAlias = dict[str, list[nn.Module]]
"""Linear layers that take the same input, by the group's name."""


@dataclass(frozen=True, slots=True)
class Packed:
    """The weights of one group, one below the other: `data` [out, in / 2], `absmax` [in / 64, out]."""

    data: torch.Tensor
    absmax: torch.Tensor

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """[rows, in] to [rows, out], both bfloat16 and contiguous."""
        rows, size = x.shape
        outputs = self.data.shape[0]
        out = torch.empty((rows, outputs), dtype=torch.bfloat16)
        assert _kernel is not None
        _kernel(
            rows, outputs, size, x.data_ptr(), self.data.data_ptr(), self.absmax.data_ptr(), out.data_ptr(),
            BLOCK, size, outputs,
        )  # fmt: skip
        return out


def usable(groups: Groups) -> bool:
    """Whether the CPU has the kernel, and all layers are NF4 of fitting sizes without biases."""
    if _kernel is None:
        return False
    return all(_fits(linear) for group in groups.values() for linear in group) and _agrees()


def _fits(linear: Any) -> bool:
    fits = isinstance(linear, bnb.nn.Linear4bit) and linear.bias is None and linear.compute_dtype == torch.bfloat16
    return fits and linear.in_features % BLOCK == 0 and linear.out_features % PANEL == 0


def open_packed(groups: Groups, about: Manifest, place: Path, progress: Progress) -> tuple[dict[str, Packed], Opened]:
    """The groups' packed weights, out of the cache or made now."""

    def fill(file: BinaryIO) -> Filled:
        writer, entries = Writer(file), dict[str, Entry]()
        for index, (name, linears) in enumerate(groups.items()):
            entries[name] = _write(writer, linears)
            progress("Arranging the weights for this CPU", (index + 1) / len(groups))
        return entries, dict[str, Piece](), writer.size

    opened = Store(place, about, progress).open(fill)
    views = {
        name: Packed(opened.arena.view(entry.pieces["data"]), opened.arena.view(entry.pieces["absmax"]))
        for name, entry in opened.manifest.entries.items()
    }
    return views, opened


def _write(writer: Writer, linears: list[Any]) -> Entry:
    data, absmax = pack(linears)
    return Entry("packed", tuple(data.shape), {"data": writer.add(data), "absmax": writer.add(absmax)})


def pack(linears: list[Any]) -> tuple[torch.Tensor, torch.Tensor]:
    """Data and scales of layers with one input, in the kernel's layout."""
    data = torch.cat([_pack_data(linear.weight.data, linear.weight.quant_state.shape) for linear in linears])
    return data, torch.cat([_scales(linear.weight.quant_state) for linear in linears], dim=1).contiguous()


def _pack_data(data: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """Panels of 32 outputs: for each pair of inputs 32 bytes, outputs 0-15 in the low and 16-31 in the high half."""
    outputs, inputs = shape
    panels = data.view(outputs // PANEL, PANEL, inputs // 2)
    low, high = panels[:, : PANEL // 2], panels[:, PANEL // 2 :]
    first = (high & 0xF0) | (low >> 4)
    second = ((high & 0xF) << 4) | (low & 0xF)
    return torch.stack((first, second), dim=-1).transpose(1, 2).reshape(outputs, inputs // 2)


def _scales(state: Any) -> torch.Tensor:
    absmax = bnf.dequantize_blockwise(state.absmax, state.state2) + state.offset
    outputs, inputs = state.shape
    scales: torch.Tensor = absmax.view(outputs, inputs // BLOCK).T.to(torch.bfloat16)
    return scales


def _load_kernel() -> Callable[..., None] | None:
    """bitsandbytes' own function through a handle of our own, or None where it has none for this CPU."""
    if not bnf.has_avx512bf16():
        return None
    try:
        found = getattr(ctypes.CDLL(bnf.lib._lib._name), KERNEL)
    except (AttributeError, OSError):
        return None
    size, pointer = ctypes.c_int64, ctypes.c_void_p
    found.argtypes = [size, size, size, pointer, pointer, pointer, pointer, size, size, size]
    found.restype = None
    return found  # type: ignore[no-any-return]


def _agrees() -> bool:
    """Try the kernel on a small matrix, so that a changed layout is noticed and never used."""
    linear = bnb.nn.Linear4bit(
        2 * BLOCK, 2 * PANEL, bias=False, compute_dtype=torch.bfloat16, quant_type="nf4", compress_statistics=True
    )
    source = torch.Generator().manual_seed(0)
    linear.weight.data = torch.randn(2 * PANEL, 2 * BLOCK, generator=source).to(torch.bfloat16)
    linear = linear.to("cpu")
    x = torch.randn(2, 2 * BLOCK, generator=source).to(torch.bfloat16)
    exact = x.float() @ bnf.dequantize_4bit(linear.weight, linear.weight.quant_state).float().T
    found = Packed(*pack([linear]))(x).float()
    return bool((found - exact).abs().max() <= 0.02 * exact.abs().max())


_kernel = _load_kernel()
