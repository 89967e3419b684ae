"""What a run takes at most, before Start: steps, tokens, time and memory, from sizes alone. Torch-free.

The time is None until a run on this machine with this model was measured.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from corpora.dataset import read_snapshot
from sessions.paths import Paths
from sessions.protocol import ModelInfo
from sessions.training import runs, schedule
from sessions.training.preview import Size, size_of
from sessions.training.recipe import Recipe
from sessions.training.schedule import Schedule

CHARACTERS_PER_TOKEN = 3.3
PROCESS = 512 << 20
"""Memory of a GPU that the libraries of one more process take."""
ANCHOR_CACHE_TOKENS = 64 * 100
"""Tokens whose keys and values a batch of anchors keeps."""
ANCHOR_LOGITS = 512 << 20
CHAT_RESERVE = 1 << 30
"""What is left of a GPU for longer prompts in the chat while anchors are computed."""
TAG_TOKENS = 12
"""BOS, EOS and the tags of one exchange."""
ANCHOR_TOKENS = 64
"""About a general prompt with the part of the base's reply that is trained."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """About what a run takes at most: one that stops when all replies are reproduced mostly takes less.

    `seconds` is None where nothing was measured; `memory` is in bytes and counts the base. `advice` says what to
    change where it does not fit.
    """

    schedule: Schedule
    steps: int
    tokens: int
    seconds: float | None
    memory: int
    fits: bool = True
    advice: str = ""


def estimate(
    size: Size, info: ModelInfo, recipe: Recipe, *, speed: float | None = None, free: int | None = None
) -> Estimate:
    """From the `size` that `runs.preview` gives; `speed` in tokens/s as measured, `free` bytes on the device."""
    longest = min(_tokens(size.longest, 1), recipe.max_length, info.context)
    device = "cpu" if info.device == "cpu" else "cuda"
    alone = size.inner if size.inner <= recipe.alone else 0
    new = max(1, size.rows - size.replayed + alone)
    trained = round(size.trained / CHARACTERS_PER_TOKEN) + size.rows - size.replayed
    plan = schedule.plan(new, longest, recipe, device, earlier=size.replayed, trained_tokens=trained)
    step = _step_tokens(plan, min(longest, _tokens(size.characters, size.rows) / max(1, size.rows)))
    tokens = round(step * plan.steps)
    memory = info.memory + _added(info, recipe, max(longest, min(plan.micro_tokens, round(step))), device)
    fits = free is None or memory - info.memory <= free
    return Estimate(
        schedule=plan,
        steps=plan.steps,
        tokens=tokens,
        seconds=tokens / speed if speed else None,
        memory=memory,
        fits=fits,
        advice="" if fits else _advice(info, recipe, longest, free or 0, device),
    )


def _step_tokens(plan: Schedule, row: float) -> float:
    """Tokens of one step: new rows with a rewording each in small sets, earlier rows, anchors and neighbours."""
    portions = plan.portions
    rows = portions.new * (2 if plan.until_reproduced else 1) + portions.earlier
    return rows * row + (portions.anchors + portions.neighbours) * ANCHOR_TOKENS


def room_for(folder: Path, info: ModelInfo, *, shared: bool) -> int:
    """Bytes that the prepared run in `folder` will take beside a chat, with its own base where it is not shared.

    Raises SettingsError for a recipe, CorpusError for a snapshot that cannot be read.
    """
    size = size_of(read_snapshot(folder / runs.SNAPSHOT).rows)
    found = estimate(size, info, runs.read_recipe(folder))
    return found.memory - (info.memory if shared else 0) + PROCESS


def room_for_anchors(info: ModelInfo) -> int:
    """Return the bytes that computing anchors in a process of its own takes beside a chat."""
    hidden = width(info.parameters)
    cache = ANCHOR_CACHE_TOKENS * max(2, round(hidden / 128)) * hidden * 4
    return PROCESS + ANCHOR_LOGITS + cache + (0 if info.device == "cpu" else CHAT_RESERVE)


def measured_speed(paths: Paths, model: str) -> float | None:
    """Tokens per second of the last run of this model that got far enough, or None."""
    for found in runs.states(paths):
        if found.created and found.created.model == model and len(found.steps) >= 3:
            speeds = sorted(step.tokens_per_second for step in found.steps)
            return speeds[len(speeds) // 2]
    return None


def _tokens(characters: int, rows: int) -> int:
    return round(characters / CHARACTERS_PER_TOKEN) + TAG_TOKENS * rows


def width(parameters: int) -> int:
    """About the hidden size of a Llama with so many parameters: 12 · layers · width², width ≈ 128 · layers."""
    return max(64, round(float((parameters * 128 / 12) ** (1 / 3))))


def lora_parameters(parameters: int, rank: int) -> int:
    """About the number of trainable parameters: 7 matrices a layer, in and out of width to 2.7 · width."""
    hidden = width(parameters)
    layers = max(2, round(hidden / 128))
    return round(layers * rank * hidden * (4 * 2 + 3 * 3.7))


def _added(info: ModelInfo, recipe: Recipe, tokens: int, device: str) -> int:
    """Matrices, gradients and moments; then activations: kept whole, or one a layer with checkpointing."""
    moments = 2 if device == "cuda" and recipe.optimizer != "adamw" else 8
    hidden = width(info.parameters)
    layers = max(2, round(hidden / 128))
    each = 2 if recipe.gradient_checkpointing and device == "cuda" else 34
    activations = tokens * hidden * 2 * (each * layers + 40)
    return lora_parameters(info.parameters, recipe.rank) * (8 + moments) + activations


def _advice(info: ModelInfo, recipe: Recipe, longest: int, free: int, device: str) -> str:
    """The nearest settings that fit: smaller micro-batch, then shorter rows, then a smaller rank."""
    if _added(info, recipe, longest, device) <= free:
        return "Set micro_batch = 1."
    for length in (1024, 512, 256):
        if length < longest and _added(info, recipe, length, device) <= free:
            return f"Set micro_batch = 1 and max_length = {length}."
    return "Set micro_batch = 1, max_length = 256 and rank = 8, or choose a smaller model."
