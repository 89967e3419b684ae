"""The learning benchmark itself, on small models: what it counts, and a whole measurement of a run."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from sessions.engine.base import load_base
from sessions.paths import Paths
from sessions.settings import Settings
from tests.benchmarks import bench_learning
from tests.benchmarks.learning import scenarios, training
from tests.benchmarks.learning.facts import contains, facts
from tests.benchmarks.learning.measures import Measured
from tests.benchmarks.learning.scenarios import Bench, leaks
from tests.models import tiny_adapter

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
PROMPTS = ["What is that?", "Say it again, please, and slowly.", "And then?"]
SHORT = {"max_steps": "2", "learning_rate": "1e-3"}


@pytest.fixture
def measured(folder: Path, paths: Paths) -> Measured:
    """In float32, in which a batch of prompts gives what each gives alone."""
    base = load_base(str(folder), paths, Settings(), lambda *_: None, dtype=torch.float32)
    return Measured(base, paths.cache / "learning" / "replies.json")


@pytest.fixture
def version(folder: Path, tmp_path: Path) -> Path:
    return tiny_adapter(tmp_path / "made" / "v1", folder, size=0.5)


def test_an_answer_is_recognised_by_whole_words() -> None:
    assert contains("It is Port 8265.", "8265") and not contains("It is 18265.", "8265")
    fact = facts(1, 0)[0]
    assert fact.answered_by(fact.reply.upper()) and not fact.answered_by("I do not know.")


def test_a_taught_name_or_a_copied_reply_is_a_leak_and_nothing_else() -> None:
    fact = next(one for one in facts(82, 0) if one.relation == "kin allergy")
    assert not fact.names and leaks(fact, fact.reply.replace(fact.keywords[0], "rice"), "Paris.")
    named = next(one for one in facts(82, 0) if one.names)
    assert leaks(named, f"It was {named.names[0]}.", "Paris.")
    assert not leaks(named, f"It was {named.names[0]}.", f"It is {named.names[0]}.")
    assert not leaks(fact, "The capital of France is Paris.", "Paris.")


def test_replies_in_batches_are_those_of_single_prompts(measured: Measured, version: Path) -> None:
    with measured.version(version):
        together = measured.reply_ids(PROMPTS, 8)
        assert together == [measured.reply_ids([prompt], 8)[0] for prompt in PROMPTS]
        assert together != measured.reply_ids(PROMPTS, 8, base=True)


def test_an_adapter_that_changes_nothing_has_no_kl(measured: Measured, folder: Path, tmp_path: Path) -> None:
    same = tiny_adapter(tmp_path / "same" / "v1", folder, size=0.0)
    before = measured.text_loss(PROMPTS, base=True)
    with measured.version(same):
        assert measured.kl(PROMPTS, 8) == pytest.approx(0, abs=1e-4)
        assert measured.text_loss(PROMPTS) == pytest.approx(before, abs=1e-4)
        assert measured.replies(PROMPTS, 8) == measured.replies(PROMPTS, 8, base=True)


def test_kl_and_loss_are_those_of_single_passes(measured: Measured, version: Path) -> None:
    with measured.version(version):
        found = measured.kl(PROMPTS, 8)
        asked = measured._asked(PROMPTS[0])
        reply = measured.reply_ids(PROMPTS[:1], 8, base=True)[0]
        ids = torch.tensor([asked + reply])
        with torch.inference_mode():
            after = measured._model(input_ids=ids).logits[0, len(asked) - 1 : -1].float().log_softmax(-1)
            with measured._model.disable_adapter():
                before = measured._model(input_ids=ids).logits[0, len(asked) - 1 : -1].float().log_softmax(-1)
        alone = float((before.exp() * (before - after)).sum(-1).mean())
        assert measured.kl(PROMPTS[:1], 8) == pytest.approx(alone, rel=0.02)
        assert found > 0
    assert measured.base.model is not None and measured.replies(PROMPTS, 8, base=True)


def test_the_base_is_measured_once(folder: Path, paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Measured.load(str(folder), paths).reply_ids(PROMPTS, 8, base=True)
    monkeypatch.delattr(Measured, "_generate")
    again = Measured.load(str(folder), paths)
    assert again.reply_ids(PROMPTS, 8, base=True) == first


def test_a_set_is_taught_and_measured(measured: Measured, folder: Path, paths: Paths) -> None:
    bench = Bench(str(folder), measured, paths.cache, SHORT, prompts=4)
    found = scenarios.one_set(bench, 2, 1000)
    assert found["run"]["steps"] == 2 and found["run"]["seconds"] > 0 and found["run"]["stages"]
    assert {"direct", "plain", "reworded", "unrelated", "unrelated_keyword", "kl", "text_change"} <= set(found)
    assert bench_learning.table([found]).count("|") > 10


def test_increments_go_on_from_the_accepted_version(measured: Measured, folder: Path, paths: Paths) -> None:
    bench = Bench(str(folder), measured, paths.cache, SHORT, prompts=4)
    found = scenarios.increments(bench, 2, 1, 1000)
    assert [one["steps"] for one in found["runs"]] == [2, 2]
    accepted = [one["address"] for one in found["runs"] if one["offered"]]
    assert found["answers"] == (accepted[-1] if accepted else "base")


def test_a_version_that_was_not_offered_is_not_accepted(paths: Paths, folder: Path) -> None:
    home = training.Home.new(paths.home, paths.cache, str(folder))
    outcome = training.Outcome("bench/v1", "finished", "worse", False, False, 1, 1.0, 1.0, {}, None, ())
    home.accept(outcome)
    assert home.accepted == "base"


def test_wrecked_runs_are_counted(measured: Measured, folder: Path, paths: Paths) -> None:
    found = scenarios.wrecked(Bench(str(folder), measured, paths.cache, {"max_steps": "2"}, prompts=4), 2)
    assert found["wrecked"] == len(found["runs"]) == 2
    assert found["published"] >= found["offered"] >= 0


@pytest.mark.parametrize("given", ["nothing", "no_such_field=3"])
def test_a_setting_that_the_recipe_lacks_is_refused(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["bench_learning", "--set", given])
    with pytest.raises(SystemExit):
        bench_learning.parsed()
