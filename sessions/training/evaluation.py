"""How well a model knows rows: mean loss per trained token, for base, parent and new; and is the new one worse.

Changes nothing in the model. Knows nothing of files or of how a run goes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from random import Random
from typing import Any

import torch
from torch.nn import functional

from corpora.dialog import Example
from corpora.llama2 import encode_prompt
from sessions.engine.words import Words
from sessions.training import adapting
from sessions.training.events import Scored
from sessions.training.examples import IGNORED, Batch, batch

SAMPLE = 64
"""Rows at most that a subset is scored on."""

BATCH_TOKENS = 4096
REPLY_TOKENS = 64
MARGIN, LEAST = 1.1, 0.05


def sample(examples: Sequence[Example], most: int = SAMPLE, seed: int = 0) -> list[Example]:
    """At most `most` of the examples, always the same."""
    if len(examples) <= most:
        return list(examples)
    chosen = sorted(Random(seed).sample(range(len(examples)), most))
    return [examples[index] for index in chosen]


def mean_loss(model: Any, examples: Sequence[Example], check: Callable[[], None] = lambda: None) -> float:
    """Negative log-likelihood per trained token, in nats; `check` is called before each batch."""
    total, tokens = 0.0, 0
    with evaluating(model):
        for part in _batches(examples):
            check()
            losses = token_losses(model, batch(part, model.device))
            total += float(losses.sum())
            tokens += losses.numel()
    return total / max(1, tokens)


def token_losses(model: Any, inputs: Batch) -> torch.Tensor:
    """Loss of each trained token, in float32, shape (trained tokens,). Only these positions reach float32."""
    logits = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], use_cache=False).logits
    labels = inputs["labels"][:, 1:]
    wanted = labels != IGNORED
    return functional.cross_entropy(logits[:, :-1][wanted].float(), labels[wanted], reduction="none")


def score(
    model: Any,
    subset: str,
    examples: Sequence[Example],
    parent: dict[str, torch.Tensor] | None,
    check: Callable[[], None] = lambda: None,
) -> Scored:
    """Losses of the base (matrices off), of the parent (the base where there is none) and of the model as it is.

    Raises RunDiverged where the last is not finite.
    """
    chosen = sample(examples)
    with model.disable_adapter():
        base = mean_loss(model, chosen, check)
    before = base
    if parent is not None:
        with adapting.holding(model, parent):
            before = mean_loss(model, chosen, check)
    new = mean_loss(model, chosen, check)
    if not math.isfinite(new):
        raise adapting.diverged(f"loss on {subset} rows")
    return Scored(subset=subset, base=_told(base), parent=_told(before), new=new, examples=len(chosen))


def reply(model: Any, words: Words, prompt: str, tokens: int = REPLY_TOKENS) -> str:
    """A greedy reply of the model as it is to one prompt, in the model's own form."""
    asked = encode_prompt([{"role": "user", "content": prompt}], words.vocabulary)
    ids = torch.tensor([asked], device=model.device)
    with evaluating(model):
        made = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            max_new_tokens=tokens,
            eos_token_id=sorted(words.ends),
            pad_token_id=words.vocabulary.eos_id,
        )
    said = [token for token in made[0, ids.shape[1] :].tolist() if token not in words.special]
    return words.vocabulary.decode(said).strip()


def worse(scores: Sequence[Scored], parent: str) -> str:
    """Why the new version should not be used by itself; empty where nothing speaks against it.

    It is worse where its loss on rows taught before, or on held-out rows, is more than a tenth and 0.05
    nats above its parent's.
    """
    for found in scores:
        if found.subset != "new" and found.new > found.parent * MARGIN and found.new > found.parent + LEAST:
            rows = "rows taught before" if found.subset == "old" else "held-out rows"
            return f"On {rows} its loss is {found.new:.2f}, against {found.parent:.2f} of {parent}."
    return ""


def _told(loss: float) -> float:
    """JSON has no infinity."""
    return loss if math.isfinite(loss) else 1e9


@contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """No dropout and no gradients for a while."""
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(was_training)


def _batches(examples: Sequence[Example]) -> Iterator[list[Example]]:
    """The examples by length, so many at once that they fill BATCH_TOKENS with padding."""
    waiting: list[Example] = []
    for example in sorted(examples, key=lambda one: len(one.ids)):
        if waiting and (len(waiting) + 1) * len(example.ids) > BATCH_TOKENS:
            yield waiting
            waiting = []
        waiting.append(example)
    if waiting:
        yield waiting
