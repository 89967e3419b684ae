"""A run that was stopped early has taught what came up, and no more."""

from __future__ import annotations

from corpora.dataset import Row
from corpora.dialog import Example, Message
from sessions.training.publishing import Material
from sessions.training.schedule import Schedule, order


def material(count: int) -> Material:
    """Rows r0, r1, … of growing length, two of them held out."""
    pairs = [
        (Row(f"r{i}", (Message("user", "q"), Message("assistant", "a"))), Example([0] * (i + 1), [True] * (i + 1)))
        for i in range(count + 2)
    ]
    return Material(pairs[:count], pairs[count:], ())


PLAN = Schedule(batch=4, micro_batch=2, accumulation=2, steps_per_epoch=5, steps=20, warmup_steps=1, evaluate_every=5)


def test_a_whole_pass_has_taught_all() -> None:
    whole = material(20)
    assert whole.taught(5, PLAN, 0) is whole
    assert whole.taught(20, PLAN, 0) is whole


def test_two_steps_have_taught_the_first_rows_of_the_order() -> None:
    some = material(20)
    taught = some.taught(2, PLAN, 3)
    expected = {f"r{place}" for place in order(some.lengths, 2, 3, 0)[:8]}
    assert {row.key for row, _ in taught.train} == expected
    assert taught.held_out == []


def test_no_step_has_taught_nothing() -> None:
    assert material(20).taught(0, PLAN, 0).train == []
