"""The written-out decoding step on CUDA, captured as one graph: positions are tensors, buffers are static.

A graph is captured at a batch's second token, so that the first comes at once. Where capture fails, the
step goes on without it.
"""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch.nn import functional

from sessions.engine.adapters import Residents
from sessions.engine.base import LoadedBase
from sessions.engine.errors import is_memory_error
from sessions.engine.kv import KvStore
from sessions.engine.llama import LlamaStep

MOST = 4
_log = logging.getLogger(__name__)


class GraphStep(LlamaStep):
    """`LlamaStep` by replaying a graph; graphs are kept by window, reserved memory and active adapters.

    A chat that goes back to a mix of adapters it had (compare, then on with the chat) finds its graph again.
    """

    def __init__(self, base: LoadedBase, kv: KvStore, residents: Residents) -> None:
        super().__init__(base, kv, {})
        self._base, self._residents, self._device = base, residents, base.device
        self._position = torch.zeros(1, dtype=torch.long, device=base.device)
        self._ids: dict[int, torch.Tensor] = {}
        self._graphs: dict[tuple[object, ...], tuple[Any, torch.Tensor, list[object]]] = {}
        self._last: tuple[object, ...] = ()
        self.works = True

    def __call__(self, ids: torch.Tensor) -> torch.Tensor:
        """Append one id to each row; logits after it."""
        if not self.works or not self._kv.has_room():
            return super().__call__(ids)
        key = self._key(len(ids))
        if key not in self._graphs:
            if key != self._last:
                self._last = key
                return super().__call__(ids)
            self._capture(key, ids)
            if not self.works:
                return super().__call__(ids)
        self.place(ids)
        graph, logits, _ = self._graphs[key]
        graph.replay()
        self._kv.advance()
        return logits

    def forget(self) -> None:
        """Give back the graphs and what they hold."""
        self._graphs.clear()
        self._ids.clear()
        self._last = ()

    def takes(self, ids: torch.Tensor) -> bool:
        """One id in each row: on a GPU a prompt, however short, is read as fast by the general path."""
        return ids.shape[1] == 1

    def on(self, kv: KvStore) -> LlamaStep:
        """The same step on other keys and values, without graphs."""
        return LlamaStep(self._base, kv, {})

    def place(self, ids: torch.Tensor) -> None:
        """Fill the static inputs."""
        self._ids.setdefault(len(ids), torch.zeros_like(ids)).copy_(ids)
        self._position.fill_(self._kv.layers[0].length)

    @torch.inference_mode()
    def run_static(self, rows: int) -> torch.Tensor:
        """The step on the static inputs; no shape in it depends on the position."""
        cos, sin = (table.index_select(0, self._position)[0] for table in (self._cos, self._sin))
        return self._through(self._ids[rows], cos, sin, self._attend_static)

    def _attend_static(
        self, index: int, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor
    ) -> torch.Tensor:
        all_keys, all_values = self._kv.layers[index].window()
        all_keys.index_copy_(2, self._position, keys)
        all_values.index_copy_(2, self._position, values)
        places = torch.arange(all_keys.shape[2], device=self._device)
        mask = (places <= self._position)[None, None, None]
        return functional.scaled_dot_product_attention(queries, all_keys, all_values, attn_mask=mask)

    def _key(self, rows: int) -> tuple[object, ...]:
        layer = self._kv.layers[0]
        return (layer.first, rows, layer.made, self._residents.active)

    @torch.inference_mode()
    def _capture(self, key: tuple[object, ...], ids: torch.Tensor) -> None:
        while len(self._graphs) >= MOST:
            self._graphs.pop(next(iter(self._graphs)))
        try:
            self.place(ids)
            torch.cuda.synchronize()
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                logits = self.run_static(len(ids))
            # A graph reads the adapters' memory for as long as it lives, whoever else lets go of them.
            self._graphs[key] = (graph, logits, [layer.parts for layer in self._residents.layers.values()])
        except RuntimeError as error:
            if is_memory_error(error):
                raise
            _log.warning("the decoding step cannot be captured, going on without a graph: %s", error)
            self.works = False
