"""Pure rules of training: schedule, order of rows, estimate, who may interrupt. No model."""

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


@given(sizes, st.integers(1, 4096), st.sampled_from(["cpu", "cuda"]))
def test_every_plan_is_consistent(rows: int, longest: int, device: str) -> None:
    plan = schedule.plan(rows, longest, Recipe(), device)
    assert plan.batch == plan.micro_batch * plan.accumulation <= max(2, rows)
    assert plan.steps >= 1 and 0 <= plan.warmup_steps <= plan.steps
    assert 1 <= plan.evaluate_every <= plan.steps
    assert schedule.LEAST_EPOCHS - 1 <= plan.epochs <= schedule.MOST_EPOCHS


@given(sizes, sizes)
def test_more_rows_are_never_seen_more_often(one: int, other: int) -> None:
    few, many = sorted((one, other))
    assert schedule.epochs(few) >= schedule.epochs(many)


def test_small_sets_get_many_passes_and_large_ones_few() -> None:
    assert schedule.plan(5, 60, Recipe()).epochs == 60
    assert schedule.plan(999, 200, Recipe()).epochs < 5
    assert [schedule.batch_size(rows) for rows in (1, 5, 100, 999, 50_000)] == [1, 2, 4, 16, 16]


def test_what_the_recipe_says_is_kept() -> None:
    plan = schedule.plan(100, 100, Recipe(epochs=2.0, batch_size=8, micro_batch=2, warmup=0.1))
    assert (plan.batch, plan.micro_batch, plan.accumulation, plan.steps) == (8, 2, 4, 26)
    assert plan.warmup_steps == 3
    assert schedule.plan(100, 100, Recipe(max_steps=7)).steps == 7
    assert schedule.plan(100, 100, RECIPES["guanaco"]).batch == 4


def test_learning_rates_by_width() -> None:
    assert schedule.learning_rate(4096) == pytest.approx(2.9e-4, rel=0.02)
    assert schedule.learning_rate(256) == pytest.approx(2.5e-3, rel=0.02)


@given(st.lists(st.integers(1, 500), min_size=1, max_size=300), st.integers(1, 8), st.integers(0, 3), st.integers(0, 3))
def test_an_order_holds_every_row_once_and_can_be_made_again(
    lengths: list[int], micro: int, seed: int, epoch: int
) -> None:
    found = schedule.order(lengths, micro, seed, epoch)
    assert sorted(found) == list(range(len(lengths)))
    assert found == schedule.order(lengths, micro, seed, epoch)


def test_rows_of_like_length_come_together() -> None:
    lengths = [(index * 7919) % 500 + 1 for index in range(512)]
    padded = {}
    for name, order in {"grouped": schedule.order(lengths, 8, 0, 0), "plain": list(range(512))}.items():
        batches = [order[start : start + 8] for start in range(0, 512, 8)]
        padded[name] = sum(8 * max(lengths[row] for row in batch) for batch in batches)
    assert padded["grouped"] < 1.05 * sum(lengths) < 1.5 * sum(lengths) < padded["plain"]


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
