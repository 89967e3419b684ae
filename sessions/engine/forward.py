"""One pass of the model over new ids, with the keys and values of a `KvStore`. Knows no sampling."""

from __future__ import annotations

from typing import Any, Protocol

import torch

from sessions.engine.adapter import Lead
from sessions.engine.kv import KvStore


class Step(Protocol):
    """A faster way for few new ids in each row."""

    def __call__(self, ids: torch.Tensor) -> torch.Tensor:
        """`[rows, tokens]` ids to `[rows, vocabulary]` logits after the last one."""
        ...

    def takes(self, ids: torch.Tensor) -> bool:
        """Whether it is the faster one for these."""
        ...

    def on(self, kv: KvStore) -> Step:
        """The same step on other keys and values."""
        ...


class Forward:
    """Runs any transformers causal model; `[rows, tokens]` ids to `[rows, vocabulary]` last logits."""

    def __init__(self, model: Any, kv: KvStore, device: torch.device, step: Step | None = None) -> None:
        self.model, self.kv, self.device, self.step = model, kv, device, step

    @torch.inference_mode()
    def __call__(self, ids: torch.Tensor) -> torch.Tensor:
        """Append the ids to the window's rows; logits after the last one."""
        if self.step is not None and self.step.takes(ids):
            return self.step(ids)
        # Chosen by index, the last states are contiguous; a slice of them would make the head copy its weight.
        last = torch.tensor([ids.shape[1] - 1], device=self.device)
        out = self.model(input_ids=ids, past_key_values=self.kv.cache, use_cache=True, logits_to_keep=last)
        logits: torch.Tensor = out.logits[:, -1]
        return logits

    @torch.inference_mode()
    def place(self, lead: Lead) -> None:
        """Put virtual tokens into the first places of the empty window."""
        lead.place(self.model, self.kv)

    def apart(self, ids: tuple[int, ...], lead: Lead | None = None) -> torch.Tensor:
        """Logits of one row after some ids, [vocabulary]; the chat's keys and values stay."""
        scratch = KvStore(len(self.kv.layers), len(ids) + (lead.tokens if lead else 0), rows=1)
        scratch.open([""], [0])
        step = None if self.step is None else self.step.on(scratch)
        beside = Forward(self.model, scratch, self.device, step)
        if lead is not None:
            beside.place(lead)
        return beside(torch.tensor([ids], device=self.device))[0]
