"""Whole runs on a small random Llama, from prepared to published; with other bases; in a process of their own."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest
import torch

from corpora.dialog import Message
from corpora.pinned import Kind, PinnedTest, Rule
from sessions.engine import share
from sessions.engine.base import load_base
from sessions.engine.local import LocalEngine
from sessions.paths import Paths
from sessions.registry import Registry
from sessions.settings import Settings
from sessions.training import adapting, checkpoints, events, gate, runs
from sessions.training.events import Gated, HeldOut, Planned, Published, Sampled, Scored, Stage, Stepped, WorkerStarted
from sessions.training.recipe import Recipe
from tests.models import tiny_llama
from tests.sessions.training_help import (
    FACTS,
    assigned,
    done,
    fill,
    final,
    give,
    keep,
    kept_facts,
    log_of,
    of,
    opened,
    prepared,
    spawn,
    wait_for,
    work,
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


# published


def test_a_run_from_prepared_to_published(paths: Paths, model: Path) -> None:
    """Twelve steps teach a random model little: it is published with the reasons why it should not be used."""
    ids = kept_facts(paths)
    found = done(paths, prepared(paths, model, Recipe(max_steps=12, samples=("Where do I live?",), seed=1)))
    assert found.phase == "finished", found.failure
    assert found.published is not None and found.published.adapter == "mine/v1"
    assert [step.step for step in found.steps] == list(range(1, 13))
    assert found.steps[-1].loss < found.steps[0].loss
    assert all(step.grad_norm > 0 and step.learning_rate > 0 and step.memory > 0 for step in found.steps)
    assert found.steps[0].kl == pytest.approx(0, abs=0.01) and all(step.kl >= 0 for step in found.steps)
    assert found.steps[-1].tokens > found.steps[0].tokens and found.steps[-1].eta == 0
    assert found.plan is not None and found.plan.examples == 5 and found.plan.trained_tokens < found.plan.tokens
    assert found.plan.until_reproduced
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


def test_the_report_of_the_gate_is_told_and_kept_with_the_version(paths: Paths, model: Path) -> None:
    kept_facts(paths)
    found = done(paths, prepared(paths, model, SHORT))
    assert found.gate is not None and found.published is not None
    lineage = Registry(paths).lineage("mine/v1")
    assert lineage.gate == found.gate == of(paths, found.id, Gated)[0].report
    assert not found.gate.passed and found.gate.new.total == 5 and found.gate.general.total > 0
    assert found.published.worse == " ".join(found.gate.reasons) != ""
    assert Registry(paths).current("mine") == "base"  # nobody accepted it


def test_the_published_file_has_the_strength_of_the_verdict(
    paths: Paths, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept_facts(paths)
    whole = done(paths, prepared(paths, model, SHORT, adapter="whole"))

    def too_strong(self: gate.Gate, report: gate.GateReport, spilled: int) -> tuple[str, ...]:
        return ("It is too strong.",) if report.strength > 0.9 else ()

    monkeypatch.setattr(gate.Gate, "_reasons", too_strong)
    weaker = done(paths, prepared(paths, model, SHORT, adapter="weaker"))
    assert whole.phase == weaker.phase == "finished"
    assert weaker.gate is not None and weaker.gate.passed and weaker.gate.strength == gate.STRENGTHS[0]
    assert weaker.published is not None and not weaker.published.worse
    assert Registry(paths).lineage("weaker/v1").gate == weaker.gate
    expected = adapting.scaled(final(paths, "whole/v1"), gate.STRENGTHS[0])
    found = final(paths, "weaker/v1")
    assert all(torch.allclose(found[name], expected[name], rtol=0.01, atol=1e-6) for name in expected)
    assert any(not torch.equal(found[name], final(paths, "whole/v1")[name]) for name in found)


def test_pinned_tests_are_asked_and_their_results_kept(paths: Paths, model: Path) -> None:
    kept_facts(paths)
    with opened(paths) as store:
        test, _ = store.add_pinned_test(
            PinnedTest((Message("user", "Where do I live?"),), Rule(Kind.NOT_CONTAINS, "Mars"))
        )
    found = done(paths, prepared(paths, model, SHORT))
    assert found.gate is not None and (found.gate.pinned.passed, found.gate.pinned.total) == (1, 1)
    with opened(paths) as store:
        results = store.pinned_results(str(model))
    assert found.published is not None and results[test.id, found.published.digest].passed


def test_a_run_ends_when_each_reply_is_reproduced(paths: Paths, sharp: Path) -> None:
    """Then the learning rate decays to zero; the bound on the steps is not reached."""
    with opened(paths) as store:
        keep(store, FACTS[:1])
    recipe = Recipe(rewordings=0, anchors=0, neighbours=0, samples=())
    found = done(paths, prepared(paths, sharp, recipe))
    assert found.phase == "finished" and found.plan is not None, found.failure
    assert len(found.steps) < found.plan.steps
    rates = [step.learning_rate for step in found.steps]
    peak = max(rates)
    decay = [rate for rate in rates if rate < peak][-5:]
    assert decay == sorted(decay, reverse=True) and rates[-1] < peak / 5
    assert found.gate is not None and found.gate.new.passed == 1
    engine = LocalEngine(load_base(str(sharp), paths, Settings(), lambda *_: None), paths)
    assert engine.load_adapter("mine/v1").digest


def test_held_out_rows_are_measured_and_not_trained(paths: Paths, model: Path) -> None:
    with opened(paths) as store:
        fill(store, 60)
    recipe = Recipe(epochs=2.0, max_steps=10, batch_size=8, evaluations=2, held_out=0.2)
    found = done(paths, prepared(paths, model, recipe))
    assert found.phase == "finished", found.failure
    plan = found.plan
    assert isinstance(plan, Planned) and plan.held_out > 2 and plan.examples + plan.held_out == 60
    assert not plan.until_reproduced
    assert [event.step for event in of(paths, found.id, HeldOut)] == [5, 10]
    lineage = Registry(paths).lineage("mine/v1")
    assert lineage.held_out is not None and len(lineage.seen) == 60 and lineage.rows == plan.examples
    with opened(paths) as store:
        assert store.stats().trained == plan.examples


def test_small_sets_hold_nothing_out(paths: Paths, model: Path) -> None:
    with opened(paths) as store:
        fill(store, 60)
    found = done(paths, prepared(paths, model, Recipe(max_steps=2, held_out=0.2)))
    assert found.plan is not None and (found.plan.examples, found.plan.held_out) == (60, 0), found.failure


def test_early_stopping_publishes_the_best_checkpoint(paths: Paths, model: Path) -> None:
    with opened(paths) as store:
        fill(store, 40)
    recipe = Recipe(
        epochs=20.0, max_steps=40, evaluations=20, held_out=0.3, learning_rate=0.05, early_stopping=2, warmup=0.0
    )
    found = done(paths, prepared(paths, model, recipe))
    assert found.phase == "finished", found.failure
    assert len(found.steps) < 40
    best = min(found.held_out, key=lambda event: event.loss)
    lineage = Registry(paths).lineage("mine/v1")
    assert lineage.steps == best.step < found.steps[-1].step
    assert lineage.gate is not None
    if lineage.gate.strength == 1:
        assert lineage.held_out == pytest.approx(best.loss, abs=0.05)


# the base


@pytest.mark.parametrize("quantization", ["none", "int8"])
def test_other_ways_to_hold_the_base(paths: Paths, model: Path, quantization: str) -> None:
    kept_facts(paths)
    found = done(paths, prepared(paths, model, SHORT), quantization=quantization)
    assert found.phase == "finished", found.failure
    assert found.steps[-1].loss < found.steps[0].loss


def test_the_base_is_taken_from_a_host_that_shares_it(paths: Paths, model: Path, tmp_path: Path) -> None:
    kept_facts(paths)
    base = load_base(str(model), paths, Settings(), lambda stage, fraction: None)
    before = base.arena.chunks()
    manifest = share.offer(base, tmp_path)
    found = done(paths, prepared(paths, model, SHORT), base=str(manifest))
    assert found.phase == "finished", found.failure
    assert found.worker is not None and "shared" in found.worker.base_from and not found.warnings
    assert base.arena.chunks() == before
    manifest.write_text("{}")
    with opened(paths) as store:
        keep(store, [("And?", "So.")])
    found = done(paths, prepared(paths, model, SHORT), base=str(manifest))
    assert found.phase == "finished" and "cannot be shared" in found.warnings[0]


def test_anchors_are_recorded_in_the_first_run_alone(paths: Paths, tmp_path: Path) -> None:
    model = tiny_llama(tmp_path / "another", seed=77)
    kept_facts(paths)
    stages = []
    for adapter in ("one", "two"):
        run = prepared(paths, model, SHORT, adapter=adapter)
        assert done(paths, run).phase == "finished"
        stages.append([stage.name for stage in of(paths, run, Stage) if stage.name.startswith("Recording")])
    assert stages[0] and not stages[1]


def test_the_events_start_and_end_as_they_should(paths: Paths, model: Path) -> None:
    kept_facts(paths)
    found = done(paths, prepared(paths, model, SHORT))
    told = [type(event).__name__ for event, _ in events.read(paths.run(found.id))]
    assert told[:2] == ["RunCreated", "WorkerStarted"] and told[-2:] == ["Published", "RunFinished"]
    order = ["WorkerStarted", "Planned", "Stepped", "CheckpointWritten", "Scored", "Gated", "Published", "RunFinished"]
    assert [name for name in dict.fromkeys(told) if name in order] == order
    assert len(of(paths, found.id, WorkerStarted)) == len(of(paths, found.id, Published)) == 1
    assert not found.warnings


# in a process of its own


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
    assert waiting.communicate(b"", timeout=200)[0].strip() in (b"",) or waiting.returncode == 0
    assert waiting.returncode == 0
    run, process = under_way(paths, model)
    process.kill()
    process.communicate()
    found = runs.state(paths, run)
    assert found.phase == "failed" and found.failure is not None and found.failure.kind == "WorkerDied"
    assert Registry(paths).names() == []


@pytest.mark.slow
def test_a_terminated_worker_saves_and_publishes(paths: Paths, model: Path) -> None:
    run, process = under_way(paths, model)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=240)
    found = runs.state(paths, run)
    assert found.phase == "stopped" and found.published is not None and process.returncode == 0, log_of(paths, run)


def under_way(paths: Paths, model: Path) -> tuple[str, subprocess.Popen[bytes]]:
    kept_facts(paths)
    run = prepared(paths, model, Recipe(max_steps=2000, learning_rate=1e-4, epochs=900.0))
    process = spawn()
    give(process, assigned(paths, run))
    wait_for(paths, run, lambda event: isinstance(event, Stepped) and event.step >= 2, 240)
    return run, process
