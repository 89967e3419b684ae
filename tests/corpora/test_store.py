"""The store as chat, screens and training use it."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpora.dialog import Exchange, Finish, Message, Preference, Status, Verdict, Vote, dialog_of
from corpora.errors import StoreError, UsageError
from corpora.store import Filter, ImportedDialog, ImportedTurn, Store, dialog_key


def chat(store: Store, *pairs: tuple[str, str], status: Status | None = Status.KEPT, system: str | None = None) -> list:
    conversation, found, parent = store.start_conversation(), list[Exchange](), None
    for prompt, reply in pairs:
        begun = store.begin(conversation.id, parent, prompt, system=system)
        found.append(store.finish(begun.id, reply, Finish.EOS, tokens=3, seconds=0.5))
        parent = begun.id
    if status is not None:
        store.set_status([each.id for each in found], status)
    return [store.exchange(each.id) for each in found]


def imported(*turns: tuple[str, str], system: str | None = None, source: str = "f.json") -> ImportedDialog:
    rows = tuple(ImportedTurn(*turn) for turn in turns)
    return ImportedDialog(rows, system, source, dialog_key(system, rows))


def test_a_prompt_is_saved_at_once_and_its_reply_as_it_comes(store: Store) -> None:
    conversation = store.start_conversation()
    begun = store.begin(conversation.id, None, "Why?\nsecond line", system="Be brief.", adapter="me/v1")
    assert (begun.reply, begun.finish, begun.adapter) == ("", Finish.PARTIAL, "me/v1")
    store.write_partial(begun.id, "Bec")
    with Store(store.path) as other:
        assert other.exchange(begun.id).reply == "Bec"
        assert other.exchange(begun.id).finish is Finish.PARTIAL
    done = store.finish(begun.id, "Because.", Finish.EOS, tokens=4, seconds=1.5)
    assert (done.reply, done.tokens, done.seconds, done.status) == ("Because.", 4, 1.5, Status.PENDING)
    assert store.conversations()[0].title == "Why?"
    assert store.last_exchange(conversation.id) == done


def test_files_are_for_their_owner_alone(store: Store) -> None:
    chat(store, ("a", "b"))
    files = [store.path, store.backup()]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


def test_versions_branches_and_leaves(store: Store) -> None:
    first, second = chat(store, ("a", "b"), ("c", "d"))
    again = store.begin(first.conversation_id, first.id, "c")
    edited = store.begin(first.conversation_id, first.id, "c, but other")
    under = store.begin(first.conversation_id, again.id, "e")
    assert [each.id for each in store.versions(second.id)] == [second.id, again.id]
    assert [each.id for each in store.siblings(second.id)] == [second.id, again.id, edited.id]
    assert [each.id for each in store.path_to(under.id)] == [first.id, again.id, under.id]
    assert store.latest_leaf(again.id).id == under.id
    assert store.latest_leaf(second.id).id == second.id
    assert store.latest_leaf(first.id).id == under.id


def test_what_does_not_exist_is_said(store: Store) -> None:
    (exchange,) = chat(store, ("a", "b"))
    other = store.start_conversation()
    for call in (
        lambda: store.exchange(99),
        lambda: store.path_to(99),
        lambda: store.begin(99, None, "x"),
        lambda: store.begin(other.id, exchange.id, "x"),
        lambda: store.set_status([exchange.id, 99], Status.KEPT),
        lambda: store.correct(99, "x"),
        lambda: store.finish(99, "x", Finish.EOS),
        lambda: store.conversation(99),
    ):
        with pytest.raises(StoreError):
            call()
    with pytest.raises(UsageError):
        store.page(order="sideways")
    with pytest.raises(UsageError):
        store.rate([exchange.id], 6)


def test_a_correction_keeps_the_first_original_and_makes_one_pair(store: Store) -> None:
    _, second = chat(store, ("a", "b"), ("c", "d"), system="S", status=None)
    store.correct(second.id, "better")
    best = store.correct(second.id, "best")
    assert (best.original, best.reply, best.status, best.corrected) == ("d", "best", Status.KEPT, True)
    (pair,) = store.preferences()
    assert (pair.chosen, pair.rejected, pair.source, pair.exchange_id) == ("best", "d", "correction", second.id)
    assert [(said.role, said.content) for said in pair.dialog] == [
        ("system", "S"),
        ("user", "a"),
        ("assistant", "b"),
        ("user", "c"),
    ]
    assert [each.reply for each in store.corrections(second.id)] == ["d", "better"]
    back = store.correct(second.id, "d")
    assert (back.original, store.preferences()) == (None, [])


def test_undo_takes_every_action_back_many_deep(store: Store) -> None:
    first, second = chat(store, ("a", "b"), ("c", "d"), status=None)

    def state() -> tuple[object, ...]:
        return (
            [(e.prompt, e.reply, e.original, e.status, e.tags, e.note, e.rating) for e in store.page()],
            [(p.chosen, p.rejected) for p in store.preferences()],
            len(store.verdicts()),
            [len(store.corrections(each)) for each in (first.id, second.id)],
            store.count(Filter(text="better")),
            store.tags(),
        )

    actions = [
        lambda: store.set_status([first.id, second.id], Status.KEPT),
        lambda: store.correct(first.id, "better"),
        lambda: store.correct(first.id, "better still"),
        lambda: store.set_tags([first.id, second.id], ["x", "y", "x"]),
        lambda: store.edit_prompt(first.id, "A"),
        lambda: store.set_note(second.id, "note"),
        lambda: store.rate([second.id], 4),
        lambda: store.add_verdict(Verdict((Message("user", "q"),), "l", "r", "base", "me/v1", Vote.LEFT, True)),
        lambda: store.edit_preference(store.preferences()[0].id, "lll", "r"),
        lambda: store.remove_preferences([store.preferences()[0].id]),
        lambda: store.set_status_where(Filter(tags=("x",)), Status.REJECTED),
    ]
    states = []
    for act in actions:
        states.append(state())
        act()
        assert state() != states[-1]
    labels = []
    for before in reversed(states):
        labels.append(store.undo())
        assert state() == before
    assert store.undo() is None
    assert labels[0] == "rejected for 2 exchanges"
    assert labels[-2] == "correction"


def test_nothing_changed_is_no_action(store: Store) -> None:
    (exchange,) = chat(store, ("a", "b"))
    store.set_status([exchange.id], Status.KEPT)
    assert store.undo() == "kept"
    assert store.undo() is None


@pytest.mark.parametrize("vote", list(Vote))
def test_a_vote_for_one_side_makes_a_pair(store: Store, vote: Vote) -> None:
    dialog = (Message("system", "S"), Message("user", "q", tags_allowed=True))
    saved = store.add_verdict(Verdict(dialog, "left", "right", "base", "me/v2", vote, False))
    assert store.verdicts() == [saved]
    pairs = [(pair.chosen, pair.rejected, pair.dialog) for pair in store.preferences()]
    expected = {Vote.LEFT: [("left", "right", dialog)], Vote.RIGHT: [("right", "left", dialog)]}
    assert pairs == expected.get(vote, [])


def test_a_vote_against_an_empty_reply_makes_no_pair(store: Store) -> None:
    dialog = (Message("user", "q"),)
    store.add_verdict(Verdict(dialog, "left", " ", "base", "me/v2", Vote.LEFT, False))
    assert len(store.verdicts()) == 1 and store.preferences() == []


def test_an_edited_exchange_counts_as_unseen_until_it_is_undone(store: Store) -> None:
    (exchange,) = chat(store, ("a", "b"))
    store.mark_trained([exchange.id], "me/v1")
    assert store.trained_in(exchange.id) == ("me/v1",)
    assert store.count(Filter(trained=True)) == store.count(Filter(trained_in="me/v1")) == 1
    store.set_note(exchange.id, "a note changes nothing")
    assert store.trained_in(exchange.id) == ("me/v1",)
    store.correct(exchange.id, "c")
    assert store.trained_in(exchange.id) == ()
    assert (store.count(Filter(trained=True)), store.count(Filter(trained=False))) == (0, 1)
    store.undo()
    assert store.trained_in(exchange.id) == ("me/v1",)


SAID = {
    "en": ("Tell me about Sourdough bread", "It rises slowly; 100%_sure."),
    "zh": ("什么是科学方法？", "科学方法是一种求知的过程"),
    "fa": ("می\u200cخواهم دربارهٔ تهران بدانم", "تهران پایتخت ایران است"),
    "ru": ("Расскажи О Москве", "МОСКВА - столица"),
}


@pytest.mark.parametrize("indexed", [True, False])
@pytest.mark.parametrize(
    ("search", "found"),
    [
        ("sourdough", {"en"}), ("SOUR bread", {"en"}), ('"about sour"', {"en"}), ('"bread about"', set()),
        ("100%_", {"en"}), ("0%s", set()), ("", set(SAID)), ("科学", {"zh"}), ("科学方法", {"zh"}), ("求", {"zh"}),
        ("می\u200cخواهم", {"fa"}), ("تهران ایران", {"fa"}), ("москва", {"ru"}), ("nothing", set()),
        ('"', set()), ("it", {"en"}),
    ],
)  # fmt: skip
def test_search_in_every_script(store: Store, search: str, found: set[str], indexed: bool) -> None:
    store.add_dialogs([imported(turn, source=name) for name, turn in SAID.items()])
    if indexed:
        assert store.index_pending() == 0
    assert {each.source for each in store.page(Filter(text=search))} == found
    assert store.count(Filter(text=search)) == len(found)


def test_the_index_follows_changes(store: Store) -> None:
    (exchange,) = chat(store, ("prompt one", "reply one"))
    store.correct(exchange.id, "something else")
    store.edit_prompt(exchange.id, "question two")
    assert store.count(Filter(text="one")) == 0
    assert store.count(Filter(text="something question")) == 1
    store.undo()
    assert store.count(Filter(text="prompt")) == 1


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with Store(tmp_path_factory.mktemp("shelf") / "corpus.db") as opened:
        yield opened


@given(text=st.text(max_size=12), needle=st.text(max_size=6))
@settings(max_examples=100, deadline=None, database=None)
def test_any_text_can_be_stored_and_searched(shelf: Store, text: str, needle: str) -> None:
    (exchange,) = chat(shelf, (text, needle), status=None)
    assert (exchange.prompt, exchange.reply) == (text, needle)
    shelf.count(Filter(text=needle))
    shelf.conversations(needle)
    # SQLite's LIKE reads to the first NUL.
    for word in needle.partition("\0")[0].replace('"', " ").split():
        assert shelf.count(Filter(text=f'"{word}"', conversation_id=exchange.conversation_id)) == 1


def test_half_a_surrogate_pair_is_stored_as_a_replacement(store: Store) -> None:
    (exchange,) = chat(store, ("a\ud800b", "\udc80"))
    assert (exchange.prompt, exchange.reply) == ("a\ufffdb", "\ufffd")


def test_filters_and_orders(store: Store) -> None:
    first, second = chat(store, ("a" * 10, "b"), ("c", "d"), status=None)
    store.add_dialogs([imported(("你好吗", "我很好"), source="zh.json")], Status.DEFERRED)
    store.set_tags([second.id], ["work"])
    store.rate([first.id], 5)
    store.correct(second.id, "long " * 20)
    ids = {each.source: each.id for each in store.page()}
    third = ids["zh.json"]
    expected = {
        Filter(statuses=(Status.KEPT, Status.DEFERRED)): [third, second.id],
        Filter(tags=("work",)): [second.id],
        Filter(sources=("chat",)): [second.id, first.id],
        Filter(corrected=True): [second.id],
        Filter(corrected=False, sources=("chat",)): [first.id],
        Filter(scripts=("han",)): [third],
        Filter(shortest=50): [second.id],
        Filter(longest=8): [third],
        Filter(rating=(5, 5)): [first.id],
        Filter(rating=(0, 0)): [third, second.id],
        Filter(adapter="base"): [second.id, first.id],
        Filter(conversation_id=first.conversation_id): [second.id, first.id],
        Filter(since=1e12): [],
        Filter(until=1e12, text="long"): [second.id],
    }
    for where, found in expected.items():
        assert [each.id for each in store.page(where)] == found, where
        assert store.count(where) == len(found)
        assert store.ids(where) == sorted(found)
    assert [each.id for each in store.page(order="longest")] == [second.id, first.id, third]
    assert [each.id for each in store.page(order="shortest", limit=1, offset=1)] == [first.id]
    assert [each.id for each in store.walk(at_once=1)] == [first.id, second.id, third]


def test_counts(store: Store) -> None:
    first, _ = chat(store, ("a", "b"), ("c", "d"), status=None)
    store.add_dialogs([imported(("e", "f"), ("g", "h"))])
    store.correct(first.id, "z")
    store.mark_trained([first.id], "me/v1")
    stats = store.stats()
    assert stats.exchanges == 4
    assert stats.by_status == {Status.PENDING: 1, Status.KEPT: 3, Status.REJECTED: 0, Status.DEFERRED: 0}
    assert stats.by_source == {"chat": 2, "f.json": 2}
    assert (stats.corrected, stats.preferences, stats.verdicts, stats.trained, stats.conversations) == (1, 1, 0, 1, 2)
    assert sum(bar.count for bar in store.lengths(4)) == sum(bar.count for bar in store.growth()) == 4
    assert store.adapters() == {"": 2, "base": 2}


def test_conversations_are_found_and_ordered_by_use(store: Store) -> None:
    (first,) = chat(store, ("about bread", "yes"))
    (second,) = chat(store, ("about wine", "no"))
    store.add_dialogs([imported(("about bread", "imported"))])
    store.begin(first.conversation_id, first.id, "more")
    assert [each.id for each in store.conversations()] == [first.conversation_id, second.conversation_id]
    assert store.conversations()[0].exchanges == 2
    store.rename_conversation(second.conversation_id, "Bread and wine")
    assert {each.title for each in store.conversations("bread")} == {"about bread", "Bread and wine"}
    assert [each.title for each in store.conversations("bread", imported=True)] == ["about bread"]


def kept_dialogs(store: Store) -> list[tuple[tuple[int, ...], tuple[Message, ...]]]:
    return [(tuple(sorted(each.wanted)), dialog_of(each.exchanges, each.wanted)) for each in store.branches()]


def test_every_kept_reply_is_in_one_dialog(store: Store) -> None:
    first, second = chat(store, ("a", "b"), ("c", "d"))
    other = store.finish(store.begin(first.conversation_id, first.id, "c").id, "other", Finish.EOS)
    late = store.finish(store.begin(first.conversation_id, other.id, "e").id, "f", Finish.EOS)
    store.set_status([late.id], Status.KEPT)
    dialogs = kept_dialogs(store)
    assert sorted(id for ids, _ in dialogs for id in ids) == [first.id, second.id, late.id]
    by_last = {
        said[-1].content: (ids, [each.kept for each in said if each.role == "assistant"]) for ids, said in dialogs
    }
    assert by_last["f"] == ((first.id, late.id), [True, False, True])
    assert by_last["d"] == ((second.id,), [False, True])


def test_replies_under_another_system_prompt_are_dialogs_of_their_own(store: Store) -> None:
    (first,) = chat(store, ("a", "b"), system="one")
    second = store.finish(store.begin(first.conversation_id, first.id, "c", system="two").id, "d", Finish.EOS)
    store.set_status([second.id], Status.KEPT)
    found = {ids: said[0].content for ids, said in kept_dialogs(store)}
    assert found == {(first.id,): "one", (second.id,): "two"}


def test_imports_add_what_is_not_there_yet(store: Store) -> None:
    dialogs = [imported(("a", "b"), ("c", "d"), system="S"), imported(("a", "b")), imported(("a", "b"))]
    assert store.add_dialogs(dialogs) == 2
    assert store.add_dialogs(iter(dialogs)) == 0
    exchanges = store.page(order="oldest")
    assert [(each.prompt, each.parent_id, each.system) for each in exchanges] == [
        ("a", None, "S"),
        ("c", exchanges[0].id, "S"),
        ("a", None, None),
    ]
    assert {each.finish for each in exchanges} == {Finish.IMPORTED}
    pair = Preference((Message("user", "q"),), "x", "y", "f.json")
    assert (store.add_preferences([pair, pair]), store.add_preferences([pair])) == (1, 0)
    assert (store.count_preferences(), store.known_preferences([pair])) == (1, 1)


def test_an_imported_dialog_can_be_gone_on_with(store: Store) -> None:
    store.add_dialogs([imported(("a", "b"))])
    (exchange,) = store.page()
    further = store.begin(exchange.conversation_id, exchange.id, "c")
    assert store.path_to(further.id)[0].id == exchange.id


def test_backups_are_whole_and_overwrite_nothing(store: Store, tmp_path: Path) -> None:
    chat(store, ("a", "b"))
    copy = store.backup(tmp_path / "copy.db")
    with Store(copy) as other:
        assert other.page() == store.page()
    with pytest.raises(StoreError, match="exists"):
        store.backup(copy)


def test_what_was_before_can_be_forgotten(store: Store) -> None:
    first, second = chat(store, ("a", "my key is hunter2hunter2"), ("c", "d"), status=None)
    store.correct(first.id, "my key is [key]")
    store.edit_prompt(first.id, "A")
    store.correct(second.id, "better")
    store.forget_earlier(first.id)
    now = store.exchange(first.id)
    assert (now.prompt, now.reply, now.original, store.corrections(first.id)) == ("A", "my key is [key]", None, [])
    assert [pair.exchange_id for pair in store.preferences()] == [second.id]
    assert b"hunter2hunter2" not in store.path.read_bytes()
    assert store.undo() == "correction"
    assert store.undo() is None
