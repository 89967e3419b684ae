"""The course of one run in its worker: load, encode, anchor, train, check, publish; each stage reported as an event.

Knows nothing of processes or of who reads the events.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import psutil

from corpora.dataset import Row, read_snapshot
from corpora.errors import DialogError
from corpora.pinned import PinnedTest
from corpora.store import Store
from sessions.engine.base import LoadedBase, best_device, load_base
from sessions.engine.share import open_shared
from sessions.errors import DiskFull, LlamaTuiError, NothingToTrain, RunError
from sessions.models import hub_name
from sessions.paths import Paths
from sessions.protocol import BASE
from sessions.registry import Lineage, Registry
from sessions.settings import Settings
from sessions.training import adapting, anchors, checkpoints, dense, evaluation, events, publishing, runs, schedule
from sessions.training.anchors import Anchor, AnchorCache
from sessions.training.assignment import Assignment
from sessions.training.control import Control, host_ended
from sessions.training.events import (
    Gated,
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
from sessions.training.gate import Gate, Questions
from sessions.training.lessons import Material, material_of
from sessions.training.mixture import Mixture
from sessions.training.publishing import Result
from sessions.training.rewording import content_words, form_of, neighbours
from sessions.training.tensorboard import tensorboard
from sessions.training.trainer import Trainer, Watch

BYTES_PER_PARAMETER = 12
"""Of a checkpoint: a float32 matrix and two float32 moments of the optimizer."""
ANCHOR_CHUNKS = 4
"""Chunks of anchors that a run needs before it starts; it computes those that are missing."""
NEIGHBOURS = 4
"""Similar prompts per new reply that the base answers before training."""
MOST_NEIGHBOURS = 120
ANCHOR_TARGETS = 12
"""Tokens of an anchor's reply that are trained; the gate reads all of them."""
GATE_ANCHORS, FEW_GATE_ANCHORS, GATE_ROWS = 100, 64, 200
"""Prompts of the gate; the smaller number of anchors is for runs of at most 10 new replies."""


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
        """Append an event to events.jsonl."""
        events.append(self.folder, event)

    def run(self) -> RunFinished | RunStopped:
        """Carry out the run. Raises LlamaTuiError, Cancelled, and what libraries raise."""
        self._start()
        base = self._load()
        adapting.keep_unpacked(base.model)
        material = self._encode(base)
        found = self._anchors(base)
        near = self._neighbours(base, material)
        model = self._attach(base)
        plan = self._plan(model, material)
        trainer = self._trainer(base, model, plan, self._mixture(material, found, near, plan), material)
        self._train(trainer)
        return self._conclude(base, trainer, material, found)

    # before training

    def _start(self) -> None:
        if not self.assignment.resume:
            checkpoints.clear(self.folder)
        step = checkpoints.step_of(self.checkpoint) if self.checkpoint else 0
        source = "shared with the chat" if self.assignment.base else "loaded by the run"
        self.tell(WorkerStarted(pid=os.getpid(), device=best_device().type, resumed_step=step, base_from=source))
        self.control.check_before_training()

    def _load(self) -> LoadedBase:
        """Return the frozen base: shared by the host, or loaded by this process."""
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
        self.tell(Stage(name="Encoding the replies"))
        rows = read_snapshot(self.folder / runs.SNAPSHOT).rows
        material = material_of(rows, base.words.vocabulary, min(self.recipe.max_length, base.info.context), self.recipe)
        self.control.check_before_training()
        if not material.lessons:
            reason = material.left_out[0][1] if material.left_out else "the snapshot is empty"
            raise NothingToTrain(
                f"None of the {len(rows)} rows can be trained: {reason}",
                data="Nothing was published; your replies are untouched.",
                remedy="Correct them in Corpus, or raise max_length.",
            )
        if material.shortened:
            text = f"{material.shortened} rows are longer than the context; their oldest exchanges were cut."
            self.tell(Warned(text=text))
        return material

    def _anchors(self, base: LoadedBase) -> list[Anchor]:
        """Return the cached anchors of this base; compute those that a run needs and that are missing."""
        cache = AnchorCache(self.paths.anchors, base)

        def progress(fraction: float) -> None:
            self.tell(Stage(name=f"Recording how the base answers ({fraction:.0%})"))

        cache.build(base.model, self.control.check_before_training, progress, ANCHOR_CHUNKS)
        return cache.load()

    def _neighbours(self, base: LoadedBase, material: Material) -> list[Anchor]:
        """Return anchors for prompts that differ from the new ones by a word."""
        prompts = [row.dialog[-2].content for row, lesson in material.trained if lesson.rewordings]
        if self.recipe.neighbours == 0 or not prompts or len(prompts) > MOST_NEIGHBOURS:
            return []
        self.tell(Stage(name="Asking the base similar prompts"))
        words = content_words(anchors.shipped_prompts())
        each = max(1, min(NEIGHBOURS, MOST_NEIGHBOURS // len(prompts)))
        similar = [text for prompt in prompts for text in neighbours(prompt, words, each, self.recipe.seed)]
        taught = {prompt.casefold() for prompt in material.prompts}
        asked = [text for text in dict.fromkeys(similar) if text.casefold() not in taught]
        return anchors.compute(base.model, base, asked, self.control.check_before_training, ANCHOR_TARGETS)

    def _attach(self, base: LoadedBase) -> Any:
        parent = self.parent_folder()
        if parent is not None:
            lineage = self.registry.lineage(self.parent)
            if lineage.base_digest and lineage.base_digest != base.digest:
                self.tell(Warned(text=f"{self.created.parent} was trained on another build of {lineage.base_model}."))
        if base.device.type == "cpu":
            dense.keep_dense(base.model, psutil.virtual_memory().available)
        model, notes = adapting.attach(base.model, self.recipe, hub_name(base.info.name), parent)
        for note in notes:
            self.tell(Warned(text=note))
        return model

    def parent_folder(self) -> Path | None:
        """Return the PEFT folder that the run continues, verified; None where it starts from the base."""
        return None if self.created.parent == BASE else self.registry.verified(self.parent)

    @property
    def parent(self) -> str:
        """Where the version that the run continues is now, whatever it was called when the run was prepared."""
        known = self.created.parent_digest
        return self.registry.address(known) if known else self.created.parent

    def _plan(self, model: Any, material: Material) -> schedule.Schedule:
        new = material.new
        plan = schedule.plan(
            len(new),
            max(len(lesson.row.ids) for lesson in material.lessons),
            self.recipe,
            model.device.type,
            earlier=len(material.earlier),
            trained_tokens=sum(len(row.targets) for row in new),
        )
        parameters = sum(found.numel() for found in model.parameters() if found.requires_grad)
        self._check_space(parameters)
        rows = [lesson.row for lesson in material.lessons]
        self.tell(
            Planned(
                steps=plan.steps,
                epochs=plan.epochs,
                examples=len(rows),
                held_out=len(material.held_out),
                tokens=sum(len(row.ids) for row in rows),
                trained_tokens=sum(len(row.targets) for row in rows),
                batch=plan.batch,
                trainable_parameters=parameters,
                until_reproduced=plan.until_reproduced,
                left_out=tuple(f"{row.dialog[-1].content[:60]!r}: {why}" for row, why in material.left_out),
            )
        )
        return plan

    def _check_space(self, parameters: int) -> None:
        """Require room for three checkpoints: two that are kept and one that is being written."""
        needed = 3 * BYTES_PER_PARAMETER * parameters
        free = shutil.disk_usage(self.folder).free
        if free < needed:
            raise DiskFull(
                f"The run's checkpoints need {needed >> 20} MB, and {free >> 20} MB are free in {self.folder.parent}.",
                data="Nothing was trained.",
                remedy="Free some space, or lower the rank.",
            )

    # training

    def _mixture(self, material: Material, found: list[Anchor], near: list[Anchor], plan: schedule.Schedule) -> Mixture:
        usable = anchors.without_similar([anchor for anchor in found if not anchor.held_out], material.prompts)
        forms = {form_of(prompt) for prompt in material.prompts}
        return Mixture(
            material.lessons,
            [anchor.row.shortened(ANCHOR_TARGETS) for anchor in usable],
            [index for index, anchor in enumerate(usable) if form_of(anchor.prompt) in forms],
            [anchor.row for anchor in near],
            plan.portions,
            self.recipe.seed,
            by_need=plan.until_reproduced,
        )

    def _trainer(
        self, base: LoadedBase, model: Any, plan: schedule.Schedule, mixture: Mixture, material: Material
    ) -> Trainer:
        rate = self.recipe.learning_rate or schedule.learning_rate(base.model.config.get_text_config().hidden_size)
        measured = evaluation.sample([row for _, row in material.held_out])
        watch = Watch(
            folder=self.folder,
            control=self.control,
            tell=self.tell,
            measure=(lambda: evaluation.mean_loss(model, measured, self.control.check)) if measured else None,
            sample=lambda step: self._sample(base, model, step),
            log_scalars=tensorboard(self.folder / "tensorboard")
            if self.recipe.tensorboard
            else lambda step, values: None,
        )
        if plan.checkpointing:
            model.get_base_model().gradient_checkpointing_enable({"use_reentrant": False})
        return Trainer(model, mixture, self.recipe, plan, rate, watch)

    def _sample(self, base: LoadedBase, model: Any, step: int) -> None:
        for prompt in self.recipe.samples:
            self.control.check()
            try:
                self.tell(Sampled(step=step, prompt=prompt, reply=evaluation.reply(model, base.words, prompt)))
            except DialogError as error:
                self.tell(Warned(text=f"The sample {prompt[:40]!r} cannot be asked: {error.what}"))

    def _train(self, trainer: Trainer) -> None:
        """Train, or continue from the checkpoint; then load the matrices that are to be published."""
        self.tell(Stage(name="Training"))
        trainer.train(self.checkpoint)
        self.control.check()
        if self.control.orphaned and not trainer.complete:
            raise host_ended()
        best = checkpoints.folder_of(self.folder, trainer.progress.best_step)
        if trainer.progress.best_step and best.is_dir():
            adapting.put_back(trainer.model, adapting.read(best), best)

    # after training

    def _conclude(
        self, base: LoadedBase, trainer: Trainer, material: Material, found: list[Anchor]
    ) -> RunFinished | RunStopped:
        self.tell(Stage(name="Checking against the base and the parent"))
        model = trainer.model
        adapting.round_to(model, base.dtype)
        folder = self.parent_folder()
        parent = adapting.read(folder) if folder else None
        scores = [
            evaluation.score(model, subset, rows, parent, self.control.check)
            for subset, rows in material.subsets().items()
        ]
        for score in scores:
            self.tell(score)
        rows = publishing.trained_rows(material, trainer.mixture.seen)
        tests = self._pinned_tests()
        questions = self._questions(trainer, material, rows, found, tests)
        verdict = Gate(model, base.words, questions, parent, self.control.check).run()
        adapting.round_to(model, base.dtype)
        self.tell(Gated(report=verdict.report))
        self.control.check()
        self.tell(Stage(name="Publishing"))
        result = Result(base, model, material, trainer, rows, verdict, scores)
        lineage = publishing.publish(result, self.created, self.registry)
        self.tell(Published(adapter=lineage.address, digest=lineage.digest, worse=" ".join(verdict.report.reasons)))
        self._record(result, lineage, tests)
        if trainer.complete:
            checkpoints.clear(self.folder)
            return RunFinished()
        return RunStopped(step=trainer.progress.step)

    def _pinned_tests(self) -> tuple[PinnedTest, ...]:
        store = Store(self.paths.corpus)
        try:
            return store.pinned_tests()
        finally:
            store.close()

    def _questions(
        self,
        trainer: Trainer,
        material: Material,
        rows: tuple[Row, ...],
        found: list[Anchor],
        tests: tuple[PinnedTest, ...],
    ) -> Questions:
        """Return what the gate asks: of large sets a sample, of an interrupted run the new rows it has trained on."""
        taught = {row.key for row in rows}
        trained = [lesson.row for row, lesson in material.trained if row.key in taught]
        new = [row for row in trained if row.kind == "new"]
        reworded = [row for row in material.checks if row.source in trainer.mixture.seen]
        general = anchors.without_similar([anchor for anchor in found if anchor.held_out], material.prompts)
        return Questions(
            new=evaluation.sample(new, GATE_ROWS),
            reworded=evaluation.sample(reworded, GATE_ROWS // 4),
            earlier=evaluation.sample(material.earlier, GATE_ROWS),
            replies=material.replies,
            anchors=general[: FEW_GATE_ANCHORS if len(new) <= 10 else GATE_ANCHORS],
            pinned=tests,
            hold=self.recipe.hold,
            kl_budget=schedule.kl_budget(len(new), self.recipe.hold),
            reproduce=trainer.plan.until_reproduced and trainer.complete,
        )

    def _record(self, result: Result, version: Lineage, tests: tuple[PinnedTest, ...]) -> None:
        """Record in the store what the version was trained on. The version is published even if that fails."""
        try:
            publishing.mark_trained(self.paths.corpus, result.rows, version, self.created.time)
            publishing.save_pinned(self.paths.corpus, version.digest, self.created.model, result, tests)
        except LlamaTuiError as error:
            self.tell(Warned(text=f"The replies could not be marked as trained in {version.address}: {error}"))


def _created(folder: Path) -> RunCreated:
    first = next((event for event, _ in events.read(folder)), None)
    if not isinstance(first, RunCreated):
        raise RunError(f"{folder} was not prepared as a run.", data="Nothing was trained.", remedy="Start a new run.")
    return first
