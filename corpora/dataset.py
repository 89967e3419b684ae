"""Kept exchanges → snapshot → examples, held-out split, replay. Torch-free.

A snapshot fixes what a run trains on: one JSON object a line, hashed.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from corpora.dialog import Example, Message
from corpora.store import Store
from corpora.tokens import Tokenizer


@dataclass(frozen=True, slots=True)
class Row:
    """A dialog to train on. `key` is a hash of its content; `replay` marks one that was taught before."""

    key: str
    dialog: tuple[Message, ...]
    exchange_ids: tuple[int, ...] = ()
    replay: bool = False


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Rows in a fixed order and the sha256 of the file they make."""

    rows: tuple[Row, ...]
    sha256: str

    @property
    def new(self) -> int:
        """Rows that were never taught to the parent."""
        return sum(not row.replay for row in self.rows)


def take_snapshot(store: Store, *, seen: Collection[str] = (), replay: float = 1.0, seed: int = 0) -> Snapshot:
    """Kept dialogs: those whose key is not in `seen` as new, and `replay` × as many of the seen ones."""
    raise NotImplementedError


def write_snapshot(snapshot: Snapshot, path: Path) -> None:
    """Write as JSONL, atomically."""
    raise NotImplementedError


def read_snapshot(path: Path) -> Snapshot:
    """Read back; raises CorpusError where the content does not give the hash in the file's last line."""
    raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Encoded:
    """Examples in the order of their rows, and rows left out with the reason."""

    examples: tuple[tuple[Row, Example], ...]
    left_out: tuple[tuple[Row, str], ...]


def encode_rows(rows: tuple[Row, ...], tokenizer: Tokenizer, max_length: int) -> Encoded:
    """Encode in batches. A row that is too long loses whole exchanges from its front (the system prompt
    stays), never a part of a reply; one whose last exchange alone does not fit is left out, and said."""
    raise NotImplementedError


def split(rows: tuple[Row, ...], held_out: float, minimum: int = 20) -> tuple[tuple[Row, ...], tuple[Row, ...]]:
    """(train, held out) by the rows' keys, so that a row stays on its side from run to run.

    Nothing is held out of fewer than `minimum` rows.
    """
    raise NotImplementedError
