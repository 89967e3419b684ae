"""The training loop: AdamW on the adapter's matrices, one mixture of rows per step, until each reply is reproduced.

A plain loop instead of a `transformers.Trainer`: rows are chosen per step by how well they are known, the stopping
rule depends on the logits of the step, and checkpoints hold both. Reports through `Watch`; publishes nothing.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import psutil
import torch

from sessions.errors import RunDiverged, SettingsError
from sessions.paths import write_atomic
from sessions.training import adapting, checkpoints
from sessions.training.control import Control
from sessions.training.events import CheckpointWritten, HeldOut, RunEvent, Stepped, Warned
from sessions.training.mixture import Mixture
from sessions.training.objective import TrainRow, step_loss
from sessions.training.recipe import Recipe
from sessions.training.schedule import Schedule

PROGRESS, OPTIMIZER = "progress.json", "optimizer.pt"
RECENT = 20
DIVERGED_STEPS = 3
"""Steps in a row with a loss far above the first one that end a run."""
BETAS = (0.9, 0.95)
"""Of AdamW. Runs of some ten steps end before a second moment with β₂ = 0.999 has settled: with 0.95 five facts were
answered in other words 53% of the time, with 0.999 27%, after as many steps."""
GOOD_GAIN = 0.9
LAST_GOOD = "last-good"
FLAT_STEPS = 40
"""Steps within which the loss must fall by a tenth."""
HOPELESS_KL = 2.0
"""KL to the base, in nats per token, at which nothing of the base's replies is left."""
BAD_KL = 1.0
"""KL that no useful run reaches while its loss is still above the first one."""
RECENT_LOSSES = 5


class Progress(msgspec.Struct):
    """What a checkpoint restores besides matrices and optimizer state.

    `stop_at` is the last step once the decay has begun, else 0. `least` and `drift` are the mixture's state.
    """

    step: int = 0
    stop_at: int = 0
    tokens: int = 0
    loss: float = 0.0
    losses: list[float] = []
    first_losses: list[float] = []
    good_loss: float = 1e9
    diverged: int = 0
    best_loss: float | None = None
    best_step: int = 0
    without_gain: int = 0
    early: bool = False
    least: dict[int, float] = {}
    drift: dict[int, float] = {}


@dataclass(slots=True)
class Watch:
    """How a trainer reports, and what it runs at each evaluation. `measure` returns the held-out loss."""

    folder: Path
    control: Control
    tell: Callable[[RunEvent], None]
    measure: Callable[[], float] | None = None
    sample: Callable[[int], None] = lambda step: None
    log_scalars: Callable[[int, dict[str, float]], None] = lambda step, values: None


@dataclass
class Trainer:
    """One run's training. `rate` is the peak learning rate."""

    model: Any
    mixture: Mixture
    recipe: Recipe
    plan: Schedule
    rate: float
    watch: Watch
    progress: Progress = field(default_factory=Progress)

    def __post_init__(self) -> None:
        self.parameters = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        self.optimizer = _optimizer(self.parameters, self.recipe, self.rate, self.model.device.type)
        scaled = self.model.device.type == "cuda" and self.model.get_base_model().dtype == torch.float16
        self.scaler = torch.amp.GradScaler("cuda", enabled=scaled)
        self._seconds: list[float] = []
        self._good: tuple[int, dict[str, torch.Tensor]] | None = None
        for layer in decoder_layers(self.model):
            layer.register_forward_hook(self._between_layers)

    @property
    def complete(self) -> bool:
        """Whether the plan was carried out: all steps, the decay after the stopping rule, or early stopping."""
        return self.progress.early or self.progress.step >= self._last_step

    @property
    def _last_step(self) -> int:
        return self.progress.stop_at or self.plan.steps

    def train(self, checkpoint: Path | None = None) -> None:
        """Train from the start, or from a checkpoint. Raises Cancelled, RunDiverged, and what libraries raise."""
        if checkpoint is not None:
            self._restore(checkpoint)
        self.model.train()
        while not self.complete:
            try:
                self._step()
                if self._is_pause():
                    self._pause()
                    if self.watch.control.stopping:
                        return
            except RunDiverged as error:
                raise self._with_last_good(error) from error

    def _with_last_good(self, error: RunDiverged) -> RunDiverged:
        """Save the matrices of the step with the lowest loss as a PEFT folder, and name it in the error."""
        if self._good is None:
            return error
        step, matrices = self._good
        folder = self.watch.folder / LAST_GOOD
        adapting.put_back(self.model, matrices)
        adapting.save(self.model, folder)
        data = f"Nothing was published. The state before, of step {step} (loss {self.progress.good_loss:.2f}), is kept."
        return RunDiverged(
            error.what, data=data, remedy=f"{error.remedy} `llama-tui adapters import {folder}` keeps it."
        )

    def _note_good(self, loss: float) -> None:
        """Remember the matrices when their loss is clearly lower than at the last time; the start does not count."""
        if loss >= GOOD_GAIN * self.progress.good_loss:
            return
        self.progress.good_loss = loss
        if self.progress.step:
            self._good = (self.progress.step, adapting.matrices(self.model))

    # one step

    def _step(self) -> None:
        began = time.monotonic()
        step = self.progress.step + 1
        rows = self.mixture.at(step)
        rate = self.rate * self._rate_factor(step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        cross_entropy, kl = self._backward(rows, step)
        self._check_loss(cross_entropy, kl, step)
        self._note_good(cross_entropy)
        norm = self._update()
        self.progress.step, self.progress.loss = step, cross_entropy
        tokens = sum(len(row.ids) for row in rows)
        self.progress.tokens += tokens
        self._begin_decay()
        seconds = max(1e-9, time.monotonic() - began)
        self._seconds = [*self._seconds, seconds][-RECENT:]
        self.watch.tell(
            Stepped(
                step=step,
                epoch=step / self.plan.steps_per_epoch,
                loss=cross_entropy,
                kl=kl,
                reproduced=self.mixture.reproduced_count,
                learning_rate=rate,
                grad_norm=norm,
                tokens=self.progress.tokens,
                tokens_per_second=tokens / seconds,
                eta=(self._last_step - step) * sum(self._seconds) / len(self._seconds),
                memory=memory_used(),
            )
        )
        self.watch.log_scalars(step, {"loss": cross_entropy, "kl": kl, "learning_rate": rate, "grad_norm": norm})

    def _backward(self, rows: Sequence[TrainRow], step: int) -> tuple[float, float]:
        """Accumulate gradients over micro-batches; return the mean cross-entropy and KL of the step."""
        ce_tokens = max(1, sum(len(row.targets) for row in rows if row.reference is None))
        kl_tokens = max(1, sum(len(row.targets) for row in rows if row.reference is not None))
        cross_entropy = kl = 0.0
        torch.manual_seed(self.recipe.seed * 1_000_003 + step)  # dropout, also after a resume
        for part in micro_batches(rows, self.plan.micro_tokens):
            self.watch.control.check()
            found = step_loss(
                self.model,
                part,
                ce_tokens=ce_tokens,
                kl_tokens=kl_tokens,
                kl_weight=self.plan.kl_weight,
                share_prefix=not self.plan.checkpointing,
            )
            self.scaler.scale(found.loss).backward()  # type: ignore[no-untyped-call]
            cross_entropy += found.cross_entropy
            kl += found.kl
            for row, value in zip(part, found.found, strict=True):
                self.mixture.note(row, value)
        return cross_entropy / ce_tokens, kl / kl_tokens

    def _update(self) -> float:
        """Clip the gradients and step; return their norm before clipping."""
        self.scaler.unscale_(self.optimizer)
        norm = float(torch.nn.utils.clip_grad_norm_(self.parameters, self.recipe.max_grad_norm))
        if not math.isfinite(norm) and not self.scaler.is_enabled():
            raise adapting.diverged("gradients")
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        return norm if math.isfinite(norm) else 0.0

    def _rate_factor(self, step: int) -> float:
        """Return the factor of the peak rate: linear warm-up, then by schedule, or a decay to 0 after the stop rule."""
        warm = min(1.0, step / self.plan.warmup_steps) if self.plan.warmup_steps else 1.0
        if self.plan.until_reproduced:
            if not self.progress.stop_at:
                return warm
            return min(warm, (self.progress.stop_at - step + 1) / (self.plan.decay_steps + 1))
        done = (step - 1) / max(1, self.plan.steps)
        after = {"constant": 1.0, "linear": 1 - done, "cosine": 0.5 * (1 + math.cos(math.pi * done))}
        return warm * after[self.recipe.schedule]

    def _begin_decay(self) -> None:
        """Begin the decay once each row is reproduced, or where the steps end with it."""
        progress, plan = self.progress, self.plan
        if not plan.until_reproduced or progress.stop_at:
            return
        if self.mixture.least_likely >= plan.sure:
            progress.stop_at = min(plan.steps, progress.step + plan.decay_steps)
        elif progress.step >= plan.steps - plan.decay_steps:
            progress.stop_at = plan.steps

    def _check_loss(self, loss: float, kl: float, step: int) -> None:
        """Raise RunDiverged for a loss that is not finite, rises far above the first ones, or does not fall."""
        progress = self.progress
        if not math.isfinite(loss) or not math.isfinite(kl):
            raise adapting.diverged("loss")
        if len(progress.first_losses) < RECENT_LOSSES:
            progress.first_losses.append(loss)
        progress.losses = [*progress.losses, loss][-RECENT_LOSSES:]
        first, recent = progress.first_losses[0], sum(progress.losses) / len(progress.losses)
        drifted = self.recipe.hold != "loose" and (kl > HOPELESS_KL or (loss > first and kl > BAD_KL))
        far = loss > 2 * first + 1 or drifted
        progress.diverged = progress.diverged + 1 if far else 0
        if progress.diverged >= DIVERGED_STEPS:
            raise _hopeless(
                f"The training diverged: at step {step} the loss is {loss:.2f} ({first:.2f} at the start) and the KL "
                f"to the base {kl:.1f} nats per token"
            )
        at_start = sum(progress.first_losses) / len(progress.first_losses)
        if step == FLAT_STEPS and recent > 0.9 * at_start and at_start > 0.2:
            raise _hopeless(
                f"The training makes no progress: the loss is {recent:.2f} after {step} steps ({at_start:.2f} before)",
                "Raise learning_rate (0 chooses it by the model's size), or raise rank.",
            )

    # between steps

    def _is_pause(self) -> bool:
        step = self.progress.step
        return step % self.plan.evaluate_every == 0 or self.complete or self.watch.control.stopping

    def _pause(self) -> None:
        """Measure, sample and write a checkpoint."""
        if not self.watch.control.stopping:
            self._measure()
            self.watch.sample(self.progress.step)
        self._checkpoint()

    def _measure(self) -> None:
        progress = self.progress
        if self.watch.measure is None:
            return
        loss = self.watch.measure()
        if not math.isfinite(loss):
            raise adapting.diverged("held-out loss")
        self.watch.tell(HeldOut(step=progress.step, loss=loss))
        if progress.best_loss is None or loss < progress.best_loss:
            progress.best_loss, progress.best_step, progress.without_gain = loss, progress.step, 0
        else:
            progress.without_gain += 1
            progress.early = 0 < self.recipe.early_stopping <= progress.without_gain

    def _checkpoint(self) -> None:
        """Write a checkpoint. A full disk is reported and does not end the run."""
        step = self.progress.step
        try:
            folder = checkpoints.write(self.watch.folder, step, self._fill, self.progress.best_step)
        except Exception as error:
            if not checkpoints.is_disk_full(error):
                raise
            self.watch.tell(Warned(text=f"The disk is full: step {step} has no checkpoint. Free some space."))
            return
        self.watch.tell(CheckpointWritten(step=step, folder=folder.name))

    def _fill(self, folder: Path) -> None:
        adapting.save(self.model, folder)
        torch.save({"optimizer": self.optimizer.state_dict(), "scaler": self.scaler.state_dict()}, folder / OPTIMIZER)
        self.progress.least, self.progress.drift = dict(self.mixture.least), dict(self.mixture.drift)
        write_atomic(folder / PROGRESS, msgspec.json.encode(self.progress))

    def _restore(self, folder: Path) -> None:
        adapting.put_back(self.model, adapting.read(folder), folder)
        saved = torch.load(folder / OPTIMIZER, map_location=self.model.device, weights_only=True)
        self.optimizer.load_state_dict(saved["optimizer"])
        self.scaler.load_state_dict(saved["scaler"])
        self.progress = msgspec.json.decode((folder / PROGRESS).read_bytes(), type=Progress)
        self.mixture.least, self.mixture.drift = dict(self.progress.least), dict(self.progress.drift)

    def _between_layers(self, layer: Any, inputs: Any, output: Any) -> None:
        """Let the chat go first between decoder layers, in the forward and the backward pass."""
        self.watch.control.give_way()
        hidden = output[0] if isinstance(output, tuple) else output
        if hidden.requires_grad:
            hidden.register_hook(lambda gradient: self.watch.control.give_way())


def micro_batches(rows: Sequence[TrainRow], tokens: int) -> Iterator[list[TrainRow]]:
    """Yield the rows by length in groups of at most `tokens` tokens, padding included."""
    waiting: list[TrainRow] = []
    for row in sorted(rows, key=lambda each: len(each.ids)):
        if waiting and (len(waiting) + 1) * len(row.ids) > tokens:
            yield waiting
            waiting = []
        waiting.append(row)
    if waiting:
        yield waiting


def memory_used() -> int:
    """Return the bytes that this process has reserved on the GPU, or its resident memory without one."""
    if torch.cuda.is_available() and torch.cuda.memory_reserved():
        return int(torch.cuda.memory_reserved())
    return int(psutil.Process().memory_info().rss)


def _optimizer(parameters: list[Any], recipe: Recipe, rate: float, device: str) -> torch.optim.Optimizer:
    paged = recipe.optimizer == "paged_adamw_8bit" or (recipe.optimizer == "auto" and device == "cuda")
    if not paged:
        return torch.optim.AdamW(parameters, lr=rate, betas=BETAS, weight_decay=recipe.weight_decay)
    if device != "cuda":
        raise SettingsError(
            "The optimizer paged_adamw_8bit needs a GPU.",
            data="Nothing was trained.",
            remedy='Set optimizer = "adamw" or "auto".',
        )
    from sessions.engine.libraries import bnb

    made: torch.optim.Optimizer = bnb.optim.PagedAdamW8bit(
        parameters, lr=rate, betas=BETAS, weight_decay=recipe.weight_decay
    )
    return made


def _hopeless(what: str, remedy: str = "Lower learning_rate (0 chooses it by the model's size).") -> RunDiverged:
    return RunDiverged(f"{what}.", data="Nothing was published; earlier versions are untouched.", remedy=remedy)


def decoder_layers(model: Any) -> list[Any]:
    """Return the repeated layers: the longest list of modules of one class."""
    lists = [module for module in model.modules() if isinstance(module, torch.nn.ModuleList)]
    alike = [found for found in lists if len({type(layer) for layer in found}) == 1]
    return list(max(alike, key=len, default=[]))
