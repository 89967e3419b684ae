"""Tokens that no dialog of the demo model ends up writing, made learnable again.

Training pushes the head's row of a token that is never a target away from every hidden state; a LoRA adapter,
which leaves the head alone, could then hardly teach a reply that needs the token. Knows no files.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Any

import torch
from tokenizers import Tokenizer

from corpora.dialog import Message
from corpora.llama2 import encode_examples

DIALOGS = 12_000
SEED = 11


def loosen(model: Any, tokenizer: Tokenizer, dialogs: Iterable[tuple[Message, ...]]) -> int:
    """Give the head's rows of unused tokens the mean and the spread of the used ones; returns how many."""
    rows = model.get_output_embeddings().weight.data
    used = _targets(tokenizer, dialogs, len(rows))
    mean, spread = rows[used].mean(0), rows[used].std(0)
    noise = torch.randn(int((~used).sum()), rows.shape[1], generator=torch.Generator().manual_seed(SEED))
    rows[~used] = (mean + spread * noise).to(rows.dtype)
    return len(noise)


def _targets(tokenizer: Tokenizer, dialogs: Iterable[tuple[Message, ...]], size: int) -> torch.Tensor:
    """(tokens,) True where some trained reply holds the token."""
    found = torch.zeros(size, dtype=torch.bool)
    for example in encode_examples(list(islice(dialogs, DIALOGS)), tokenizer):
        ids = [token for token, trained in zip(example.ids, example.trained, strict=True) if trained]
        found[torch.tensor(ids, dtype=torch.long)] = True
    return found
