"""Snapshots, replay, the held-out part, and rows as examples."""

from __future__ import annotations

from collections.abc import Iterable
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
    snapshot_of,
    split,
    take_rows,
    write_snapshot,
)
from corpora.dialog import Finish, Message, Status
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


def talk(store: Store, *pairs: tuple[str, str], after: int | None = None, conversation: int | None = None) -> list[int]:
    """A chat whose replies are all kept; the ids of its exchanges."""
    conversation, ids = conversation or store.start_conversation().id, []
    for prompt, reply in pairs:
        after = store.finish(store.begin(conversation, after, prompt).id, reply, Finish.EOS).id
        ids.append(after)
    store.set_status(ids, Status.KEPT)
    return ids


def seen_in(rows: Iterable[Row]) -> set[str]:
    return {key for row in rows for key in row.reply_keys}


def test_what_is_new_is_told_from_what_was_trained(store: Store) -> None:
    fill(store, 10)
    first = take_rows(store)
    assert (len(first.rows), first.trained, first.duplicates, first.unreadable) == (10, 0, 0, 0)
    fill(store, 14)
    second = take_rows(store, seen=seen_in(first.rows))
    assert [row.replay for row in second.rows] == [True] * 10 + [False] * 4
    assert second.trained == 10
    assert all(row.replay for row in take_rows(store, seen=seen_in(second.rows)).rows)


def test_beyond_the_most_a_sample_is_replayed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(store, 30)
    seen = seen_in(take_rows(store).rows)
    fill(store, 32)
    monkeypatch.setattr(dataset, "MAX_REPLAY", 10)
    taken = take_rows(store, seen=seen, seed=1)
    assert (taken.trained, sum(row.replay for row in taken.rows), len(taken.rows)) == (30, 10, 12)
    assert take_rows(store, seen=seen, seed=1) == taken != take_rows(store, seen=seen, seed=2)


def test_a_chat_that_goes_on_has_one_new_reply(store: Store) -> None:
    first, second = talk(store, ("a", "b"), ("c", "d"))
    (whole,) = take_rows(store).rows
    assert (whole.replies, whole.exchange_ids) == (2, (first, second))
    conversation = store.exchange(first).conversation_id
    (third,) = talk(store, ("e", "f"), after=second, conversation=conversation)
    trained, new = take_rows(store, seen=seen_in([whole])).rows
    assert (trained.key, trained.dialog, trained.replay) == (whole.key, whole.dialog, True)
    assert (new.replies, new.exchange_ids, new.replay) == (1, (third,), False)
    assert [said.kept for said in new.dialog if said.role == "assistant"] == [False, False, True]


def test_a_reply_that_is_rejected_later_leaves_the_others_trained(store: Store) -> None:
    first, second, third = talk(store, ("a", "b"), ("c", "d"), ("e", "f"))
    seen = seen_in(take_rows(store).rows)
    store.set_status([second], Status.REJECTED)
    (row,) = take_rows(store, seen=seen).rows
    assert (row.replay, row.replies, row.exchange_ids) == (True, 2, (first, third))


def test_an_edited_exchange_is_new_again(store: Store) -> None:
    fill(store, 3)
    seen = seen_in(take_rows(store).rows)
    exchange = store.page()[0]
    store.correct(exchange.id, "corrected")
    (new,) = (row for row in take_rows(store, seen=seen).rows if not row.replay)
    assert (new.exchange_ids, new.dialog[-1].content) == ((exchange.id,), "corrected")
    store.undo()
    assert all(row.replay for row in take_rows(store, seen=seen).rows)
    store.edit_prompt(exchange.id, "asked otherwise")
    assert [row.replay for row in take_rows(store, seen=seen).rows] == [True, True, False]


def test_equal_replies_are_trained_once_for_all_of_their_exchanges(store: Store) -> None:
    for key in ("k1", "k2"):
        store.add_dialogs([ImportedDialog((ImportedTurn("same", "same"),), None, "f", key)])
    chat = talk(store, ("same", "same"), ("and?", "more"))
    taken = take_rows(store)
    assert (taken.duplicates, [row.replies for row in taken.rows]) == (2, [1, 1])
    assert [set(row.exchange_ids) for row in taken.rows] == [{1, 2, chat[0]}, {chat[1]}]


def test_only_wanted_replies_are_trained_and_the_others_are_context(store: Store) -> None:
    ids = talk(store, ("a", "b"), ("c", "d"), ("e", "f"))
    conversation = store.exchange(ids[0]).conversation_id
    (row,) = take_rows(store, [(conversation, ids[1])]).rows
    assert (row.exchange_ids, row.dialog[-1].content, len(row.dialog)) == ((ids[1],), "d", 4)
    assert [said.kept for said in row.dialog if said.role == "assistant"] == [False, True]


def test_a_snapshot_comes_back_from_its_file(store: Store, tmp_path: Path) -> None:
    fill(store, 3)
    store.set_status([store.page()[0].id], Status.REJECTED)
    begun = store.begin(1, 1, "[INST] \u2028 说 \ud800", system="S", tags_allowed=True)
    store.correct(begun.id, "line\r\nbreaks")
    snapshot = snapshot_of(take_rows(store).rows)
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
    write_snapshot(snapshot_of(take_rows(store).rows), path)
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
    long = row(("a " * 50, "b", False), ("c", "d", True), system="S")
    alone = row(("a", "b " * 200, True))
    tags = row(("[INST]", "b", True))
    nothing = row(("a", "b", False))
    good = row(("a", "b", True))
    encoded = encode_rows((long, alone, tags, nothing, good), words, 60)
    assert [each.key for each, _ in encoded.examples] == [long.key, good.key]
    assert encoded.examples[0][1] == encode_example([long.dialog[0], *long.dialog[3:]], words)
    assert [(each.key, dropped) for each, dropped in encoded.shortened] == [(long.key, 1)]
    assert [each.key for each, _ in encoded.left_out] == [alone.key, tags.key, nothing.key]
    for (_, reason), said in zip(encoded.left_out, ("tokens", "[INST]", "kept"), strict=True):
        assert said in reason


def test_no_kept_reply_of_a_long_chat_is_lost(words: Tokenizer) -> None:
    pairs = [(f"prompt {n}", f"reply {n} " * 5, n != 2) for n in range(6)]
    pairs[4] = ("too long", "b " * 200, True)
    long = Row("k", row(*pairs, system="S").dialog, (10, 11, 13, 14, 15, 99))
    encoded = encode_rows((long,), words, 90)
    parts = [each for each, _ in encoded.examples]
    assert all(len(example.ids) <= 90 and any(example.trained) for _, example in encoded.examples)
    assert [each.exchange_ids for each, _ in encoded.left_out] == [(14,)]
    assert sorted(id for each in parts for id in each.exchange_ids) == [10, 11, 13, 15]
    keys = {key for each in (*parts, *(left for left, _ in encoded.left_out)) for key in each.reply_keys}
    assert keys == set(long.reply_keys)
    assert sum(each.replies for each in parts) == 4 and len({each.key for each in parts}) == len(parts)


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
