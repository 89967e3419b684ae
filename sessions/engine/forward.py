"""One pass of the model over new ids, with the keys and values of a `KvStore`. Knows no sampling."""

from __future__ import annotations

from typing import Any

import torch

from sessions.engine.kv import KvStore


class Forward:
    """Runs any transformers causal model; `[rows, tokens]` ids to `[rows, vocabulary]` last logits."""

    def __init__(self, model: Any, kv: KvStore, device: torch.device) -> None:
        self.model, self.kv, self.device = model, kv, device

    @torch.inference_mode()
    def __call__(self, ids: torch.Tensor) -> torch.Tensor:
        """Append the ids to the window's rows; logits after the last one."""
        out = self.model(input_ids=ids, past_key_values=self.kv.cache, use_cache=True, logits_to_keep=1)
        logits: torch.Tensor = out.logits[:, -1]
        return logits
