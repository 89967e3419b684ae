"""Turns torch's ways of saying "out of memory" into ours. Knows nothing of models."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from sessions.errors import OutOfMemory

_SIGNS = ("can't allocate memory", "out of memory", "not enough memory", "CUBLAS_STATUS_ALLOC_FAILED")


def is_memory_error(error: BaseException) -> bool:
    """Whether the machine or the GPU had no room."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _SIGNS)


@contextmanager
def memory_errors(doing: str, data: str) -> Iterator[None]:
    """Raise OutOfMemory in place of torch's own errors; anything else goes through as it is."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_memory_error(error):
            raise
        where = "The GPU" if "CUDA" in str(error) or isinstance(error, torch.OutOfMemoryError) else "The machine"
        raise OutOfMemory(
            f"{where} ran out of memory while {doing}.",
            data=data,
            remedy="Close what else uses it, shorten the chat or the reply, or choose a smaller model.",
        ) from error


def free_memory() -> None:
    """Give back what is held but not used."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
