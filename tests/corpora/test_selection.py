"""Which kept replies are selected: the rule about imports, queries, groups, samples."""

from __future__ import annotations

import time

import pytest

from corpora.dataset import take_rows
from corpora.dialog import Exchange, Finish, Status
from corpora.errors import UsageError
from corpora.selection import ALL_FILES, OWN, Chosen, Group, Selection, choose, day
from corpora.store import ImportedDialog, ImportedTurn, Store


def imported(store: Store, count: int, source: str = "alpaca.json", tags: tuple[str, ...] = ()) -> None:
    store.add_dialogs(
        ImportedDialog(
            (ImportedTurn(f"{source} prompt {n}", f"reply {n} of a river"),), None, source, f"{source} {n}", tags
        )
        for n in range(count)
    )


def taught(store: Store, *replies: str) -> list[int]:
    ids = []
    for reply in replies:
        begun = store.begin(store.start_conversation().id, None, f"What is {reply}?")
        store.finish(begun.id, "I do not know.", Finish.EOS)
        ids.append(store.correct(begun.id, reply).id)
    return ids


def selected(chosen: Chosen) -> list[int]:
    return [exchange_id for _, exchange_id in chosen.wanted]


def first_imported(store: Store) -> Exchange:
    return next(each for each in store.page(order="oldest") if each.finish is Finish.IMPORTED)


def test_five_corrections_beside_fifty_thousand_imported_rows_are_five_replies(store: Store) -> None:
    imported(store, 50_000)
    ids = taught(store, "one", "two", "three", "four", "five")
    chosen = choose(store, Selection())
    taken = take_rows(store, chosen.wanted)
    counts = chosen.files_left_out(), chosen.groups("source")
    assert selected(chosen) == ids and len(taken.rows) == 5
    assert counts[0] == {"alpaca.json": 50_000} and len(chosen.replies) == 50_005
    assert [(each.group.value, each.matching, each.selected) for each in counts[1]] == [
        ("alpaca.json", 50_000, 0),
        (OWN, 5, 5),
    ]
    assert [chosen.selection.is_on(each.group) for each in counts[1]] == [False, True]


def test_imports_are_selected_where_nothing_else_is_kept(store: Store) -> None:
    imported(store, 4)
    imported(store, 3, "b.json")
    chosen = choose(store, Selection())
    assert len(chosen.wanted) == 7 and chosen.selection.files == ("alpaca.json", "b.json")
    taught(store, "one")
    later = choose(store, chosen.selection)
    assert len(later.wanted) == 8, "what was trained stays selected"
    imported(store, 2, "c.json")
    assert len(choose(store, chosen.selection).wanted) == 8, "another file is not"
    assert choose(store, chosen.selection).files_left_out() == {"c.json": 2}


def test_an_imported_reply_that_was_corrected_is_the_persons_own(store: Store) -> None:
    imported(store, 3)
    (own,) = taught(store, "one")
    exchange = first_imported(store)
    store.set_tags([exchange.id], ["seen"])
    assert selected(choose(store, Selection())) == [own], "a tag is no correction"
    store.correct(exchange.id, "corrected")
    assert selected(choose(store, Selection())) == [exchange.id, own]
    store.undo()
    assert selected(choose(store, Selection())) == [own]
    begun = store.begin(exchange.conversation_id, exchange.id, "And now?")
    answer = store.finish(begun.id, "Now, too.", Finish.EOS)
    store.set_status([answer.id], Status.KEPT)
    assert selected(choose(store, Selection())) == [answer.id, own], "said in the chat, after an import"


def test_a_query_selects_and_a_named_file_is_on(store: Store) -> None:
    imported(store, 4, tags=("geo",))
    one, two = taught(store, "river one", "two")
    assert selected(choose(store, Selection(query="river"))) == [one]
    assert len(choose(store, Selection(query="tag:geo")).wanted) == 4, "it matches imports alone"
    assert len(choose(store, Selection(query="source:alpaca.json,chat")).wanted) == 6
    chosen = choose(store, Selection(query="two"))
    assert selected(chosen) == [two] and chosen.count("query") == 5
    assert choose(store, Selection(query="status:rejected")).wanted == ()
    with pytest.raises(UsageError, match="is no filter"):
        choose(store, Selection(query="tags:x"))


def test_groups_are_counted_and_switched(store: Store) -> None:
    imported(store, 3, tags=("geo",))
    one, two, three = taught(store, "one", "two", "three")
    store.set_tags([one], ["a", "b"])
    store.set_tags([two], ["a"])
    chosen = choose(store, Selection())
    tags = {each.group.value: (each.matching, each.selected) for each in chosen.groups("tag")}
    assert tags == {"geo": (3, 0), "a": (2, 2), "b": (1, 1), "": (1, 1)}
    assert [each.group.value for each in chosen.groups("date")] == [day(time.time())]
    assert [each.matching for each in chosen.groups("chat")] == [1, 1, 1]
    off = choose(store, chosen.selection.switched(Group("tag", "b"), False))
    assert selected(off) == [two, three] and off.count("group") == 1
    assert not off.selection.is_on(Group("tag", "b")) and off.selection.is_on(Group("tag", "a"))
    assert selected(choose(store, off.selection.switched(Group("tag", "b"), True))) == [one, two, three]
    with_file = choose(store, chosen.selection.switched(Group("source", "alpaca.json"), True))
    assert len(with_file.wanted) == 6 and with_file.selection.files == ("alpaca.json",)
    assert selected(choose(store, with_file.selection.switched(Group("source", OWN), False))) == [1, 2, 3]
    chat = str(store.exchange(two).conversation_id)
    assert selected(choose(store, Selection(off=(Group("chat", chat),)))) == [one, three]
    assert selected(choose(store, Selection(off=(Group("date", day(time.time())),)))) == []


def test_all_files_are_those_that_are_there_now(store: Store) -> None:
    imported(store, 3)
    imported(store, 2, "b.json")
    taught(store, "one")
    chosen = choose(store, Selection(files=ALL_FILES))
    assert (len(chosen.wanted), chosen.selection.files) == (6, ("alpaca.json", "b.json"))


def test_a_file_that_the_query_names_can_be_switched_off_and_on(store: Store) -> None:
    imported(store, 3)
    imported(store, 2, "b.json")
    chosen = choose(store, Selection(query="source:alpaca.json,b.json"))
    off = choose(store, chosen.selection.switched(Group("source", "b.json"), False))
    assert len(off.wanted) == 3
    assert len(choose(store, off.selection.switched(Group("source", "b.json"), True)).wanted) == 5


def test_a_sample_stays_the_same_and_the_persons_own_come_first(store: Store) -> None:
    imported(store, 50)
    selection = Selection(files=("alpaca.json",), sample=10, seed=3)
    first = choose(store, selection)
    assert len(first.wanted) == 10 and first.count("sample") == 40
    assert choose(store, selection) == first
    assert choose(store, Selection(files=("alpaca.json",), sample=10, seed=4)).wanted != first.wanted
    own = taught(store, "one", "two")
    second = choose(store, selection)
    assert set(own) < set(selected(second)) and len(second.wanted) == 10
    assert set(selected(second)) - set(own) < set(selected(first))
    assert len(choose(store, Selection(sample=1)).wanted) == 1


def test_a_selection_in_words() -> None:
    assert str(Selection()) == "" and not Selection(files=()).narrowed
    off = (Group("tag", ""), Group("source", OWN), Group("date", "2026-01-31"), Group("chat", "7"))
    chosen = Selection(query="tag:x", off=off, files=("a.json",), sample=1000, seed=2)
    assert chosen.narrowed and str(chosen) == (
        "tag:x · without #no tag, chats and corrections, 2026-01-31, chat 7 · with a.json · a sample of 1,000 (seed 2)"
    )
