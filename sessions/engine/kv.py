"""Keys and values of up to four rows, each with the ids and the adapter they were computed with.

A request takes over what fits from the front of its prompt; a row never serves another adapter's content.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from transformers.cache_utils import Cache, DynamicLayer

ROWS = 4
START = 512


@dataclass(slots=True)
class Row:
    """What one row of the store holds: whose it is, and the ids whose keys and values are in it."""

    key: str = ""
    ids: list[int] = field(default_factory=list)
    used: int = 0


class KvLayer(DynamicLayer):  # type: ignore[misc]
    """One layer's preallocated keys and values, [rows, heads, capacity, size]; works on a window of rows.

    The capacity doubles up to the context, so that a model with a very long one starts small.
    """

    def __init__(self, context: int, rows: int) -> None:
        super().__init__()
        self.context, self.rows = context, rows
        self.store_k: torch.Tensor | None = None
        self.store_v: torch.Tensor | None = None
        self.first, self.count, self.length = 0, 1, 0
        self.made = 0
        """How often memory was reserved; what knows its place by heart has to look at this."""

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Reserve the memory at the first use, or more of it when more rows are asked for."""
        rows, needed = max(self.rows, self.first + self.count), self.length + key_states.shape[2]
        capacity = START
        while capacity < needed:
            capacity *= 2
        capacity = min(capacity, max(self.context, needed))
        self.store_k = _grown(self.store_k, key_states, rows, capacity)
        self.store_v = _grown(self.store_v, value_states, rows, capacity)
        self.made += 1
        self.dtype, self.device = key_states.dtype, key_states.device
        self.is_initialized = True

    def reserve(self, rows: int) -> None:
        """Have room for so many rows, where there is any room yet."""
        if self.store_k is None or self.store_v is None or self.store_k.shape[0] >= rows:
            return
        self.store_k = _grown(self.store_k, self.store_k, rows, self.store_k.shape[2])
        self.store_v = _grown(self.store_v, self.store_v, rows, self.store_v.shape[2])
        self.made += 1

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append to the window's rows; returns all keys and values so far, without a copy."""
        rows, end = slice(self.first, self.first + self.count), self.length + key_states.shape[2]
        if self.store_k is None or self.store_k.shape[0] < rows.stop or self.store_k.shape[2] < end:
            self.lazy_initialization(key_states, value_states)
        assert self.store_k is not None and self.store_v is not None
        self.store_k[rows, :, self.length : end] = key_states
        self.store_v[rows, :, self.length : end] = value_states
        self.length = end
        return self.store_k[rows, :, :end], self.store_v[rows, :, :end]

    def window(self) -> tuple[torch.Tensor, torch.Tensor]:
        """All the room of the window's rows, used or not."""
        assert self.store_k is not None and self.store_v is not None
        rows = slice(self.first, self.first + self.count)
        return self.store_k[rows], self.store_v[rows]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Length and offset that a mask has to cover."""
        return self.length + query_length, 0

    def get_seq_length(self) -> int:
        """Tokens in the window's rows."""
        return self.length


def _grown(old: torch.Tensor | None, like: torch.Tensor, rows: int, capacity: int) -> torch.Tensor:
    if old is not None:
        rows, capacity = max(rows, old.shape[0]), max(capacity, old.shape[2])
    # Zeros, not what lay there: a masked place weighs nothing, but nothing times NaN is NaN.
    new = torch.zeros((rows, like.shape[1], capacity, like.shape[3]), dtype=like.dtype, device=like.device)
    if old is not None:
        new[: old.shape[0], :, : old.shape[2]] = old
    return new


class KvStore:
    """All layers' keys and values, and the bookkeeping of rows.

    `rows` are reserved at first; single replies are kept in `kept` rows, comparisons take what they need.
    """

    def __init__(self, layers: int, context: int, rows: int = ROWS, kept: int = ROWS) -> None:
        self.layers = [KvLayer(context, rows) for _ in range(layers)]
        self.cache = Cache(layers=self.layers)
        self.rows = [Row() for _ in range(ROWS)]
        self.context, self.kept = context, kept
        self._clock = 0

    def open(self, keys: list[str], ids: list[int]) -> tuple[list[Row], int]:
        """Make a window with one row for each key; returns its rows and how many ids they hold already.

        The last id is always computed anew, since its logits are wanted.
        """
        sources = [self._best(key, ids) for key in keys]
        first = sources[0][0] if len(keys) == 1 else 0
        first = self._oldest() if len(keys) == 1 and sources[0][1] == 0 else first
        reused = min(len(ids) - 1, *(length for _, length in sources))
        self._move([source for source, _ in sources], first, reused)
        self._clock += 1
        for offset, key in enumerate(keys):
            self.rows[first + offset] = Row(key, ids[:reused], self._clock)
        self._window(first, len(keys), reused)
        return self.rows[first : first + len(keys)], reused

    def narrow(self, place: int) -> None:
        """Go on with one row of the window alone."""
        layer = self.layers[0]
        self._window(layer.first + place, 1, layer.length)

    def has_room(self) -> bool:
        """Whether one more id fits into what is reserved."""
        layer = self.layers[0]
        store = layer.store_k
        return store is not None and store.shape[0] >= layer.first + layer.count and layer.length < store.shape[2]

    def advance(self) -> None:
        """Count one id that was written from outside."""
        for layer in self.layers:
            layer.length += 1

    def drop(self) -> None:
        """Give back all memory."""
        for layer in self.layers:
            layer.store_k = layer.store_v = None
            layer.is_initialized = False
        self.rows = [Row() for _ in range(ROWS)]

    def bytes(self) -> int:
        """Memory that is reserved."""
        stores = [store for layer in self.layers for store in (layer.store_k, layer.store_v) if store is not None]
        return sum(store.numel() * store.element_size() for store in stores)

    def _best(self, key: str, ids: list[int]) -> tuple[int, int]:
        """The row that holds the longest common beginning under that key, and its length."""
        lengths = [common(row.ids, ids) if row.key == key else 0 for row in self.rows]
        best = max(range(ROWS), key=lengths.__getitem__)
        return best, lengths[best]

    def _oldest(self) -> int:
        return min(range(self.kept), key=lambda index: self.rows[index].used)

    @torch.inference_mode()
    def _move(self, sources: list[int], first: int, length: int) -> None:
        moves = [(source, first + offset) for offset, source in enumerate(sources) if source != first + offset]
        if not moves or not length:
            return
        for layer in self.layers:
            layer.reserve(first + len(sources))
            for store in (layer.store_k, layer.store_v):
                if store is not None:
                    taken = [store[source, :, :length].clone() for source, _ in moves]
                    for (_, target), rows in zip(moves, taken, strict=True):
                        store[target, :, :length] = rows

    def _window(self, first: int, count: int, length: int) -> None:
        for layer in self.layers:
            layer.first, layer.count, layer.length = first, count, length


def common(left: list[int], right: list[int]) -> int:
    """Length of the common beginning."""
    limit = min(len(left), len(right))
    if left[:limit] == right[:limit]:
        return limit
    low, high = 0, limit
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if left[:middle] == right[:middle] else (low, middle - 1)
    return low
