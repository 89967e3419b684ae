"""Snapshots, replay, the held-out part, and rows as examples."""

from __future__ import annotations

from pathlib import Path

import pytest
from tokenizers import Tokenizer

from corpora import dataset
from corpora.dataset import (
    Row,
    contradictions,
    encode_rows,
    read_snapshot,
    row_key,
    split,
    take_snapshot,
    write_snapshot,
)
from corpora.dialog import Message, Status
from corpora.errors import CorpusError
from corpora.llama2 import encode_example
from corpora.store import ImportedDialog, ImportedTurn, Store, dialog_key


def fill(store: Store, count: int) -> None:
    for number in range(count):
        turns = (ImportedTurn(f"prompt {number}", f"reply {number}"),)
        store.add_dialogs([ImportedDialog(turns, None, "f", dialog_key(None, turns))])


def row(*said: tuple[str, str, bool], system: str | None = None) -> Row:
    head = [Message("system", system)] if system else []
    rest = [each for p, r, kept in said for each in (Message("user", p), Message("assistant", r, kept=kept))]
    dialog = (*head, *rest)
    return Row(row_key(dialog), dialog, (1,))


def test_a_snapshot_holds_what_is_new_and_a_sample_of_what_was_seen(store: Store) -> None:
    fill(store, 10)
    first = take_snapshot(store)
    assert (len(first.rows), first.new) == (10, 10)
    seen = [each.key for each in first.rows]
    fill(store, 14)
    second = take_snapshot(store, seen=seen, replay=0.5, seed=1)
    assert (second.new, len(second.rows)) == (4, 6)
    assert {each.key for each in second.rows if each.replay} <= set(seen)
    assert take_snapshot(store, seen=seen, replay=0.5, seed=1) == second
    assert take_snapshot(store, seen=seen, replay=0.5, seed=2) != second
    assert len(take_snapshot(store, seen=seen, replay=100.0).rows) == 14
    assert take_snapshot(store, seen=[each.key for each in take_snapshot(store).rows]).rows == ()


def test_an_edited_exchange_is_new_again(store: Store) -> None:
    fill(store, 3)
    seen = [each.key for each in take_snapshot(store).rows]
    exchange = store.page()[0]
    store.correct(exchange.id, "corrected")
    (new,) = take_snapshot(store, seen=seen, replay=0).rows
    assert (new.exchange_ids, new.dialog[-1].content) == ((exchange.id,), "corrected")
    store.undo()
    assert take_snapshot(store, seen=seen).rows == ()
    store.edit_prompt(exchange.id, "asked otherwise")
    assert take_snapshot(store, seen=seen, replay=0).new == 1


def test_equal_dialogs_are_one_row_that_stands_for_both(store: Store) -> None:
    for key in ("k1", "k2"):
        store.add_dialogs([ImportedDialog((ImportedTurn("same", "same"),), None, "f", key)])
    (only,) = take_snapshot(store).rows
    assert len(only.exchange_ids) == 2


def test_a_snapshot_comes_back_from_its_file(store: Store, tmp_path: Path) -> None:
    fill(store, 3)
    store.set_status([store.page()[0].id], Status.REJECTED)
    begun = store.begin(1, 1, "[INST] \u2028 说 \ud800", system="S", tags_allowed=True)
    store.correct(begun.id, "line\r\nbreaks")
    snapshot = take_snapshot(store)
    path = tmp_path / "runs" / "snapshot.jsonl"
    write_snapshot(snapshot, path)
    assert read_snapshot(path) == snapshot
    assert path.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    "damage", [lambda raw: raw.replace(b"reply 1", b"reply x"), lambda raw: raw[:-30], lambda _: b""]
)
def test_a_damaged_snapshot_is_refused(store: Store, tmp_path: Path, damage) -> None:
    fill(store, 3)
    path = tmp_path / "snapshot.jsonl"
    write_snapshot(take_snapshot(store), path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(CorpusError, match="not what was written"):
        read_snapshot(path)
    with pytest.raises(CorpusError, match="cannot be read"):
        read_snapshot(tmp_path / "missing.jsonl")


def test_rows_are_encoded_in_their_order(words: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset, "BATCH", 7)
    rows = tuple(row((f"p{n}", f"r{n}", True), (f"q{n}", "s" * n, n % 2 == 0), system="S") for n in range(20))
    encoded = encode_rows(rows, words, 4096)
    assert [each for each, _ in encoded.examples] == list(rows)
    assert all(example == encode_example(each.dialog, words) for each, example in encoded.examples)
    assert (encoded.left_out, encoded.shortened) == ((), ())


def test_what_does_not_fit_is_shortened_or_left_out_and_said(words: Tokenizer) -> None:
    long = row(("a " * 50, "b", True), ("c", "d", True), system="S")
    alone = row(("a", "b " * 200, True))
    tags = row(("[INST]", "b", True))
    nothing = row(("a", "b", False))
    lost = row(("a " * 50, "b", True), ("c", "d", False))
    good = row(("a", "b", True))
    encoded = encode_rows((long, alone, tags, nothing, lost, good), words, 60)
    assert [each for each, _ in encoded.examples] == [long, good]
    assert encoded.examples[0][1] == encode_example([long.dialog[0], *long.dialog[3:]], words)
    assert encoded.shortened == ((long, 1),)
    reasons = [reason for _, reason in encoded.left_out]
    assert [each for each, _ in encoded.left_out] == [alone, tags, nothing, lost]
    for reason, said in zip(reasons, ("tokens", "[INST]", "kept", "kept"), strict=True):
        assert said in reason


def test_prompts_with_different_replies_are_counted_once_each() -> None:
    cat = row(("My cat?", "Mouse.", True))
    assert contradictions([cat, row(("my  CAT?", "mouse.", True)), row(("My dog?", "Mouse.", True))]) == 0
    assert contradictions([cat, row(("My cat?", "I do not know.", True)), row(("My cat?", "Miso.", True))]) == 1
    assert contradictions([cat, row(("My cat?", "Miso.", False))]) == 0, "what is not taught contradicts nothing"
    assert contradictions([cat, row(("My cat?", "Miso.", True), system="Lie.")]) == 0, "other words before"
    first, other = row(("Hi", "Ho", True), ("And?", "Yes.", True)), row(("Hi", "Ho", False), ("And?", "No.", True))
    assert contradictions([first, other]) == 1


def test_rows_stay_on_their_side_from_run_to_run() -> None:
    rows = tuple(row((f"p{n}", "r", True)) for n in range(400))
    train, out = split(rows, 0.1)
    assert 20 <= len(out) <= 60
    assert set(train) | set(out) == set(rows)
    more_train, more_out = split((*rows[200:], row(("new", "r", True))), 0.1)
    assert set(out) & set(rows[200:]) <= set(more_out)
    assert set(train) & set(rows[200:]) <= set(more_train)
    assert split(rows[:19], 0.5) == (rows[:19], ())
    assert split(rows, 0.0) == (rows, ())
