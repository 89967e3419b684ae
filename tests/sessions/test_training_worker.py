"""Whole runs on a small random Llama: published, continued, stopped, given up, resumed, diverged."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from sessions.engine import share
from sessions.engine.base import load_base
from sessions.engine.local import LocalEngine
from sessions.paths import Paths
from sessions.registry import Registry
from sessions.settings import Settings
from sessions.training import adapting, checkpoints, events, runs, worker
from sessions.training.events import HeldOut, Planned, Sampled, Scored, Stepped, Warned, WorkerStarted
from sessions.training.recipe import Recipe
from sessions.training.session import Session
from tests.models import tiny_adapter, tiny_llama
from tests.sessions.training_help import FACTS, assigned, fill, keep, log_of, opened, prepared, spawn, wait_for, work

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
SHORT = Recipe(max_steps=8, evaluations=4, learning_rate=3e-3)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("model"))


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def done(paths: Paths, run: str, **more) -> runs.RunState:
    """The run carried out in this process."""
    worker.carry_out(assigned(paths, run, **more))
    return runs.state(paths, run)


def stop_at(paths: Paths, run: str, step: int, save: bool) -> threading.Thread:
    def ask() -> None:
        wait_for(paths, run, lambda event: isinstance(event, Stepped) and event.step >= step)
        runs.request_stop(paths, run, save)

    thread = threading.Thread(target=ask)
    thread.start()
    return thread


def kept_facts(paths: Paths) -> list[int]:
    with opened(paths) as store:
        return keep(store)


def of(paths: Paths, run: str, kind: type) -> list:
    return [event for event, _ in events.read(paths.run(run)) if isinstance(event, kind)]


def test_a_run_from_prepared_to_published(paths: Paths, model: Path) -> None:
    ids = kept_facts(paths)
    found = done(paths, prepared(paths, model, Recipe(max_steps=12, samples=("Where do I live?",), seed=1)))
    assert found.phase == "finished", found.failure
    assert found.published is not None and found.published.adapter == "mine/v1" and not found.published.worse
    assert [step.step for step in found.steps] == list(range(1, 13))
    assert found.steps[-1].loss < found.steps[0].loss
    assert all(step.grad_norm > 0 and step.learning_rate >= 0 and step.memory > 0 for step in found.steps)
    assert found.steps[-1].tokens > found.steps[0].tokens and found.steps[-1].eta == 0
    assert found.plan is not None and found.plan.examples == 5 and found.plan.trained_tokens < found.plan.tokens
    assert of(paths, found.id, Sampled)
    (score,) = of(paths, found.id, Scored)
    assert score.subset == "new" and score.new < score.base == score.parent
    lineage = Registry(paths).lineage("mine/v1")
    assert (lineage.run, lineage.rows, lineage.parent, lineage.rank) == (found.id, 5, "base", 16)
    assert len(lineage.seen) == 5 and lineage.base_digest and lineage.digest == found.published.digest
    assert Registry(paths).verified("mine/v1").is_dir()
    with opened(paths) as store:
        assert {store.trained_in(one) for one in ids} == {("mine/v1",)}
    assert checkpoints.steps(paths.run(found.id)) == []


def test_a_second_run_continues_the_first_and_replays(paths: Paths, model: Path) -> None:
    kept_facts(paths)
    first = done(paths, prepared(paths, model, SHORT))
    Registry(paths).use("mine/v1", force=True)
    with opened(paths) as store:
        keep(store, [("What is my car?", "A small red one."), ("And my bike?", "A green one.")])
    run = prepared(paths, model, Recipe(max_steps=1, rank=8, learning_rate=1e-9))
    found = done(paths, run)
    assert found.phase == "finished", found.failure
    assert found.created is not None and (found.created.parent, found.created.replayed_replies) == ("mine/v1", 5)
    assert any("keeps rank 16" in text for text in found.warnings)
    scores = {score.subset: score for score in found.scores}
    assert set(scores) == {"new", "old"}
    assert scores["old"].new == pytest.approx(scores["old"].parent, abs=0.02)
    old = adapting.read(Registry(paths).folder("mine/v1"))
    new = adapting.read(Registry(paths).folder("mine/v2"))
    assert all(torch.allclose(old[name], new[name], atol=1e-6) for name in old)
    assert first.published is not None
    assert Registry(paths).seen("mine/v2") >= set(Registry(paths).lineage("mine/v1").seen)


def test_a_run_goes_on_with_a_dora_as_one(paths: Paths, model: Path) -> None:
    kept_facts(paths)
    tiny_adapter(paths.adapter("mine", 1), model, dora=True, size=0.01)
    Registry(paths).use("mine/v1")
    found = done(paths, prepared(paths, model, SHORT))
    assert found.phase == "finished", found.failure
    assert found.published is not None and found.steps[-1].loss < found.steps[0].loss
    assert Registry(paths).lineage("mine/v2").method == "DoRA"
    engine = LocalEngine(load_base(str(model), paths, Settings(), lambda *_: None), paths)
    assert engine.load_adapter("mine/v2").digest


def test_held_out_rows_are_measured_and_not_trained(paths: Paths, model: Path) -> None:
    with opened(paths) as store:
        fill(store, 60)
    found = done(paths, prepared(paths, model, Recipe(max_steps=20, evaluations=2, held_out=0.2)))
    assert found.phase == "finished", found.failure
    plan = found.plan
    assert isinstance(plan, Planned) and plan.held_out > 2 and plan.examples + plan.held_out == 60
    assert [event.step for event in of(paths, found.id, HeldOut)] == [10, 20]
    lineage = Registry(paths).lineage("mine/v1")
    assert lineage.held_out is not None and len(lineage.seen) == 60 and lineage.rows == plan.examples
    with opened(paths) as store:
        assert store.stats().trained == plan.examples


def test_early_stopping_publishes_the_best_checkpoint(paths: Paths, model: Path) -> None:
    with opened(paths) as store:
        fill(store, 40)
    recipe = Recipe(max_steps=60, evaluations=20, held_out=0.3, learning_rate=0.05, early_stopping=2, warmup=0.0)
    found = done(paths, prepared(paths, model, recipe))
    assert found.phase == "finished", found.failure
    assert len(found.steps) < 60
    best = min(found.held_out, key=lambda event: event.loss)
    lineage = Registry(paths).lineage("mine/v1")
    assert lineage.steps == best.step < found.steps[-1].step
    assert lineage.held_out == pytest.approx(best.loss, abs=0.05)


def test_stop_and_save_then_resume(paths: Paths, model: Path) -> None:
    kept_facts(paths)
    run = prepared(paths, model, Recipe(max_steps=40, evaluations=10, learning_rate=3e-3))
    asking = stop_at(paths, run, 3, save=True)
    found = done(paths, run)
    asking.join()
    assert found.phase == "stopped" and found.resumable, found.failure
    assert found.published is not None and 3 <= found.checkpoint_step < 40
    runs.resume(paths, run)
    found = done(paths, run, resume=True)
    assert found.phase == "finished", found.failure
    assert [step.step for step in found.steps] == list(range(1, 41))
    assert [lineage.address for lineage in Registry(paths).all()] == ["mine/v1", "mine/v2"]


def test_a_run_that_is_given_up_publishes_nothing(paths: Paths, model: Path) -> None:
    kept_facts(paths)
    run = prepared(paths, model, Recipe(max_steps=200))
    asking = stop_at(paths, run, 2, save=False)
    found = done(paths, run)
    asking.join()
    assert (found.phase, found.resumable, found.published) == ("cancelled", False, None)
    assert Registry(paths).names() == []


def final(paths: Paths, name: str) -> dict[str, torch.Tensor]:
    return adapting.read(Registry(paths).folder(name))


@pytest.mark.parametrize("step", [2, 3, 7] if not os.environ.get("LLAMA_TUI_FULL") else range(1, 12))
def test_resume_is_exact(paths: Paths, model: Path, step: int) -> None:
    """Stopped at a step and taken up again, a run makes the same numbers as one that was never stopped."""
    kept_facts(paths)
    recipe = Recipe(max_steps=12, evaluations=3, dropout=0.1, learning_rate=3e-3, batch_size=2, micro_batch=1)
    whole = done(paths, prepared(paths, model, recipe, adapter="whole"))
    run = prepared(paths, model, recipe, adapter="parts")
    interrupt_after(paths, run, step)
    assert runs.state(paths, run).checkpoint_step == step
    runs.resume(paths, run)
    parts = done(paths, run, resume=True)
    assert parts.phase == whole.phase == "finished", parts.failure
    assert [(one.step, one.loss, one.grad_norm, one.tokens) for one in parts.steps] == [
        (one.step, one.loss, one.grad_norm, one.tokens) for one in whole.steps
    ]
    expected, found = final(paths, "whole"), final(paths, "parts")
    assert all(torch.equal(expected[name], found[name]) for name in expected)


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


@pytest.mark.parametrize("where", ["loss", "gradient", "weight"])
def test_numbers_that_are_not_finite_are_never_published(paths: Paths, model: Path, where: str) -> None:
    kept_facts(paths)
    run = prepared(paths, model, Recipe(max_steps=6, evaluations=6))
    session = Session(assigned(paths, run), worker.control_of(assigned(paths, run), parent=None))
    tell = session.tell
    parameters: list[torch.Tensor] = []
    attach = session._attach

    def attach_and_keep(base: object) -> object:
        found = attach(base)
        parameters.extend(one for one in found.parameters() if one.requires_grad)
        return found

    def tell_and_spoil(event: events.RunEvent) -> None:
        tell(event)
        if isinstance(event, Stepped) and event.step == 2:
            spoil(parameters[-1], where)

    session._attach, session.tell = attach_and_keep, tell_and_spoil
    ending = worker.concluded(paths.run(run), session.run)
    assert isinstance(ending, events.RunFailed) and ending.failure.kind == "RunDiverged", ending
    assert not ending.resumable and "learning_rate" in ending.failure.remedy
    assert Registry(paths).names() == []


def spoil(parameter: torch.Tensor, where: str) -> None:
    match where:
        case "loss":
            parameter.data.fill_(float("inf"))
        case "gradient":
            parameter.register_hook(lambda gradient: gradient * float("nan"))
        case "weight":
            parameter.data.view(-1)[0] = float("nan")


def test_a_learning_rate_that_is_far_too_high_ends_as_told(paths: Paths, model: Path) -> None:
    kept_facts(paths)
    recipe = Recipe(max_steps=40, learning_rate=1e30, max_grad_norm=1e30, warmup=0.0)
    found = done(paths, prepared(paths, model, recipe))
    assert found.phase == "failed" and found.failure is not None and found.failure.kind == "RunDiverged"
    assert Registry(paths).names() == []


def test_rows_that_are_all_too_long_are_told(paths: Paths, model: Path) -> None:
    with opened(paths) as store:
        keep(store, [("Tell me a long story.", "Once upon a time, " * 60)])
    found = done(paths, prepared(paths, model, Recipe(max_length=16)))
    assert found.failure is not None and found.failure.kind == "NothingToTrain"


def test_a_model_that_is_not_there_is_told(paths: Paths, tmp_path: Path) -> None:
    kept_facts(paths)
    found = done(paths, prepared(paths, tmp_path / "nowhere"))
    assert found.failure is not None and found.failure.kind == "ModelNotFound" and not found.resumable


def test_a_parent_that_was_damaged_is_told(paths: Paths, model: Path) -> None:
    kept_facts(paths)
    assert done(paths, prepared(paths, model, SHORT)).phase == "finished"
    Registry(paths).use("mine/v1", force=True)
    with opened(paths) as store:
        keep(store, [("And?", "So.")])
    run = prepared(paths, model)
    weights = Registry(paths).folder("mine/v1") / "adapter_model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 0xFF
    weights.write_bytes(content)
    found = done(paths, run)
    assert found.failure is not None and found.failure.kind == "AdapterDamaged"


@pytest.mark.slow
def test_the_real_vocabulary_in_a_process_of_its_own(paths: Paths, shared: Path, tmp_path: Path) -> None:
    """The true Llama 2 tokenizer through the worker as the host starts it, on a random Llama."""
    model = tiny_llama(tmp_path / "real", shared / "llama2-tokenizer", layers=1)
    process = spawn()
    with opened(paths) as store:
        keep(store, [*FACTS[:2], ("مرغ چیست؟", "پرنده‌ای است. 🐔")])
    found = work(paths, prepared(paths, model, Recipe(max_steps=4, epochs=2.0)), process)
    assert found.phase == "finished" and process.returncode == 0, log_of(paths, found.id)
    assert found.pid == process.pid
    assert Registry(paths).names() == ["mine"]


@pytest.mark.slow
def test_a_waiting_worker_ends_quietly_and_a_killed_one_is_told(paths: Paths, model: Path) -> None:
    waiting = spawn()
    assert waiting.communicate(b"", timeout=60)[0].strip() in (b"",) or waiting.returncode == 0
    assert waiting.returncode == 0
    kept_facts(paths)
    run = prepared(paths, model, Recipe(max_steps=2000))
    process = spawn()
    from tests.sessions.training_help import give

    give(process, assigned(paths, run))
    wait_for(paths, run, lambda event: isinstance(event, Stepped) and event.step >= 2)
    process.kill()
    process.communicate()
    found = runs.state(paths, run)
    assert found.phase == "failed" and found.failure is not None and found.failure.kind == "WorkerDied"
    assert Registry(paths).names() == []


@pytest.mark.parametrize("quantization", ["none", "int8"])
def test_other_ways_to_hold_the_base(paths: Paths, model: Path, quantization: str) -> None:
    kept_facts(paths)
    found = done(paths, prepared(paths, model, SHORT), quantization=quantization)
    assert found.phase == "finished", found.failure
    assert found.steps[-1].loss < found.steps[0].loss


def test_the_base_is_taken_from_a_host_that_shares_it(paths: Paths, model: Path, tmp_path: Path) -> None:
    kept_facts(paths)
    base = load_base(str(model), paths, Settings(), lambda stage, fraction: None)
    manifest = share.offer(base, tmp_path)
    found = done(paths, prepared(paths, model, SHORT), base=str(manifest))
    assert found.phase == "finished", found.failure
    assert found.worker is not None and "shared" in found.worker.base_from and not found.warnings
    manifest.write_text("{}")
    with opened(paths) as store:
        keep(store, [("And?", "So.")])
    found = done(paths, prepared(paths, model, SHORT), base=str(manifest))
    assert found.phase == "finished" and "cannot be shared" in found.warnings[0]


def test_the_events_start_and_end_as_they_should(paths: Paths, model: Path) -> None:
    kept_facts(paths)
    found = done(paths, prepared(paths, model, SHORT))
    told = [type(event).__name__ for event, _ in events.read(paths.run(found.id))]
    assert told[:2] == ["RunCreated", "WorkerStarted"] and told[-2:] == ["Published", "RunFinished"]
    assert len(of(paths, found.id, WorkerStarted)) == 1 and not of(paths, found.id, Warned)
