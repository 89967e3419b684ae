"""Virtual tokens before the prompt, from a PEFT folder's tensors: prompt tuning, P-tuning, prefix tuning.

A row with them has places that other rows have not, so that such replies are written in turn.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sessions.engine.adapter import Lead, damaged, mismatch
from sessions.engine.kv import KvStore

KEY = "prompt_embeddings"
SOFT = ("PROMPT_TUNING", "P_TUNING")
"""Methods whose virtual tokens are embeddings; PREFIX_TUNING's are keys and values."""


@dataclass(frozen=True, slots=True)
class SoftPrompt:
    """Embeddings [tokens, hidden] that the model reads as if they were a text's (arXiv 2104.08691, 2103.10385)."""

    embeddings: torch.Tensor

    @property
    def tokens(self) -> int:
        """How many places they take."""
        return len(self.embeddings)

    @property
    def bytes(self) -> int:
        """Memory they take."""
        return self.embeddings.nbytes

    def place(self, model: Any, kv: KvStore) -> None:
        """Read them in every row of the empty window."""
        rows = self.embeddings.expand(kv.layers[0].count, -1, -1)
        last = torch.tensor([self.tokens - 1], device=rows.device)
        model(inputs_embeds=rows, past_key_values=kv.cache, use_cache=True, logits_to_keep=last)


@dataclass(frozen=True, slots=True)
class Prefix:
    """Keys and values of every layer, [layers, 2, heads, tokens, size] (arXiv 2101.00190)."""

    states: torch.Tensor

    @property
    def tokens(self) -> int:
        """How many places they take."""
        return self.states.shape[3]

    @property
    def bytes(self) -> int:
        """Memory they take."""
        return self.states.nbytes

    def place(self, model: Any, kv: KvStore) -> None:
        """Put them where the keys and values of a text's beginning would be, in every row of the empty window."""
        for layer, (keys, values) in zip(kv.layers, self.states, strict=True):
            layer.update(keys.expand(layer.count, -1, -1, -1), values.expand(layer.count, -1, -1, -1))


def read(folder: Path, method: str, tensors: Mapping[str, torch.Tensor], model: Any) -> Lead:
    """The virtual tokens in the base's number format. Raises AdapterDamaged, AdapterMismatch for another base."""
    if set(tensors) != {KEY} or tensors[KEY].dim() != 2 or not tensors[KEY].numel():
        raise damaged(folder, "it holds something else than virtual tokens")
    words: nn.Embedding = model.get_input_embeddings()
    table = tensors[KEY].to(words.weight.dtype)
    if method not in SOFT:
        return Prefix(_states(folder, table, model.config.get_text_config()))
    if table.shape[1] != words.embedding_dim:
        raise mismatch(folder, f"was made for a base of {table.shape[1]} wide embeddings, not {words.embedding_dim}")
    return SoftPrompt(table)


def _states(folder: Path, table: torch.Tensor, config: Any) -> torch.Tensor:
    """[tokens, layers * 2 * heads * size], as PEFT keeps them, apart."""
    heads = config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // heads
    kept = getattr(config, "num_key_value_heads", None) or heads
    if table.shape[1] != config.num_hidden_layers * 2 * kept * size:
        raise mismatch(folder, "was made for a base with other keys and values")
    apart = table.view(len(table), config.num_hidden_layers, 2, kept, size)
    return apart.permute(1, 2, 3, 0, 4).contiguous()
