"""TensorBoard files of a run, where the recipe asks for them. Imports tensorboard only then."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sessions.errors import SettingsError


def tensorboard(folder: Path) -> Callable[[int, dict[str, float]], None]:
    """Return a function that writes the scalars of a step. Raises SettingsError without tensorboard."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise SettingsError(
            "The recipe asks for TensorBoard files, and tensorboard is not installed.",
            data="Nothing was trained.",
            remedy="pip install tensorboard, or set tensorboard = false.",
        ) from error
    writer = SummaryWriter(str(folder))

    def write(step: int, values: dict[str, float]) -> None:
        for name, value in values.items():
            writer.add_scalar(f"train/{name}", value, step)
        writer.flush()

    return write
