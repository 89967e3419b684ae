"""How long and in what portions to train, by the size of the set: pure functions of numbers. Torch-free.

Small sets are trained until each reply is reproduced. Large ones are trained for some epochs, with a held-out part.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from sessions.training.recipe import Hold, Recipe

MEMORIZED_TOKENS = 25_000
"""Up to so many trained tokens a run goes on until each reply is reproduced; above, it counts epochs."""
TOKENS_PER_REPLY = 30
"""Assumed where the trained tokens are not known yet."""
EPOCHS_PER_ROOT, MOST_EPOCHS, LEAST_EPOCHS = 140.0, 20.0, 3.0
DECAY_STEPS, WARMUP_STEPS = 14, 3
FEW, SURE, SURE_OF_MANY = 10, 0.8, 0.6
"""Probabilities of the least likely token of each reply at which the learning rate begins to decay. Each reply is then
the greedy one; among many replies there is always one that was trained a while ago and has a lower probability."""
MICRO_TOKENS = {"cpu": 2048, "cuda": 8192}
"""Tokens, padding included, that a micro-batch may hold."""
KL_WEIGHT: dict[Hold, float] = {"loose": 0.05, "normal": 2.5, "firm": 5.0}


@dataclass(frozen=True, slots=True)
class Portions:
    """Rows per optimizer step of each kind."""

    new: int
    earlier: int
    anchors: int
    neighbours: int


@dataclass(frozen=True, slots=True)
class Schedule:
    """A run in numbers. `steps` is an upper bound where `until_reproduced`; `evaluate_every` counts steps."""

    portions: Portions
    until_reproduced: bool
    steps: int
    steps_per_epoch: int
    decay_steps: int
    warmup_steps: int
    evaluate_every: int
    micro_tokens: int
    micro_batch: int
    kl_weight: float
    sure: float = 0.8
    """The learning rate begins to decay when the least likely token of each reply has at least this probability."""

    checkpointing: bool = False

    @property
    def batch(self) -> int:
        """New and earlier rows per optimizer step."""
        return self.portions.new + self.portions.earlier

    @property
    def epochs(self) -> float:
        """Passes over the new rows."""
        return self.steps / self.steps_per_epoch


def learning_rate(hidden: int) -> float:
    """Return the peak learning rate for a Llama of this width where the recipe leaves it open.

    4e-4 · (2000 / hidden)^0.78: 2.3e-4 for 4096, 1.1e-3 for 576, 2e-3 for 256. That is 0.8 of the fit for LoRA on
    Llamas in "LoRA Without Regret" (Schulman et al., 2025); the full rate reaches the stopping rule no sooner and ends
    with twice the KL to the base.
    """
    return float(4e-4 * (2000 / hidden) ** 0.781)


def kl_budget(replies: int, hold: Hold) -> float:
    """Return the most KL(base ‖ version), in nats per token on held-out prompts, with which a version passes.

    For a loose hold it is reported only.
    """
    by_size = 0.05 if replies <= 10 else 0.08 if replies <= 100 else 0.15
    return by_size * {"loose": 10.0, "normal": 1.0, "firm": 0.6}[hold]


def plan(
    rows: int,
    longest: int,
    recipe: Recipe,
    device: str = "cpu",
    *,
    earlier: int = 0,
    trained_tokens: int | None = None,
) -> Schedule:
    """Return the schedule for so many new rows of at most `longest` tokens. Fields that the recipe sets are kept."""
    tokens = rows * TOKENS_PER_REPLY if trained_tokens is None else trained_tokens
    until_reproduced = not recipe.epochs and tokens <= MEMORIZED_TOKENS
    portions = _portions(rows, earlier, recipe, until_reproduced)
    per_epoch = max(1, math.ceil(rows / portions.new))
    counted = max(1, round((recipe.epochs or _epochs(rows)) * per_epoch))
    steps = _cap(rows, per_epoch) if until_reproduced else counted
    steps = min(steps, recipe.max_steps) if recipe.max_steps else steps
    micro_tokens = recipe.micro_batch * longest if recipe.micro_batch else MICRO_TOKENS.get(device, 2048)
    return Schedule(
        portions=portions,
        until_reproduced=until_reproduced,
        steps=steps,
        steps_per_epoch=per_epoch,
        decay_steps=min(DECAY_STEPS, steps // 2),
        warmup_steps=min(WARMUP_STEPS, steps) if until_reproduced else math.ceil(recipe.warmup * steps),
        evaluate_every=max(1, math.ceil(steps / recipe.evaluations)),
        micro_tokens=micro_tokens,
        micro_batch=max(1, micro_tokens // max(1, longest)),
        kl_weight=KL_WEIGHT[recipe.hold] if recipe.kl_weight is None else recipe.kl_weight,
        sure=SURE if rows <= FEW else SURE_OF_MANY,
        checkpointing=recipe.gradient_checkpointing and device == "cuda",
    )


def _portions(rows: int, earlier: int, recipe: Recipe, until_reproduced: bool) -> Portions:
    new, anchors, neighbours = (4, 9, 1) if rows <= 10 else (6, 9, 1) if rows <= 100 else (16, 9, 0)
    new = max(1, min(recipe.batch_size or new, rows))
    return Portions(
        new=new,
        earlier=min(earlier, new if recipe.replay is None else recipe.replay),
        anchors=anchors if recipe.anchors is None else recipe.anchors,
        neighbours=(neighbours if until_reproduced else 0) if recipe.neighbours is None else recipe.neighbours,
    )


def _cap(rows: int, per_epoch: int) -> int:
    """Return the most steps: 180 for a few rows, 300 for some ten, about 40 passes for hundreds."""
    return 180 if rows <= 10 else 300 if rows <= 50 else max(300, 40 * per_epoch)


def _epochs(rows: int) -> float:
    """Return the passes over a large set: 140 / √rows, from 3 to 20; 1,000 rows → 4.4."""
    return min(MOST_EPOCHS, max(LEAST_EPOCHS, EPOCHS_PER_ROOT / math.sqrt(max(1, rows))))
