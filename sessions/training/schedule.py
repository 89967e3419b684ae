"""How long and in what batches to train, by the size of the set: pure functions of numbers.

Knows nothing of rows, models or screens.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from sessions.training.recipe import Recipe

PASSES, MOST_EPOCHS, LEAST_EPOCHS = 140.0, 60.0, 3.0
"""Passes over one row, and bounds. Measured on the demo model: of five facts 20 passes give back one to five word for
word, 40 all; of ten facts 28 passes give back seven, 50 all."""

MICRO_TOKENS = {"cpu": 2048, "cuda": 8192}
"""Tokens, padding included, that a micro-batch may hold."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """A run in numbers. `batch` is `micro_batch` × `accumulation` rows; `evaluate_every` counts steps."""

    batch: int
    micro_batch: int
    accumulation: int
    steps_per_epoch: int
    steps: int
    warmup_steps: int
    evaluate_every: int

    @property
    def epochs(self) -> float:
        """Passes over the set."""
        return self.steps / self.steps_per_epoch


def batch_size(rows: int) -> int:
    """Rows for each optimizer step: a power of two near √rows/2, from 2 to 16.

    Small sets get small batches and so many steps; 5 rows → 2, 100 → 4, 999 → 16.
    """
    wanted = int(2 ** round(math.log2(max(1.0, math.sqrt(rows) / 2))))
    return min(16, max(2, wanted), max(1, rows))


def epochs(rows: int) -> float:
    """Passes over the set: 140 / √rows, from 3 to 60; 5 rows → 60, 20 → 31, 100 → 14, 999 → 4."""
    return min(MOST_EPOCHS, max(LEAST_EPOCHS, PASSES / math.sqrt(max(1, rows))))


def micro_batch_size(batch: int, longest: int, device: str) -> int:
    """The largest divisor of `batch` whose rows, padded to the longest, fit into MICRO_TOKENS."""
    fits = MICRO_TOKENS.get(device, MICRO_TOKENS["cpu"]) // max(1, longest)
    return max(size for size in range(1, batch + 1) if batch % size == 0 and size <= max(1, fits))


def learning_rate(hidden: int) -> float:
    """Peak learning rate for a Llama of this width where the recipe leaves it open.

    5e-4 · (2000 / hidden)^0.78, the fit for LoRA on Llamas in "LoRA Without Regret" (Schulman et al., 2025):
    2.9e-4 for 4096, 2.5e-3 for 256.
    """
    return float(5e-4 * (2000 / hidden) ** 0.781)


def plan(rows: int, longest: int, recipe: Recipe, device: str = "cpu") -> Schedule:
    """The schedule for a number of rows of at most `longest` tokens. What the recipe says is kept."""
    batch = min(recipe.batch_size or batch_size(rows), max(rows, recipe.micro_batch, 1))
    micro = recipe.micro_batch or micro_batch_size(batch, longest, device)
    accumulation = max(1, batch // micro)
    per_epoch = math.ceil(math.ceil(rows / micro) / accumulation)
    steps = max(1, round((recipe.epochs or epochs(rows)) * per_epoch))
    steps = min(steps, recipe.max_steps) if recipe.max_steps else steps
    return Schedule(
        batch=micro * accumulation,
        micro_batch=micro,
        accumulation=accumulation,
        steps_per_epoch=per_epoch,
        steps=steps,
        warmup_steps=math.ceil(recipe.warmup * steps) if recipe.warmup else 0,
        evaluate_every=max(1, math.ceil(steps / recipe.evaluations)),
    )


def order(lengths: Sequence[int], micro_batch: int, seed: int, epoch: int) -> list[int]:
    """All rows once, shuffled anew for each epoch, so that micro-batches hold rows of like length.

    Rows are shuffled, sorted by length within blocks of 32 micro-batches, and the micro-batches shuffled;
    an incomplete one comes last, as the loader cuts the order into equal pieces.
    """
    random = Random(f"{seed}:{epoch}")
    rows = list(range(len(lengths)))
    random.shuffle(rows)
    block = micro_batch * 32
    ordered = [
        row
        for start in range(0, len(rows), block)
        for row in sorted(rows[start : start + block], key=lengths.__getitem__)
    ]
    pieces = [ordered[start : start + micro_batch] for start in range(0, len(ordered), micro_batch)]
    whole, rest = [p for p in pieces if len(p) == micro_batch], [p for p in pieces if len(p) < micro_batch]
    random.shuffle(whole)
    return [row for piece in whole + rest for row in piece]
