"""What this machine has: NVIDIA GPUs, as the driver reports them, and memory. Torch-free."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True, slots=True)
class Gpu:
    """One NVIDIA GPU; memory in bytes, `capability` as (major, minor)."""

    name: str
    memory: int
    free: int
    capability: tuple[int, int]


def has_nvidia() -> bool:
    """Return whether the driver reports a GPU."""
    import pynvml

    try:
        pynvml.nvmlInit()
        return int(pynvml.nvmlDeviceGetCount()) > 0
    except pynvml.NVMLError:
        return False


def gpus() -> tuple[list[Gpu], str]:
    """Return the GPUs, or none and the reason."""
    import pynvml

    try:
        pynvml.nvmlInit()
        handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        return [_gpu_of(handle) for handle in handles], "the driver reports none"
    except pynvml.NVMLError as error:
        return [], str(error)


def _gpu_of(handle: object) -> Gpu:
    import pynvml

    memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
    name = pynvml.nvmlDeviceGetName(handle)
    text = name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)
    return Gpu(text, int(memory.total), int(memory.free), tuple(pynvml.nvmlDeviceGetCudaComputeCapability(handle)))


def memory() -> tuple[float, float]:
    """Return the bytes of memory in total and available, within the limit of the control group."""
    found, limit = psutil.virtual_memory(), _group_limit()
    return min(found.total, limit), min(found.available, limit)


def _group_limit() -> float:
    try:
        return float(Path("/sys/fs/cgroup/memory.max").read_text())
    except (OSError, ValueError):
        return float("inf")
