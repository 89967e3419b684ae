"""What the host asks of an engine. The real one is `engine/base.py`; `engine/fake.py` is a public stand-in.

Torch-free, so that the host can listen before it loads anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol, TypeAlias

from sessions.protocol import AdapterLoaded, ColumnEnded, Generate, ModelInfo, Prefilled, Token

Progress: TypeAlias = Callable[[str, float | None], None]
"""Called with a stage in words and a fraction of 1, or None where it cannot be known."""

Step: TypeAlias = Prefilled | Token | ColumnEnded


class Engine(Protocol):
    """One loaded base model with its resident adapters. All calls come from one thread."""

    @property
    def info(self) -> ModelInfo:
        """The model as screens show it."""
        ...

    def load_adapter(self, adapter: str) -> AdapterLoaded:
        """Make `NAME/vN` resident and probe it.

        Raises AdapterNotFound, AdapterDamaged, AdapterMismatch; what was resident stays.
        """
        ...

    def resident(self) -> tuple[str, ...]:
        """Adapters in memory, the last used first."""
        ...

    def generate(self, request: Generate, stopped: Callable[[], bool]) -> Iterator[Step]:
        """Replies to one request: `Prefilled`, `Token`s, one `ColumnEnded` for each column.

        Columns that cannot share a batch are written in turn, each turn beginning with a `Prefilled` of its own.
        `stopped` is asked before every token; when it says True the columns end with Finish.STOPPED.
        Adapters that are not resident are loaded first. Raises PromptTooLong, OutOfMemory, AdapterError.
        """
        ...

    def share_base(self, folder: Path) -> Path | None:
        """A manifest in `folder` from which a worker takes the frozen base, or None where that cannot be."""
        ...

    def spare(self) -> int | None:
        """Bytes that are free where training would go; None where chat never has to make room. From any thread."""
        ...

    def tidy(self) -> None:
        """Give back what is reserved and not used."""
        ...

    def park(self, *, keep_base: bool) -> None:
        """Make room for a run: give back all but the base, and the base too where no worker shares it."""
        ...

    def unpark(self) -> None:
        """Be ready to write again. Raises OutOfMemory."""
        ...

    def close(self) -> None:
        """Give back the memory."""
        ...


Loader: TypeAlias = Callable[[Progress], Engine]
