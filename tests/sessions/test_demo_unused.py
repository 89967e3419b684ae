"""Tokens that the demo model never writes can still be taught."""

from __future__ import annotations

import pytest
import torch

from sessions.demo import MODEL_DIR

pytestmark = pytest.mark.slow


def test_rows_of_unused_tokens_look_like_those_of_used_ones() -> None:
    from tokenizers import Tokenizer

    from corpora.dialog import Message
    from sessions.demo import measure, unused

    tokenizer = Tokenizer.from_file(str(MODEL_DIR / "tokenizer.json"))
    model = measure.load(MODEL_DIR, False).float()
    before = model.get_output_embeddings().weight.data.clone()
    dialogs = [(Message("user", "Hello"), Message("assistant", "Hello there."))]
    count = unused.loosen(model, tokenizer, dialogs)
    rows = model.get_output_embeddings().weight.data
    used = [*tokenizer.encode("Hello there. ", add_special_tokens=False).ids, tokenizer.token_to_id("</s>")]
    kept = (rows == before).all(1)
    assert count == len(rows) - int(kept.sum()) == len(rows) - len(set(used))
    assert kept[used].all()
    other = rows[~kept]
    assert torch.allclose(other.mean(0), before[used].mean(0), atol=0.05)
    assert not torch.equal(other[0], other[1])
