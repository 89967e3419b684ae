"""Runs that continue a version, and runs that are stopped, cancelled and resumed."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
import torch

from sessions.engine.base import load_base
from sessions.engine.local import LocalEngine
from sessions.paths import Paths
from sessions.registry import Registry
from sessions.settings import Settings
from sessions.training import events, runs, worker
from sessions.training.events import Stepped
from sessions.training.recipe import Recipe
from sessions.training.session import Session
from tests.models import tiny_adapter, tiny_llama
from tests.sessions.training_help import (
    FACTS,
    assigned,
    done,
    final,
    keep,
    kept_facts,
    opened,
    prepared,
    wait_for,
)

pytestmark = [
    pytest.mark.usefixtures("one_thread", "few_anchors", "handlers"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
SHORT = Recipe(max_steps=8, evaluations=4, learning_rate=3e-3)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def sharp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose head can give a token a probability near 1; that of `model` cannot."""
    return tiny_llama(tmp_path_factory.mktemp("sharp"), spread=0.25)


def stop_at(paths: Paths, run: str, step: int, save: bool) -> threading.Thread:
    def ask() -> None:
        wait_for(paths, run, lambda event: isinstance(event, Stepped) and event.step >= step)
        runs.request_stop(paths, run, save)

    thread = threading.Thread(target=ask)
    thread.start()
    return thread


# continued


def test_a_second_run_continues_the_first_and_replays(paths: Paths, model: Path) -> None:
    kept_facts(paths)
    assert done(paths, prepared(paths, model, SHORT)).published is not None
    with opened(paths) as store:
        keep(store, [("What is my car?", "A small red one."), ("And my bike?", "A green one.")])
    run = prepared(paths, model, Recipe(max_steps=1, rank=8, learning_rate=1e-9), parent="mine/v1")
    found = done(paths, run)
    assert found.phase == "finished", found.failure
    assert found.created is not None
    assert (found.created.parent, found.created.new_replies, found.created.replayed_replies) == ("mine/v1", 2, 5)
    assert any("keeps rank 16" in text for text in found.warnings)
    scores = {score.subset: score for score in found.scores}
    assert set(scores) == {"new", "old"}
    assert scores["old"].new == pytest.approx(scores["old"].parent, abs=0.02)
    old, new = final(paths, "mine/v1"), final(paths, "mine/v2")
    assert all(torch.allclose(old[name], new[name], atol=1e-6) for name in old)
    assert Registry(paths).seen("mine/v2") >= set(Registry(paths).lineage("mine/v1").seen)


@pytest.mark.parametrize("replay", [None, 0])
def test_all_earlier_replies_are_checked_whether_replayed_or_not(paths: Paths, sharp: Path, replay: int | None) -> None:
    """One step of one earlier row at most: those that did not come up are asked as well."""
    with opened(paths) as store:
        keep(store, FACTS[:1])
    sure = Recipe(rewordings=0, anchors=0, neighbours=0)
    first = done(paths, prepared(paths, sharp, sure))
    assert first.gate is not None and first.gate.new.passed == 1
    with opened(paths) as store:
        keep(store, FACTS[1:2])
    wreck = Recipe(max_steps=20, learning_rate=0.02, replay=replay, rewordings=0, anchors=0, neighbours=0)
    found = done(paths, prepared(paths, sharp, wreck, parent="mine/v1"))
    assert found.gate is not None and found.gate.earlier.total == 1, found.failure
    if replay == 0:
        assert found.gate.earlier.passed == 0 and "no longer reproduced" in " ".join(found.gate.reasons)


def test_a_run_continues_a_dora_as_one(paths: Paths, model: Path) -> None:
    kept_facts(paths)
    tiny_adapter(paths.adapter("mine", 1), model, dora=True, size=0.01)
    found = done(paths, prepared(paths, model, SHORT, parent="mine/v1"))
    assert found.phase == "finished", found.failure
    assert found.published is not None and found.steps[-1].loss < found.steps[0].loss
    assert found.gate is not None and found.gate.strength == 1.0
    assert Registry(paths).lineage("mine/v2").method == "DoRA"
    engine = LocalEngine(load_base(str(model), paths, Settings(), lambda *_: None), paths)
    assert engine.load_adapter("mine/v2").digest


# stopped, given up, resumed


def test_stop_and_save_then_resume(paths: Paths, model: Path) -> None:
    kept_facts(paths)
    run = prepared(paths, model, Recipe(max_steps=30, evaluations=10, learning_rate=3e-3))
    asking = stop_at(paths, run, 3, save=True)
    found = done(paths, run)
    asking.join()
    assert found.phase == "stopped" and found.resumable, found.failure
    assert found.published is not None and 3 <= found.checkpoint_step < 30
    assert "reproduced" not in found.published.worse  # it is no fault of a run that it was stopped
    runs.resume(paths, run)
    found = done(paths, run, resume=True)
    assert found.phase == "finished", found.failure
    assert [step.step for step in found.steps] == list(range(1, 31))
    assert [lineage.address for lineage in Registry(paths).all()] == ["mine/v1", "mine/v2"]


def test_a_run_that_was_stopped_early_has_only_its_rows_as_trained(paths: Paths, model: Path) -> None:
    """The others are still new to the next run."""
    ids = kept_facts(paths)
    run = prepared(paths, model, Recipe(max_steps=60, batch_size=1, learning_rate=1e-4))
    asking = stop_at(paths, run, 1, save=True)
    found = done(paths, run)
    asking.join()
    assert found.phase == "stopped", found.failure
    lineage = Registry(paths).lineage("mine/v1")
    assert lineage.rows == len(lineage.seen) <= found.checkpoint_step
    with opened(paths) as store:
        assert sum(store.trained_in(one) != () for one in ids) == lineage.rows
    assert found.gate is not None and found.gate.new.total == lineage.rows


@pytest.mark.parametrize("step", [0, 2])
def test_a_run_that_is_given_up_publishes_nothing(paths: Paths, model: Path, step: int) -> None:
    kept_facts(paths)
    run = prepared(paths, model, Recipe(max_steps=200))
    if step:
        asking = stop_at(paths, run, step, save=False)
        found = done(paths, run)
        asking.join()
    else:
        runs.request_stop(paths, run, save=False)
        found = done(paths, run)
    assert (found.phase, found.resumable, found.published) == ("cancelled", False, None)
    assert Registry(paths).names() == []


FULL = os.environ.get("LLAMA_TUI_FULL")
UNTIL_REPRODUCED = Recipe(
    max_steps=12, evaluations=3, dropout=0.1, learning_rate=3e-3, batch_size=2, micro_batch=1, neighbours=2
)
BY_EPOCHS = Recipe(epochs=6.0, evaluations=3, dropout=0.1, learning_rate=3e-3, batch_size=2, schedule="linear")


@pytest.mark.parametrize("recipe", [UNTIL_REPRODUCED, BY_EPOCHS], ids=["until reproduced", "by epochs"])
@pytest.mark.parametrize("step", [2, 7] if not FULL else range(1, 12))
def test_resume_is_exact(paths: Paths, model: Path, step: int, recipe: Recipe) -> None:
    """Stopped at a step and resumed, in the decay too, a run makes the same numbers as one that was never stopped."""
    kept_facts(paths)
    whole = done(paths, prepared(paths, model, recipe, adapter="whole"))
    run = prepared(paths, model, recipe, adapter="parts")
    interrupt_after(paths, run, step)
    assert runs.state(paths, run).checkpoint_step == step
    runs.resume(paths, run)
    parts = done(paths, run, resume=True)
    assert parts.phase == whole.phase == "finished", parts.failure
    assert [numbers(one) for one in parts.steps] == [numbers(one) for one in whole.steps]
    expected, found = final(paths, "whole/v1"), final(paths, "parts/v1")
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert parts.gate == whole.gate


def numbers(step: Stepped) -> tuple[float, ...]:
    return (step.step, step.loss, step.kl, step.reproduced, step.learning_rate, step.grad_norm, step.tokens)


def interrupt_after(paths: Paths, run: str, step: int) -> None:
    """Do a run until a step is done, write its checkpoint and end as if the host had died."""
    told = assigned(paths, run)
    control = worker.control_of(told, parent=None)
    session = Session(told, control)
    tell = session.tell

    def tell_and_orphan(event: events.RunEvent) -> None:
        tell(event)
        if isinstance(event, Stepped) and event.step == step:
            control.orphan()

    session.tell = tell_and_orphan
    ending = worker.concluded(paths.run(run), session.run)
    assert isinstance(ending, events.RunFailed) and ending.failure.kind == "HostDied" and ending.resumable, ending
