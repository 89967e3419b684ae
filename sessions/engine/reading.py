"""An adapter out of a PEFT folder, read, checked against the base, ready to be mixed in or placed before a prompt.

Reads the files itself, so that a swap costs what the disk costs. Knows nothing of batches.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, load_file
from torch import nn

from sessions.adapter_folder import CONFIG, WEIGHTS, checksum_of, read_config
from sessions.disks import network_kind
from sessions.engine import ia3, leads, lora
from sessions.engine.adapter import Adapter, Delta, Lead, damaged, stamp
from sessions.engine.arena import Arena


def read(name: str, folder: Path, model: nn.Module, device: torch.device, dtype: torch.dtype) -> Adapter:
    """Read a PEFT folder and check it against the base; deltas compute in `dtype`.

    Raises AdapterDamaged for bad files or weights that are not finite, AdapterMismatch for another base.
    """
    seen, method, raw = stamp(folder), read_config(folder).peft_type, (folder / CONFIG).read_bytes()
    try:
        tensors, weights = _opened(folder, seen[0], device)
    except (SafetensorError, OSError) as error:
        raise damaged(folder, f"its weights cannot be read ({error})") from error
    with ThreadPoolExecutor(1) as pool:
        checksum = pool.submit(lambda: checksum_of(weights.chunks(), raw))
        deltas, lead = _content(folder, method, raw, tensors, model)
        _check_finite(folder, tensors.items())
        computing = {module: delta.to(dtype) for module, delta in deltas.items()}
        return Adapter(name, checksum.result(), seen, computing, lead)


def _opened(folder: Path, size: int, device: torch.device) -> tuple[dict[str, torch.Tensor], Arena]:
    """The tensors and the file's bytes, mapped; read where another machine may take the file away.

    A mapped page of a file that is gone ends the process (SIGBUS), and no `except` sees it.
    """
    path = folder / WEIGHTS
    if not network_kind(folder):
        return load_file(path, device=str(device)), Arena.mapped(path, size)
    data = bytearray(path.read_bytes())
    tensors = {name: tensor.to(device) for name, tensor in load(bytes(data)).items()}
    return tensors, Arena(torch.frombuffer(data, dtype=torch.uint8))


def _content(
    folder: Path, method: str, raw: bytes, tensors: dict[str, torch.Tensor], model: nn.Module
) -> tuple[dict[str, Delta], Lead | None]:
    match method:
        case "LORA":
            return lora.read(folder, raw, tensors, model), None
        case "IA3":
            return ia3.read(folder, tensors, model), None
        case _:
            return {}, leads.read(folder, method, tensors, model)


def _check_finite(folder: Path, tensors: Iterable[tuple[str, torch.Tensor]]) -> None:
    for name, tensor in tensors:
        if not _finite(tensor):
            raise damaged(folder, f"{name} holds numbers that are not finite")


def _finite(tensor: torch.Tensor) -> bool:
    """Whether all numbers are finite: their sum tells in one pass, unless it overflows."""
    return math.isfinite(float(tensor.sum(dtype=torch.float32))) or bool(tensor.isfinite().all())
