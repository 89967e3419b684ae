"""Preference pairs: found, changed, swapped, removed, taken back, written out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from corpora.dialog import Message, Preference, Verdict, Vote
from corpora.errors import StoreError, UsageError
from corpora.store import PairFilter, Store
from corpora.transfer import export_file
from tests.corpora.test_store import chat


def pair(prompt: str, chosen: str, rejected: str, source: str = "f.json") -> Preference:
    return Preference((Message("system", "Be brief."), Message("user", prompt)), chosen, rejected, source)


@pytest.fixture
def pairs(store: Store) -> list[Preference]:
    """Three pairs, the newest first: a vote, a file's, a correction."""
    (exchange,) = chat(store, ("My cat?", "No idea."))
    store.correct(exchange.id, "Miso, 你的猫.")
    store.add_preferences([pair('Say "x" \\ y\nZ', "Ünder 100%", "under_score")])
    store.add_verdict(Verdict((Message("user", "Who?"),), "I am.", "Me.", "base", "me/v2", Vote.RIGHT, True))
    return store.preferences()


def test_pairs_are_found_by_words_and_source(store: Store, pairs: list[Preference]) -> None:
    vote, file, correction = pairs
    expected = {
        PairFilter(): [vote, file, correction],
        PairFilter("猫"): [correction],
        PairFilter("miso CAT"): [correction],
        PairFilter('"x'): [file],
        PairFilter("\\"): [file],
        PairFilter("ÜNDER"): [file],
        PairFilter("r_s"): [file],
        PairFilter("0%"): [file],
        PairFilter("brief"): [file],
        PairFilter("role"): [],
        PairFilter(sources=("vote", "correction")): [vote, correction],
        PairFilter("who", ("correction",)): [],
    }
    for where, found in expected.items():
        assert store.preferences(where=where) == found, where
        assert store.count_preferences(where) == len(found)
        assert store.preference_ids(where) == sorted(each.id for each in found)
    assert store.preferences(1, 1) == [file]
    assert store.preference_sources() == {"correction": 1, "f.json": 1, "vote": 1}


def test_a_vote_is_known_by_its_pair(store: Store, pairs: list[Preference]) -> None:
    vote, file, correction = pairs
    made_of = store.vote_of(vote.id)
    assert made_of is not None and (made_of.vote, made_of.right_adapter) == (Vote.RIGHT, "me/v2")
    assert store.vote_of(file.id) is store.vote_of(correction.id) is None


def test_replies_are_changed_swapped_removed_and_taken_back(store: Store, pairs: list[Preference]) -> None:
    vote, file, correction = pairs
    assert store.edit_preference(vote.id, "I", "Me.").chosen == "I"
    swapped = store.swap_preference(file.id)
    assert (swapped.chosen, swapped.rejected) == (file.rejected, file.chosen)
    store.remove_preferences([vote.id, correction.id])
    assert [each.id for each in store.preferences()] == [file.id]
    assert [store.undo() for _ in range(3)] == ["removal of 2 pairs", "swap of a pair", "change of a pair"]
    assert store.preferences() == pairs


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda store, ids: store.edit_preference(ids[0], "same", " same "), "the same reply"),
        (lambda store, ids: store.edit_preference(ids[0], " ", "b"), "needs a chosen"),
        (lambda store, ids: store.edit_preference(ids[0], "c", "d"), r"the same as pair \d+"),
        (lambda store, ids: store.swap_preference(ids[2]), r"the same as pair \d+"),
        (lambda store, ids: store.edit_preference(99, "x", "y"), "There is no pair 99"),
        (lambda store, ids: store.remove_preferences([ids[0], 99]), "There is no pair 99"),
    ],
)
def test_a_change_that_cannot_be_is_said_and_changes_nothing(
    store: Store, change: Callable[[Store, list[int]], object], said: str
) -> None:
    store.add_preferences([pair("q", *replies) for replies in (("a", "b"), ("c", "d"), ("d", "c"))])
    before = store.preferences(oldest_first=True)
    with pytest.raises((UsageError, StoreError), match=said) as raised:
        change(store, [each.id for each in before])
    assert raised.value.data == "Nothing was changed."
    assert store.preferences(oldest_first=True) == before
    assert store.undo() is None


def test_saving_a_pair_as_it_is_is_no_action(store: Store, pairs: list[Preference]) -> None:
    assert store.edit_preference(pairs[0].id, pairs[0].chosen, pairs[0].rejected) == pairs[0]
    assert store.last_action() != "change of a pair"


def test_what_is_shown_is_exported(store: Store, pairs: list[Preference], tmp_path: Path) -> None:
    out = tmp_path / "pairs.jsonl"
    assert export_file(store, out, "preference", pairs=PairFilter(sources=("vote",))) == 1
    assert json.loads(out.read_text())["chosen"] == [{"role": "assistant", "content": "Me."}]


def test_a_damaged_pair_hides_no_other(store: Store, pairs: list[Preference]) -> None:
    with store._write() as db:
        db.execute("UPDATE preferences SET dialog = '{broken' WHERE id = ?", (pairs[0].id,))
    assert store.preferences() == pairs[1:]
    assert store.preferences(where=PairFilter("miso")) == pairs[2:]
