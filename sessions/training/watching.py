"""What every trainer of the project does besides training: it heeds the outside world, tells each step,
measures, checkpoints exactly, and stops at numbers that are not finite.

A mixin before any transformers Trainer; knows nothing of the kind of loss.
"""

from __future__ import annotations

import errno
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import psutil
import torch
from transformers import TrainerState

from sessions.paths import write_atomic
from sessions.training import adapting, checkpoints
from sessions.training.control import Control
from sessions.training.events import CheckpointWritten, HeldOut, RunEvent, Stepped, Warned
from sessions.training.examples import LikeLengths

PROGRESS = "progress.json"
STATE = "trainer_state.json"
RECENT = 20
MOST_SKIPPED = 20
"""Steps in a row that float16's loss scaler may skip while it finds its scale."""


class Progress(msgspec.Struct):
    """What a checkpoint remembers besides the trainer's own state."""

    tokens: int = 0
    loss: float = 0.0
    best_loss: float | None = None
    best_step: int = 0
    without_gain: int = 0
    early: bool = False


@dataclass
class Watch:
    """What a trainer is to heed and to do at each evaluation. `measure` gives the held-out loss, if there is one."""

    folder: Path
    control: Control
    tell: Callable[[RunEvent], None]
    steps: int
    evaluate_every: int
    patience: int
    lengths: list[int]
    micro_batch: int
    seed: int
    measure: Callable[[], float] | None = None
    sample: Callable[[int], None] = lambda step: None
    progress: Progress = field(default_factory=Progress)


class Watched:
    """The mixin. `watch` is set between the trainer's construction and `train`."""

    watch: Watch
    _began: float | None = None
    _step_tokens: int = 0
    _skipped: int = 0

    def watched_by(self, watch: Watch) -> None:
        """Set what to heed; hooks let chat go first between decoder layers too."""
        self.watch = watch
        self._seconds: list[float] = []
        for layer in _decoder_layers(self.model):  # type: ignore[attr-defined]
            layer.register_forward_hook(self._between_layers)

    @property
    def complete(self) -> bool:
        """True where the whole plan was done, or early stopping ended it."""
        return bool(self.state.global_step >= self.watch.steps) or self.watch.progress.early

    def go(self, checkpoint: Path | None) -> None:
        """Train from the start or from a checkpoint; one that is complete is only read."""
        if checkpoint is not None:
            self._load_from_checkpoint(str(checkpoint))
            self.state = TrainerState.load_from_json(str(checkpoint / STATE))
            if self.complete:
                return
        self.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)  # type: ignore[attr-defined]

    # what transformers calls

    def training_step(self, model: Any, inputs: dict[str, Any], *args: Any, **more: Any) -> torch.Tensor:
        """One micro-step. Raises Cancelled, RunDiverged."""
        self.watch.control.check()
        self._began = self._began or time.monotonic()
        self._step_tokens += int(inputs["attention_mask"].sum())
        loss: torch.Tensor = super().training_step(model, inputs, *args, **more)  # type: ignore[misc]
        if not torch.isfinite(loss):
            raise adapting.diverged("loss")
        return loss

    def log(self, logs: dict[str, float], *args: Any, **more: Any) -> None:
        """Called after each optimizer step with its loss; tells it, then evaluates and saves where it is time."""
        super().log(logs, *args, **more)  # type: ignore[misc]
        self.state.log_history = []
        if "loss" in logs:
            self._stepped(float(logs["loss"]), float(logs["grad_norm"]), float(logs["learning_rate"]))

    def _get_train_sampler(self, dataset: Any = None) -> LikeLengths:
        return LikeLengths(self.watch.lengths, self.watch.micro_batch, self.watch.seed)

    def _load_from_checkpoint(self, folder: str, model: Any = None) -> None:
        """The matrices as they were; the optimizer, the schedule and the random numbers follow by themselves."""
        adapting.put_back(self.model, adapting.read(Path(folder)), folder)  # type: ignore[attr-defined]
        self.watch.progress = msgspec.json.decode((Path(folder) / PROGRESS).read_bytes(), type=Progress)

    # within

    def _between_layers(self, layer: Any, inputs: Any, output: Any) -> None:
        self.watch.control.give_way()
        hidden = output[0] if isinstance(output, tuple) else output
        if hidden.requires_grad:
            hidden.register_hook(lambda gradient: self.watch.control.give_way())

    def _stepped(self, loss: float, grad_norm: float, learning_rate: float) -> None:
        grad_norm = self._checked(loss, grad_norm)
        watch, step = self.watch, int(self.state.global_step)
        seconds = max(1e-9, time.monotonic() - (self._began or time.monotonic()))
        self._seconds = [*self._seconds, seconds][-RECENT:]
        watch.progress.tokens += self._step_tokens
        watch.progress.loss = loss
        watch.tell(
            Stepped(
                step=step,
                epoch=float(self.state.epoch or 0),
                loss=loss,
                learning_rate=learning_rate,
                grad_norm=grad_norm,
                tokens=watch.progress.tokens,
                tokens_per_second=self._step_tokens / seconds,
                eta=(watch.steps - step) * sum(self._seconds) / len(self._seconds),
                memory=memory_used(),
            )
        )
        self._step_tokens = 0
        if step % watch.evaluate_every == 0 or step >= watch.steps or watch.control.stopping:
            self._pause(step)
        self._began = None

    def _checked(self, loss: float, grad_norm: float) -> float:
        """The norm; raises RunDiverged. In float16 the loss scaler skips steps that overflow: 0 is told for those."""
        if not math.isfinite(loss):
            raise adapting.diverged("loss")
        if math.isfinite(grad_norm):
            self._skipped = 0
            return grad_norm
        self._skipped += 1
        scaled = self.args.fp16 and self.accelerator.optimizer_step_was_skipped  # type: ignore[attr-defined]
        if not scaled or self._skipped > MOST_SKIPPED:
            raise adapting.diverged("gradients")
        return 0.0

    def _pause(self, step: int) -> None:
        """Measure, sample, save; end the training where it should end."""
        watch = self.watch
        if not watch.control.stopping:
            self._measure(step)
            watch.sample(step)
        self._checkpoint(step)
        if watch.control.stopping or watch.progress.early:
            self.control.should_training_stop = True  # type: ignore[attr-defined]

    def _measure(self, step: int) -> None:
        watch, progress = self.watch, self.watch.progress
        if watch.measure is None:
            return
        loss = watch.measure()
        if not math.isfinite(loss):
            raise adapting.diverged("held-out loss")
        watch.tell(HeldOut(step=step, loss=loss))
        if progress.best_loss is None or loss < progress.best_loss:
            progress.best_loss, progress.best_step, progress.without_gain = loss, step, 0
        else:
            progress.without_gain += 1
            progress.early = 0 < watch.patience <= progress.without_gain

    def _checkpoint(self, step: int) -> None:
        """A full disk ends no run: it goes on without this checkpoint."""
        try:
            folder = checkpoints.write(self.watch.folder, step, self._fill, self.watch.progress.best_step)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            self.watch.tell(Warned(text=f"The disk is full: no checkpoint of step {step}. Free some space."))
            return
        self.watch.tell(CheckpointWritten(step=step, folder=folder.name))

    def _fill(self, folder: Path) -> None:
        adapting.save(self.model, folder)  # type: ignore[attr-defined]
        self._save_optimizer_and_scheduler(str(folder))  # type: ignore[attr-defined]
        self._save_rng_state(str(folder))  # type: ignore[attr-defined]
        self.state.save_to_json(str(folder / STATE))
        write_atomic(folder / PROGRESS, msgspec.json.encode(self.watch.progress))


def memory_used() -> int:
    """Bytes held on the GPU by this process, or its resident memory."""
    if torch.cuda.is_available() and torch.cuda.memory_reserved():
        return int(torch.cuda.memory_reserved())
    return int(psutil.Process().memory_info().rss)


def _decoder_layers(model: Any) -> list[Any]:
    """The repeated layers: the longest list of modules of one class."""
    lists = [module for module in model.modules() if isinstance(module, torch.nn.ModuleList)]
    alike = [found for found in lists if len({type(layer) for layer in found}) == 1]
    return list(max(alike, key=len, default=[]))
