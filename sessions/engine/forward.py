"""One pass of the model over new ids, with the keys and values of a `KvStore`. Knows no sampling."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import torch

from sessions.engine.kv import KvStore

Step: TypeAlias = Callable[[torch.Tensor], torch.Tensor]
"""A faster way for one new id in each row."""


class Forward:
    """Runs any transformers causal model; `[rows, tokens]` ids to `[rows, vocabulary]` last logits."""

    def __init__(self, model: Any, kv: KvStore, device: torch.device, step: Step | None = None) -> None:
        self.model, self.kv, self.device, self.step = model, kv, device, step

    @torch.inference_mode()
    def __call__(self, ids: torch.Tensor) -> torch.Tensor:
        """Append the ids to the window's rows; logits after the last one."""
        if self.step is not None and ids.shape[1] == 1:
            return self.step(ids)
        # Chosen by index, the last states are contiguous; a slice of them would make the head copy its weight.
        last = torch.tensor([ids.shape[1] - 1], device=self.device)
        out = self.model(input_ids=ids, past_key_values=self.kv.cache, use_cache=True, logits_to_keep=last)
        logits: torch.Tensor = out.logits[:, -1]
        return logits
