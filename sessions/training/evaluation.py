"""How well a model knows rows: mean loss per trained token of base, parent and new version.

Leaves the model as it was. Knows nothing of files or of the course of a run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Any

import torch
from torch.nn import functional

from corpora.llama2 import encode_prompt
from sessions.engine.words import Words
from sessions.training import adapting
from sessions.training.events import Scored
from sessions.training.generation import evaluating, greedy
from sessions.training.objective import TrainRow, target_logits
from sessions.training.trainer import micro_batches

SAMPLE = 32
"""The most rows of a subset that are scored."""
BATCH_TOKENS = 2048
REPLY_TOKENS = 64


def sample(rows: Sequence[TrainRow], most: int = SAMPLE, seed: int = 0) -> list[TrainRow]:
    """Return at most `most` of the rows, the same for the same seed."""
    if len(rows) <= most:
        return list(rows)
    chosen = sorted(Random(seed).sample(range(len(rows)), most))
    return [rows[index] for index in chosen]


def target_losses(
    model: Any, rows: Sequence[TrainRow], check: Callable[[], None] = lambda: None
) -> Iterator[tuple[TrainRow, torch.Tensor, torch.Tensor]]:
    """Yield each row with its logits and the loss of each target, shapes (targets, vocabulary) and (targets,).

    `check` is called before each batch and may raise to cancel.
    """
    with evaluating(model):
        for part in micro_batches(rows, BATCH_TOKENS):
            check()
            logits, start = target_logits(model, part), 0
            for row in part:
                own = logits[start : start + len(row.targets)].float()
                start += len(row.targets)
                wanted = torch.tensor([row.ids[place] for place in row.targets], device=own.device)
                yield row, own, functional.cross_entropy(own, wanted, reduction="none")


def mean_loss(model: Any, rows: Sequence[TrainRow], check: Callable[[], None] = lambda: None) -> float:
    """Return the negative log-likelihood per target token, in nats."""
    total, tokens = 0.0, 0
    for _, _, losses in target_losses(model, rows, check):
        total += float(losses.sum())
        tokens += losses.numel()
    return total / max(1, tokens)


def score(
    model: Any,
    subset: str,
    rows: Sequence[TrainRow],
    parent: dict[str, torch.Tensor] | None,
    check: Callable[[], None] = lambda: None,
) -> Scored:
    """Return the losses of the base, of the parent (the base without one) and of the model.

    Raises RunDiverged where the last is not finite.
    """
    chosen = sample(rows)
    with model.disable_adapter():
        base = mean_loss(model, chosen, check)
    before = base
    if parent is not None:
        with adapting.holding(model, parent):
            before = mean_loss(model, chosen, check)
    new = mean_loss(model, chosen, check)
    if not math.isfinite(new):
        raise adapting.diverged(f"loss on {subset} rows")
    return Scored(subset=subset, base=_finite(base), parent=_finite(before), new=new, examples=len(chosen))


def reply(model: Any, words: Words, prompt: str, tokens: int = REPLY_TOKENS) -> str:
    """Return the model's greedy reply to one prompt, in the model's own chat format."""
    asked = encode_prompt([{"role": "user", "content": prompt}], words.vocabulary)
    return decoded(words, greedy(model, [asked], words.ends, tokens)[0])


def decoded(words: Words, ids: Sequence[int]) -> str:
    """Return the text of a reply without special tokens."""
    return words.vocabulary.decode([token for token in ids if token not in words.special]).strip()


def _finite(loss: float) -> float:
    """Return the loss; JSON has no infinity."""
    return loss if math.isfinite(loss) else 1e9
