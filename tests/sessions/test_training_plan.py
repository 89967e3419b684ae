"""Rules of training without a model: the schedule, the estimate, the assignment, interruptions."""

from __future__ import annotations

import os
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sessions.errors import Cancelled, HostDied
from sessions.protocol import ModelInfo
from sessions.training import assignment, preflight, schedule
from sessions.training.assignment import Assignment, ChatFlag
from sessions.training.control import Control
from sessions.training.events import FILE
from sessions.training.preview import Size
from sessions.training.recipe import RECIPES, Recipe
from sessions.training.runs import STOP

sizes = st.integers(1, 20_000)
recipes = st.builds(
    Recipe,
    epochs=st.sampled_from([0.0, 0.5, 3.0]),
    max_steps=st.integers(0, 400),
    batch_size=st.sampled_from([0, 1, 7, 32]),
    evaluations=st.integers(1, 20),
    replay=st.sampled_from([None, 0, 2, 50]),
    hold=st.sampled_from(["loose", "normal", "firm"]),
)


@given(sizes, st.integers(0, 20_000), st.integers(1, 4096), st.sampled_from(["cpu", "cuda"]), recipes)
def test_every_plan_is_consistent(rows: int, earlier: int, longest: int, device: str, recipe: Recipe) -> None:
    plan = schedule.plan(rows, longest, recipe, device, earlier=earlier)
    assert 1 <= plan.portions.new <= rows and 0 <= plan.portions.earlier <= earlier
    assert plan.batch == plan.portions.new + plan.portions.earlier
    assert plan.steps >= 1 and plan.micro_batch >= 1 and plan.micro_tokens >= 1
    assert 0 <= plan.decay_steps <= plan.steps and 0 <= plan.warmup_steps <= plan.steps
    assert 1 <= plan.evaluate_every <= plan.steps
    assert plan.steps_per_epoch * plan.portions.new >= rows > (plan.steps_per_epoch - 1) * plan.portions.new
    assert plan.epochs == plan.steps / plan.steps_per_epoch
    assert not recipe.max_steps or plan.steps <= recipe.max_steps
    assert not (recipe.epochs and plan.until_reproduced)


@given(sizes, sizes)
def test_rows_of_larger_sets_are_not_trained_more_often(one: int, other: int) -> None:
    few, many = (schedule.plan(rows, 60, Recipe(), trained_tokens=10**9).epochs for rows in sorted((one, other)))
    assert few >= many - 1  # steps are whole numbers


def test_small_sets_train_until_reproduced_and_large_ones_for_some_epochs() -> None:
    few = schedule.plan(5, 60, Recipe(), trained_tokens=100)
    many = schedule.plan(5_000, 60, Recipe(), trained_tokens=200_000)
    assert few.until_reproduced and not many.until_reproduced
    assert few.portions.anchors and few.portions.neighbours and many.portions.anchors
    assert schedule.LEAST_EPOCHS <= many.epochs <= schedule.MOST_EPOCHS
    assert not schedule.plan(5, 60, Recipe(epochs=2.0), trained_tokens=100).until_reproduced


def test_fields_that_the_recipe_sets_are_kept() -> None:
    plan = schedule.plan(
        100, 100, Recipe(epochs=2.0, batch_size=8, micro_batch=2, warmup=0.1, anchors=5, neighbours=3, kl_weight=0.7)
    )
    assert (plan.portions.new, plan.micro_batch, plan.steps, plan.warmup_steps) == (8, 2, 26, 3)
    assert (plan.portions.anchors, plan.portions.neighbours, plan.kl_weight) == (5, 3, 0.7)
    assert schedule.plan(100, 100, Recipe(max_steps=7)).steps == 7
    assert schedule.plan(100, 100, RECIPES["guanaco"]).portions.new == 4
    none = schedule.plan(100, 100, Recipe(anchors=0, neighbours=0, replay=0, kl_weight=0.0), earlier=50)
    assert (none.portions.anchors, none.portions.neighbours, none.portions.earlier, none.kl_weight) == (0, 0, 0, 0.0)


def test_a_firmer_hold_weighs_anchors_more_and_allows_less() -> None:
    weights = [schedule.plan(5, 60, Recipe(hold=hold)).kl_weight for hold in ("loose", "normal", "firm")]
    budgets = [schedule.kl_budget(5, hold) for hold in ("loose", "normal", "firm")]
    assert weights == sorted(set(weights)) and budgets == sorted(set(budgets), reverse=True)
    by_size = [schedule.kl_budget(rows, "normal") for rows in (5, 50, 500)]
    assert by_size == sorted(by_size) and by_size[0] > 0


def test_earlier_replies_are_replayed_as_many_as_new_ones() -> None:
    plan = schedule.plan(5, 60, Recipe(), earlier=45)
    assert plan.portions.earlier == plan.portions.new
    assert schedule.plan(5, 60, Recipe(), earlier=1).portions.earlier == 1
    assert schedule.plan(5, 60, Recipe(replay=9), earlier=45).portions.earlier == 9


@given(st.integers(64, 16_384), st.integers(64, 16_384))
def test_wider_models_get_lower_learning_rates(one: int, other: int) -> None:
    narrow, wide = sorted((one, other))
    assert 5e-5 < schedule.learning_rate(wide) <= schedule.learning_rate(narrow) < 1e-2
    assert 1e-4 < schedule.learning_rate(4096) < 4e-4


INFO = ModelInfo(name="7b", parameters=6_738_000_000, memory=3_800_000_000, device="NVIDIA", context=4096)


def test_an_estimate_is_what_a_run_takes_at_most() -> None:
    size = Size(rows=100, characters=60_000, longest=2_000, trained=40_000)
    found = preflight.estimate(size, INFO, Recipe())
    assert found.seconds is None and found.fits and found.steps == found.schedule.steps
    assert found.schedule.until_reproduced and 500 < found.tokens / found.steps < 10_000
    assert 4e9 < found.memory < 12e9
    assert preflight.estimate(size, INFO, Recipe(), speed=1000.0).seconds == pytest.approx(found.tokens / 1000)
    again = preflight.estimate(replace(size, rows=200, replayed=100, characters=120_000), INFO, Recipe())
    assert again.steps == found.steps and again.tokens > found.tokens, "earlier rows make a step longer"
    large = preflight.estimate(Size(5_000, 0, 5_000_000, 2_000, 4_000_000), INFO, Recipe())
    assert not large.schedule.until_reproduced
    assert preflight.estimate(size, INFO, Recipe(max_steps=7)).steps == 7


def test_lora_parameters_of_llama_2_7b() -> None:
    assert preflight.lora_parameters(INFO.parameters, 16) == pytest.approx(39_976_960, rel=0.1)


def test_what_does_not_fit_comes_with_what_does() -> None:
    size = Size(rows=100, characters=600_000, longest=20_000)
    found = preflight.estimate(size, INFO, Recipe(), free=1_000_000_000)
    assert not found.fits and "micro_batch = 1" in found.advice


def test_an_assignment_is_one_line() -> None:
    told = Assignment(run="/a\nb", home="/h", cache="/c", chat_share=0.5)
    line = assignment.encode(told)
    assert line.count(b"\n") == 1 and assignment.decode(line) == told


@pytest.fixture
def flag(tmp_path: Path) -> ChatFlag:
    return ChatFlag(tmp_path / "chat", create=True)


def test_the_flag_is_seen_by_another_mapping(flag: ChatFlag, tmp_path: Path) -> None:
    with ChatFlag(tmp_path / "chat") as reader:
        assert not reader.busy
        flag.set(True)
        assert reader.busy


def test_training_waits_while_a_reply_is_written(flag: ChatFlag, tmp_path: Path) -> None:
    control = Control(tmp_path, flag=flag, chat_share=1.0)
    control.check()
    flag.set(True)
    threading.Timer(0.2, flag.set, [False]).start()
    control.check()
    assert control.waited > 0.15


def test_training_waits_its_share(flag: ChatFlag, tmp_path: Path) -> None:
    control = Control(tmp_path, flag=flag, chat_share=0.5)
    control.check()
    flag.set(True)
    time.sleep(0.1)
    began = time.monotonic()
    control.check()
    assert time.monotonic() - began > 0.08
    none = Control(tmp_path, flag=flag, chat_share=0.0)
    none.check()
    assert none.waited == 0


def test_a_run_that_is_given_up_does_not_wait_for_chat(flag: ChatFlag, tmp_path: Path) -> None:
    flag.set(True)
    (tmp_path / STOP).write_bytes(b"cancel\n")
    with pytest.raises(Cancelled):
        Control(tmp_path, flag=flag, chat_share=1.0).check()


def test_stop_and_save(tmp_path: Path) -> None:
    control = Control(tmp_path)
    control.check_before_training()
    assert not control.stopping
    (tmp_path / STOP).write_bytes(b"save\n")
    while not control.stopping:
        control.check()
    assert control.saving
    with pytest.raises(Cancelled, match="before it had learnt"):
        control.check_before_training()


def test_the_end_of_the_host_is_noticed(tmp_path: Path, flag: ChatFlag) -> None:
    flag.set(True)
    control = Control(tmp_path, flag=flag, chat_share=1.0, parent=1 << 22)
    control.check()
    assert control.orphaned and control.stopping
    with pytest.raises(HostDied):
        control.check_before_training()


def test_sigterm_means_stop_and_save(tmp_path: Path) -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        control = Control(tmp_path)
        control.stop_on_signals()
        os.kill(os.getpid(), signal.SIGTERM)
        assert control.saving
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_a_worker_at_work_shows_that_it_lives(tmp_path: Path) -> None:
    file = tmp_path / FILE
    file.write_bytes(b"{}\n")
    os.utime(file, (1.0, 1.0))
    Control(tmp_path).check()
    assert time.time() - file.stat().st_mtime < 60 and file.read_bytes() == b"{}\n"
