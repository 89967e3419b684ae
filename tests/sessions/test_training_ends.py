"""Runs that cannot succeed end soon, say why and publish nothing: diverged, flat, no disk, nothing to train."""

from __future__ import annotations

import errno
import shutil
from collections import namedtuple
from pathlib import Path

import pytest
import torch

from sessions import adapter_folder
from sessions.errors import NothingToTrain
from sessions.paths import Paths
from sessions.registry import Registry
from sessions.training import adapting, checkpoints, events, publishing, runs, session, trainer, worker
from sessions.training import recipe as recipes
from sessions.training.events import CheckpointWritten, Stepped
from sessions.training.recipe import Recipe
from sessions.training.session import Session
from tests.models import taught_llama, tiny_llama
from tests.sessions.training_help import GENERAL, assigned, done, fill, final, keep, kept_facts, of, opened, prepared

pytestmark = [
    pytest.mark.usefixtures("one_thread", "few_anchors", "handlers"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
SHORT = Recipe(max_steps=8, evaluations=4, learning_rate=3e-3)
Space = namedtuple("Space", "total used free")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that knows something, which a high learning rate destroys."""
    return taught_llama(tmp_path_factory.mktemp("taught"), GENERAL)


def ended_with(paths: Paths, run: str, kind: str) -> runs.RunState:
    found = runs.state(paths, run)
    assert found.phase == "failed" and found.failure is not None and found.failure.kind == kind, found.failure
    assert found.failure.what and found.failure.data and found.failure.remedy
    assert found.published is None and Registry(paths).names() == []
    return found


# diverged


@pytest.mark.parametrize("rate", [10.0, 1e6])
@pytest.mark.parametrize("epochs", [0.0, 20.0])
def test_a_learning_rate_that_cannot_work_ends_the_run_within_a_few_steps(
    paths: Paths, taught: Path, rate: float, epochs: float
) -> None:
    kept_facts(paths)
    run = prepared(paths, taught, Recipe(learning_rate=rate, epochs=epochs))
    done(paths, run)
    found = ended_with(paths, run, "RunDiverged")
    assert len(found.steps) < 12 and not found.resumable
    assert "diverged" in found.failure.what and "learning_rate" in found.failure.remedy


@pytest.mark.parametrize("rate", [0.05, 0.5])
def test_a_version_that_a_high_learning_rate_wrecked_never_passes(paths: Paths, taught: Path, rate: float) -> None:
    """Where epochs are counted, nothing must be reproduced; the distance from the base tells."""
    kept_facts(paths)
    found = done(paths, prepared(paths, taught, Recipe(learning_rate=rate, epochs=6.0)))
    assert found.failure is not None or (found.published is not None and found.published.worse)
    assert found.gate is None or not found.gate.passed


def test_a_rate_that_overflows_ends_the_run(paths: Paths, model: Path) -> None:
    kept_facts(paths)
    run = prepared(paths, model, Recipe(max_steps=40, learning_rate=1e30, max_grad_norm=1e30, warmup=0.0))
    done(paths, run)
    assert "learning_rate" in ended_with(paths, run, "RunDiverged").failure.remedy


@pytest.mark.parametrize("where", ["loss", "gradient", "weight"])
def test_numbers_that_are_not_finite_are_never_published(paths: Paths, model: Path, where: str) -> None:
    kept_facts(paths)
    run = prepared(paths, model, Recipe(max_steps=6, evaluations=6))
    spoiled(paths, run, 2, where)
    found = ended_with(paths, run, "RunDiverged")
    assert not found.resumable and "learning_rate" in found.failure.remedy


def test_numbers_that_are_not_finite_after_the_last_step_are_not_published(paths: Paths, model: Path) -> None:
    kept_facts(paths)
    run = prepared(paths, model, Recipe(max_steps=3, evaluations=1))
    spoiled(paths, run, 3, "weight")
    ended_with(paths, run, "RunDiverged")


def spoiled(paths: Paths, run: str, step: int, where: str) -> None:
    """Do a run whose numbers stop being finite after a step."""
    found = Session(assigned(paths, run), worker.control_of(assigned(paths, run), parent=None))
    tell, attach = found.tell, found._attach
    parameters: list[torch.Tensor] = []

    def attach_and_keep(base: object) -> object:
        made = attach(base)
        parameters.extend(one for one in made.parameters() if one.requires_grad)
        return made

    def tell_and_spoil(event: events.RunEvent) -> None:
        tell(event)
        if isinstance(event, Stepped) and event.step == step:
            spoil(parameters[-1], where)

    found._attach, found.tell = attach_and_keep, tell_and_spoil
    worker.concluded(paths.run(run), found.run)


def spoil(parameter: torch.Tensor, where: str) -> None:
    match where:
        case "loss":
            parameter.data.fill_(float("inf"))
        case "gradient":
            parameter.register_hook(lambda gradient: gradient * float("nan"))
        case "weight":
            parameter.data.view(-1)[0] = float("nan")


def test_the_last_good_state_of_a_run_that_diverged_can_be_imported(paths: Paths, model: Path) -> None:
    kept_facts(paths)
    run = prepared(paths, model, Recipe(max_steps=40, learning_rate=6e-3))
    spoiled(paths, run, 20, "loss")
    found = ended_with(paths, run, "RunDiverged")
    folder = paths.run(run) / trainer.LAST_GOOD
    assert f"adapters import {folder}" in found.failure.remedy and "is kept" in found.failure.data
    adapter_folder.check(folder)
    assert all(torch.isfinite(value).all() for value in adapting.read(folder).values())
    assert any(value.abs().max() > 0 for name, value in adapting.read(folder).items() if "lora_B" in name)
    assert Registry(paths).import_folder(folder, "saved") == "saved/v1"


def test_a_run_that_diverged_at_once_keeps_no_state(paths: Paths, taught: Path) -> None:
    """There is nothing in it but the start."""
    kept_facts(paths)
    run = prepared(paths, taught, Recipe(learning_rate=1e6))
    done(paths, run)
    found = ended_with(paths, run, "RunDiverged")
    assert not (paths.run(run) / trainer.LAST_GOOD).exists() and "import" not in found.failure.remedy


# flat


def test_a_loss_that_does_not_fall_ends_the_run(paths: Paths, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer, "FLAT_STEPS", 15)
    kept_facts(paths)
    run = prepared(paths, model, Recipe(learning_rate=1e-9))
    done(paths, run)
    found = ended_with(paths, run, "RunDiverged")
    assert len(found.steps) < 16 < found.plan.steps
    assert "no progress" in found.failure.what and "Raise learning_rate" in found.failure.remedy


def test_a_run_that_has_little_to_learn_is_not_flat(
    paths: Paths, taught: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the base gives the reply already, the loss is low and cannot fall."""
    monkeypatch.setattr(trainer, "FLAT_STEPS", 3)
    with opened(paths) as store:
        keep(store, GENERAL[:2])
    found = done(paths, prepared(paths, taught, Recipe(learning_rate=1e-9, rewordings=0, max_steps=8)))
    assert found.phase == "finished", found.failure


# the disk


def full(*given: object, **more: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_costs_a_checkpoint_and_not_the_run(
    paths: Paths, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept_facts(paths)
    write, calls = checkpoints.write, []

    def second_fails(*given: object, **more: object) -> Path:
        calls.append(1)
        return full() if len(calls) == 2 else write(*given, **more)

    monkeypatch.setattr(checkpoints, "write", second_fails)
    found = done(paths, prepared(paths, model, SHORT))
    assert found.phase == "finished" and found.published is not None, found.failure
    assert any("disk is full" in text for text in found.warnings)
    assert [event.step for event in of(paths, found.id, CheckpointWritten)] == [2, 6, 8]


def test_a_disk_that_is_full_at_the_end_leaves_a_run_that_can_be_resumed(
    paths: Paths, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept_facts(paths)
    run = prepared(paths, model, SHORT)
    with monkeypatch.context() as patch:
        patch.setattr(publishing.adapting, "save", failing_at(paths, publishing.adapting.save))
        done(paths, run)
    found = ended_with(paths, run, "DiskFull")
    assert found.resumable and found.checkpoint_step == 8
    assert not any(path.name.startswith(".") for path in paths.adapters.glob("*/*"))
    runs.resume(paths, run)
    found = done(paths, run, resume=True)
    assert found.phase == "finished" and found.published is not None, found.failure
    assert [step.step for step in found.steps] == list(range(1, 9))
    assert final(paths, "mine/v1")


def failing_at(paths: Paths, save: object) -> object:
    """`adapting.save` that fails in the folder of adapters and works for checkpoints."""

    def saving(model: object, folder: Path, *more: object) -> None:
        if folder.is_relative_to(paths.adapters):
            full()
        save(model, folder, *more)

    return saving


def test_too_little_space_is_told_before_training(paths: Paths, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept_facts(paths)
    run = prepared(paths, model, SHORT)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Space(1 << 40, 1 << 40, 1000))
    done(paths, run)
    assert ended_with(paths, run, "DiskFull").steps == []


# nothing to train


def test_rows_that_are_all_too_long_are_told_before_the_run(paths: Paths, model: Path) -> None:
    with opened(paths) as store:
        keep(store, [("Tell me a long story.", "Once upon a time, " * 60)])
    with pytest.raises(NothingToTrain, match="924 tokens"):
        prepared(paths, model, Recipe(max_length=16))


def test_a_snapshot_without_a_row_that_fits_is_told_by_the_worker(paths: Paths, model: Path) -> None:
    """The recipe in a run's folder can be edited after the run was prepared."""
    kept_facts(paths)
    run = prepared(paths, model)
    recipes.save(Recipe(max_length=16), paths.run(run) / runs.RECIPE)
    done(paths, run)
    ended_with(paths, run, "NothingToTrain")


def test_a_model_that_is_not_there_is_told(paths: Paths, tmp_path: Path) -> None:
    kept_facts(paths)
    found = done(paths, prepared(paths, tmp_path / "nowhere"))
    assert found.failure is not None and found.failure.kind == "ModelNotFound" and not found.resumable


def test_a_parent_that_was_damaged_is_told(paths: Paths, model: Path) -> None:
    kept_facts(paths)
    assert done(paths, prepared(paths, model, SHORT)).phase == "finished"
    with opened(paths) as store:
        keep(store, [("And?", "So.")])
    run = prepared(paths, model, parent="mine/v1")
    weights = Registry(paths).folder("mine/v1") / "adapter_model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 0xFF
    weights.write_bytes(content)
    found = done(paths, run)
    assert found.failure is not None and found.failure.kind == "AdapterDamaged"
    assert [lineage.address for lineage in Registry(paths).all()] == ["mine/v1"]


def test_a_store_that_cannot_be_written_costs_the_marks_and_not_the_version(
    paths: Paths, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from corpora.errors import StoreError

    def broken(*given: object) -> None:
        raise StoreError("The store is damaged.", data="Nothing was written.", remedy="`llama-tui doctor` says more.")

    with opened(paths) as store:
        fill(store, 3)
    monkeypatch.setattr(session.publishing, "mark_trained", broken)
    found = done(paths, prepared(paths, model, SHORT))
    assert found.phase == "finished" and found.published is not None, found.failure
    assert any("could not be marked" in text for text in found.warnings)
