"""The course of one run in its worker: load, encode, train, score, publish; each step told in events.

Knows nothing of processes or of who reads the events.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from corpora.dataset import encode_rows, read_snapshot, split
from corpora.errors import DialogError
from sessions.engine.base import LoadedBase, best_device, load_base
from sessions.engine.share import open_shared
from sessions.engine.words import Words
from sessions.errors import DiskFull, LlamaTuiError, NothingToTrain, RunError
from sessions.paths import Paths
from sessions.protocol import BASE
from sessions.registry import Lineage, Registry
from sessions.settings import Settings
from sessions.training import adapting, checkpoints, evaluation, events, runs, schedule
from sessions.training.assignment import Assignment
from sessions.training.control import Control, host_ended
from sessions.training.events import (
    Planned,
    Published,
    RunCreated,
    RunEvent,
    RunFinished,
    RunStopped,
    Sampled,
    Stage,
    Warned,
    WorkerStarted,
)
from sessions.training.publishing import Material, Result, publish
from sessions.training.supervised import Supervised, trainer
from sessions.training.variants import alone
from sessions.training.watching import Watch

BYTES_PER_PARAMETER = 12
"""Of a checkpoint: a float32 matrix and two float32 moments of the optimizer."""


class Session:
    """One run from its assignment to its last event but one: `run` returns the ending."""

    def __init__(self, assignment: Assignment, control: Control) -> None:
        """Raises RunError, SettingsError for a folder that was not prepared."""
        self.folder = Path(assignment.run)
        self.assignment = assignment
        self.control = control
        home = Path(assignment.home)
        self.paths = Paths(home, Path(assignment.cache), home / "config.toml", home)
        self.registry = Registry(self.paths)
        self.created = _created(self.folder)
        self.recipe = runs.read_recipe(self.folder)
        self.checkpoint = checkpoints.newest(self.folder) if assignment.resume else None
        self._stage = ""

    def tell(self, event: RunEvent) -> None:
        """One more line of events.jsonl."""
        events.append(self.folder, event)

    def run(self) -> RunFinished | RunStopped:
        """The whole course. Raises LlamaTuiError, Cancelled, and what libraries raise."""
        self._start()
        base = self._load()
        material = self._encode(base)
        model = self._attach(base)
        plan = self._plan(model, material, base)
        made = self._trainer(base, model, material, plan)
        self._train(made, plan)
        return self._conclude(Result(base, model, material, made), plan)

    # before training

    def _start(self) -> None:
        if not self.assignment.resume:
            checkpoints.clear(self.folder)
        step = checkpoints.step_of(self.checkpoint) if self.checkpoint else 0
        source = "shared with the chat" if self.assignment.base else "loaded by the run"
        self.tell(WorkerStarted(pid=os.getpid(), device=best_device().type, resumed_step=step, base_from=source))
        self.control.check_before_training()

    def _load(self) -> LoadedBase:
        """The frozen base: the host's where it can be had."""
        self.tell(Stage(name="Loading the model"))
        if self.assignment.base:
            try:
                return open_shared(Path(self.assignment.base))
            except (LlamaTuiError, RuntimeError, OSError) as error:
                self.tell(Warned(text=f"The chat's model cannot be shared ({error}); the run loads its own."))
        settings = Settings(quantization=self.assignment.quantization)  # type: ignore[arg-type]
        return load_base(self.created.model, self.paths, settings, self._loading)

    def _loading(self, stage: str, fraction: float | None) -> None:
        if stage != self._stage:
            self._stage = stage
            self.tell(Stage(name=stage))
        self.control.check_before_training()

    def _encode(self, base: LoadedBase) -> Material:
        self.tell(Stage(name="Encoding the exchanges"))
        snapshot = read_snapshot(self.folder / runs.SNAPSHOT)
        longest = min(self.recipe.max_length, base.info.context)
        encoded = encode_rows(snapshot.rows, base.words.vocabulary, longest)
        self.control.check_before_training()
        if not encoded.examples:
            reason = encoded.left_out[0][1] if encoded.left_out else "the snapshot is empty"
            raise NothingToTrain(
                f"None of the {len(snapshot.rows)} rows can be trained: {reason}",
                data="Nothing was published; your exchanges are untouched.",
                remedy="Correct them in Corpus, or raise max_length.",
            )
        if encoded.shortened:
            rows = len(encoded.shortened)
            self.tell(Warned(text=f"{rows} rows are longer than the context and lost their oldest exchanges."))
        kept, aside = split(tuple(row for row, _ in encoded.examples), self.recipe.held_out)
        outside = {row.key for row in aside} if kept else set()
        train = [pair for pair in encoded.examples if pair[0].key not in outside]
        variants = alone((row for row, _ in train), self.recipe.alone)
        train += encode_rows(variants, base.words.vocabulary, longest).examples
        return Material(train, [pair for pair in encoded.examples if pair[0].key in outside], encoded.left_out)

    def _attach(self, base: LoadedBase) -> Any:
        parent = self.parent_folder()
        if parent is not None:
            lineage = self.registry.lineage(self.parent)
            if lineage.base_digest and lineage.base_digest != base.digest:
                self.tell(Warned(text=f"{self.created.parent} was trained on another build of {lineage.base_model}."))
        model, notes = adapting.attach(base.model, self.recipe, base.info.name, parent)
        for note in notes:
            self.tell(Warned(text=note))
        return model

    def parent_folder(self) -> Path | None:
        """The PEFT folder that the run continues, checked; None where it starts from the base."""
        return None if self.created.parent == BASE else self.registry.verified(self.parent)

    @property
    def parent(self) -> str:
        """Where the version that the run continues is now, whatever it was called when the run was prepared."""
        known = self.created.parent_digest
        return self.registry.address(known) if known else self.created.parent

    def _plan(self, model: Any, material: Material, base: LoadedBase) -> schedule.Schedule:
        plan = schedule.plan(len(material.train), max(material.lengths), self.recipe, base.device.type)
        parameters = sum(found.numel() for found in model.parameters() if found.requires_grad)
        self._check_space(parameters)
        self.tell(
            Planned(
                steps=plan.steps,
                epochs=plan.epochs,
                examples=len(material.train),
                held_out=len(material.held_out),
                tokens=sum(material.lengths),
                trained_tokens=sum(sum(example.trained) for _, example in material.train),
                batch=plan.batch,
                trainable_parameters=parameters,
                left_out=tuple(f"{row.dialog[-1].content[:60]!r}: {why}" for row, why in material.left_out),
            )
        )
        return plan

    def _check_space(self, parameters: int) -> None:
        """Three checkpoints' worth: two that are kept and one that is being written."""
        needed = 3 * BYTES_PER_PARAMETER * parameters
        free = shutil.disk_usage(self.folder).free
        if free < needed:
            raise DiskFull(
                f"The run's checkpoints need {needed >> 20} MB, and {free >> 20} MB are free in {self.folder.parent}.",
                data="Nothing was trained.",
                remedy="Free some space, or lower the rank.",
            )

    # training

    def _trainer(self, base: LoadedBase, model: Any, material: Material, plan: schedule.Schedule) -> Supervised:
        rate = self.recipe.learning_rate or schedule.learning_rate(base.model.config.get_text_config().hidden_size)
        examples = [example for _, example in material.train]
        made = trainer(model, base.tokenizer, examples, self.recipe, plan, folder=self.folder, rate=rate)
        measured = evaluation.sample([example for _, example in material.held_out])
        made.watched_by(
            Watch(
                folder=self.folder,
                control=self.control,
                tell=self.tell,
                steps=plan.steps,
                evaluate_every=plan.evaluate_every,
                patience=self.recipe.early_stopping,
                lengths=material.lengths,
                micro_batch=plan.micro_batch,
                seed=self.recipe.seed,
                measure=(lambda: evaluation.mean_loss(model, measured, self.control.check)) if measured else None,
                sample=lambda step: self._sample(model, base.words, step),
            )
        )
        return made

    def _sample(self, model: Any, words: Words, step: int) -> None:
        for prompt in self.recipe.samples:
            self.control.check()
            try:
                self.tell(Sampled(step=step, prompt=prompt, reply=evaluation.reply(model, words, prompt)))
            except DialogError as error:
                self.tell(Warned(text=f"The sample {prompt[:40]!r} cannot be asked: {error.what}"))

    def _train(self, made: Supervised, plan: schedule.Schedule) -> None:
        """Train, or go on from the checkpoint; then take the matrices that are to be published."""
        self.tell(Stage(name="Training"))
        made.go(self.checkpoint)
        self.control.check()
        if self.control.orphaned and not made.complete:
            raise host_ended()
        best = checkpoints.folder_of(self.folder, made.watch.progress.best_step)
        if made.watch.progress.best_step and best.is_dir():
            adapting.put_back(made.model, adapting.read(best), best)

    # after training

    def _conclude(self, result: Result, plan: schedule.Schedule) -> RunFinished | RunStopped:
        self.tell(Stage(name="Scoring"))
        adapting.round_to(result.model, result.base.dtype)
        folder = self.parent_folder()
        parent = adapting.read(folder) if folder else None
        for subset, examples in result.material.subsets().items():
            result.scores.append(evaluation.score(result.model, subset, examples, parent, self.control.check))
            self.tell(result.scores[-1])
        self.control.check()
        result.material = result.material.taught(result.steps, plan, self.recipe.seed)
        self.tell(Stage(name="Publishing"))
        lineage = publish(result, self.created, self.registry)
        worse = evaluation.worse(result.scores, self.created.parent)
        self.tell(Published(adapter=lineage.address, digest=lineage.digest, worse=worse))
        self._mark(result.material, lineage)
        if result.trainer.complete:
            checkpoints.clear(self.folder)
            return RunFinished()
        return RunStopped(step=int(result.trainer.state.global_step))

    def _mark(self, material: Material, version: Lineage) -> None:
        """The version is there; a store that cannot be written takes nothing from it."""
        try:
            material.mark_trained(self.paths.corpus, version, self.created.time)
        except LlamaTuiError as error:
            self.tell(Warned(text=f"The exchanges could not be marked as trained in {version.address}: {error}"))


def _created(folder: Path) -> RunCreated:
    first = next((event for event, _ in events.read(folder)), None)
    if not isinstance(first, RunCreated):
        raise RunError(f"{folder} was not prepared as a run.", data="Nothing was trained.", remedy="Start a new run.")
    return first
