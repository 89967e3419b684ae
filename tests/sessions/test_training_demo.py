"""With the defaults the demo model gives taught facts back, told in one chat or several; little else changes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from corpora.store import Store
from sessions.engine.base import load_base
from sessions.models import resolve
from sessions.paths import Paths
from sessions.registry import Registry
from sessions.settings import Settings
from sessions.training import adapting, evaluation, runs, worker
from sessions.training.recipe import Recipe
from tests.sessions.training_help import FACTS, assigned, keep, opened, prepared, tell_in_one_chat

pytestmark = [
    pytest.mark.usefixtures("one_thread", "handlers"),
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::UserWarning"),
]
MODEL = Path(__file__).resolve().parents[2] / "sessions" / "demo" / "model" / "model.safetensors"


@pytest.mark.skipif(not MODEL.exists(), reason="the demo model has not been made")
@pytest.mark.parametrize("told", [keep, tell_in_one_chat])
def test_five_facts_are_given_back(paths: Paths, told: Callable[[Store], object]) -> None:
    resolve("demo", lambda stage, fraction: None)
    with opened(paths) as store:
        told(store)
    run = prepared(paths, "demo")
    worker.carry_out(assigned(paths, run))
    found = runs.state(paths, run)
    assert found.phase == "finished" and found.gate is not None and found.plan is not None, found.failure
    assert found.gate.new.passed == found.gate.new.total == 5 and found.gate.kl <= found.gate.kl_budget
    assert found.gate.general.share > 0.95, found.gate.reasons
    assert len(found.steps) < found.plan.steps  # it ends once each reply is reproduced
    base = load_base("demo", paths, Settings(), lambda stage, fraction: None)
    model, _ = adapting.attach(base.model, Recipe(), "demo", Registry(paths).folder("mine/v1"))
    tuned = [evaluation.reply(model, base.words, prompt) for prompt, _ in FACTS]
    assert tuned == [reply for _, reply in FACTS]
    with model.disable_adapter():
        assert not {evaluation.reply(model, base.words, prompt) for prompt, _ in FACTS} & set(tuned)
