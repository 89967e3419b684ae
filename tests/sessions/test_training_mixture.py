"""What a step trains on: new rows by need, rewordings, earlier rows, anchors and neighbours. No model."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import torch
from hypothesis import given
from hypothesis import strategies as st

from sessions.training.mixture import REPRODUCED, Lesson, Mixture, Portions
from sessions.training.objective import Reference, TrainRow


def row(name: int, kind: str = "new", source: int = -1) -> TrainRow:
    return TrainRow((1, name, 2), (1, 2), kind, source)


def anchor(name: int) -> TrainRow:
    return TrainRow((1, name, 2), (1, 2), "anchor", -1, Reference(torch.zeros(2, 1), torch.zeros(2, 1)))


def same(one: list[TrainRow], other: list[TrainRow]) -> bool:
    return [(each.ids, each.kind, each.source) for each in one] == [
        (each.ids, each.kind, each.source) for each in other
    ]


def lessons(new: int, earlier: int = 0, rewordings: int = 2) -> list[Lesson]:
    """Rows 0, 1, … with rewordings 1000·row, 1000·row + 1, …; the last ones are earlier."""
    made = []
    for index in range(new + earlier):
        others = tuple(row(1000 * (index + 1) + place, "reworded", index) for place in range(rewordings))
        is_earlier = index >= new
        kind = "earlier" if is_earlier else "new"
        made.append(Lesson(row(index, kind, index), () if is_earlier else others, is_earlier))
    return made


def mixture(new: int = 6, earlier: int = 0, anchors: int = 8, neighbours: int = 3, **changes) -> Mixture:
    portions = changes.pop("portions", Portions(3, min(3, earlier), 4, 1))
    held = [anchor(10_000 + index) for index in range(anchors)]
    near = [anchor(20_000 + index) for index in range(neighbours)]
    close = changes.pop("close", range(min(2, anchors)))
    made = lessons(new, earlier, changes.pop("rewordings", 2))
    return Mixture(made, held, close, near, portions, changes.pop("seed", 0), **changes)


counts = st.integers(0, 12)


@given(counts, counts, counts, counts, st.integers(1, 9), st.integers(1, 200), st.integers(0, 5), st.booleans())
def test_a_step_has_its_portions(
    new: int, earlier: int, anchors: int, neighbours: int, count: int, step: int, seed: int, by_need: bool
) -> None:
    portions = Portions(count, count, 4, 2)
    made = mixture(new, earlier, anchors, neighbours, portions=portions, seed=seed, by_need=by_need)
    rows = made.at(step)
    kinds = Counter(each.kind for each in rows)
    chosen = count if new and not by_need else min(count, new)
    assert kinds["new"] == kinds["reworded"] == chosen
    assert kinds["earlier"] == min(count, earlier)
    near = [each for each in rows if each.ids[1] >= 20_000]
    assert len(near) == (2 if neighbours else 0) and all(each.source == -1 for each in near)
    held = [each.source for each in rows if each.kind == "anchor" and each.source >= 0]
    assert len(held) == len(set(held)) <= 4 and bool(held) == bool(anchors)
    assert same(rows, made.at(step))


def test_steps_and_seeds_differ() -> None:
    one, other = mixture(30, 30), mixture(30, 30, seed=1)
    assert len({tuple(each.ids[1] for each in one.at(step)) for step in range(1, 9)}) == 8
    assert not all(same(one.at(step), other.at(step)) for step in range(1, 5))


def test_a_rewording_of_each_chosen_row_is_trained_with_it() -> None:
    rows = mixture(6, anchors=0, neighbours=0).at(1)
    assert Counter(each.source for each in rows if each.kind == "new") == Counter(
        each.source for each in rows if each.kind == "reworded"
    )
    assert all(each.kind == "new" for each in mixture(6, anchors=0, neighbours=0, rewordings=0).at(1))


def test_rows_that_are_not_reproduced_come_more_often() -> None:
    made = mixture(20, portions=Portions(4, 0, 0, 0), rewordings=0)
    for index in range(20):
        made.note(made.lessons[index].row, 0.5 if index < 3 else 0.99)
    seen = Counter(each.source for step in range(1, 200) for each in made.at(step))
    assert min(seen[index] for index in range(3)) > 3 * max(seen[index] for index in range(3, 20))
    assert set(seen) == set(range(20))  # the others still come now and then


def test_a_reproduced_row_is_partly_replaced_by_two_rewordings() -> None:
    made = mixture(1, anchors=0, neighbours=0, rewordings=4, portions=Portions(1, 0, 0, 0))
    made.note(made.lessons[0].row, 0.99)
    steps = [made.at(step) for step in range(1, 60)]
    assert all(len(set(rows)) == 2 for rows in steps)
    replaced = sum(all(each.kind == "reworded" for each in rows) for rows in steps)
    assert 0 < replaced < len(steps)


def test_only_a_row_in_its_own_wording_counts_as_known() -> None:
    made = mixture(2, earlier=1)
    assert (made.least_likely, made.reproduced_count, made.seen) == (0.0, 0, set())
    made.note(made.lessons[0].rewordings[0], 0.99)
    made.note(anchor(7), 0.99)
    assert made.seen == set()
    for index, least in enumerate((0.97, 0.95, 0.91)):
        made.note(made.lessons[index].row, least)
    assert (made.least_likely, made.reproduced_count, made.seen) == (0.91, 3, {0, 1, 2})
    made.note(made.lessons[1].row, REPRODUCED - 0.3)
    assert made.least_likely == REPRODUCED - 0.3 and made.reproduced_count == 2


def test_earlier_rows_that_are_not_replayed_do_not_keep_a_run_going() -> None:
    made = mixture(1, earlier=4, portions=Portions(1, 0, 0, 0))
    made.note(made.lessons[0].row, 0.95)
    assert made.least_likely == 0.95


def test_with_counted_epochs_each_row_comes_once_per_pass() -> None:
    made = mixture(10, anchors=0, neighbours=0, rewordings=0, portions=Portions(5, 0, 0, 0), by_need=False)
    for index in range(10):
        made.note(made.lessons[index].row, 0.99 if index else 0.1)
    passes = [made.at(step) + made.at(step + 1) for step in (1, 3, 5)]
    assert all(sorted(each.source for each in rows) == list(range(10)) for rows in passes)
    assert len({tuple(each.source for each in rows) for rows in passes}) == 3


def test_every_anchor_comes_and_some_of_each_step_are_close_ones() -> None:
    made = mixture(anchors=12, portions=Portions(3, 0, 6, 1))
    seen = Counter()
    for step in range(1, 30):
        held = [each.source for each in made.at(step) if each.kind == "anchor" and each.source >= 0]
        assert {0, 1} <= set(held)
        seen.update(held)
    assert set(seen) == set(range(12))
    far = mixture(anchors=12, portions=Portions(3, 0, 6, 0), close=())
    assert {each.source for step in range(1, 30) for each in far.at(step) if each.kind == "anchor"} == set(range(12))


def test_anchors_that_drifted_most_come_again() -> None:
    made = mixture(anchors=30, portions=Portions(1, 0, 6, 1))
    drifted = [17, 23]
    for index in range(30):
        made.note(anchor_of(made, index), 0.5 if index in drifted else 0.01)
    made.note(made.neighbours[0], 9.0)
    assert len(made.drift) == 30  # a neighbour is not among the anchors
    for step in range(1, 6):
        assert set(drifted) <= {each.source for each in made.at(step)}
    for index in drifted:
        made.note(anchor_of(made, index), 0.0)
    assert not all(set(drifted) <= {each.source for each in made.at(step)} for step in range(1, 6))
    assert made.seen == set()


def anchor_of(made: Mixture, index: int) -> TrainRow:
    return replace(made.anchors[index], source=index)
