"""Records refer to versions by identity: names follow renames and removals, old stores are identified once."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from corpora.dialog import Finish, Message, Verdict, Vote
from corpora.store import Filter, Store, connection
from corpora.store.versions import VersionNames

FIRST, SECOND = "a" * 64, "b" * 64


def reply(store: Store, version: str, name: str, prompt: str = "Who?") -> int:
    begun = store.begin(store.start_conversation().id, None, prompt, adapter=name, version=version)
    return store.finish(begun.id, "I.", Finish.EOS).id


def vote(store: Store, left: tuple[str, str], right: tuple[str, str]) -> Verdict:
    dialog = (Message("user", "Who?"),)
    verdict = Verdict(
        dialog, "I.", "You.", left[1], right[1], Vote.LEFT, False, left_version=left[0], right_version=right[0]
    )
    return store.add_verdict(verdict)


def test_records_follow_a_rename(store: Store) -> None:
    exchange = reply(store, FIRST, "mine/v1")
    voted = vote(store, (FIRST, "mine/v1"), ("base", "base"))
    store.mark_trained([exchange], SECOND, address="mine/v2")
    store.version_names.update([(FIRST, "ours/v1"), (SECOND, "ours/v2")])
    assert store.exchange(exchange).adapter == "ours/v1"
    assert [(each.left_adapter, each.left_version) for each in store.verdicts()] == [("ours/v1", FIRST)]
    assert store.verdicts()[0].right_version == voted.right_version == "base"
    assert store.trained_in(exchange) == ("ours/v2",) == tuple(store.learned())
    assert store.adapters() == {"ours/v1": 1}
    assert store.ids(Filter(adapter="ours/v1")) == store.ids(Filter(trained_in="ours/v2")) == [exchange]
    assert store.ids(Filter(adapter="mine/v1")) == []


def test_a_version_with_the_name_of_a_removed_one_inherits_nothing(store: Store) -> None:
    old = reply(store, FIRST, "mine/v1")
    store.mark_trained([old], FIRST, address="mine/v1")
    vote(store, (FIRST, "mine/v1"), ("base", "base"))
    store.version_names.update([])
    assert store.exchange(old).adapter == "mine/v1 (removed)" and store.trained_in(old) == ("mine/v1 (removed)",)
    assert store.ids(Filter(adapter="mine/v1")) == store.ids(Filter(adapter="mine/v1 (removed)")) == [old]
    new = reply(store, SECOND, "mine/v1")
    assert store.exchange(new).adapter == "mine/v1" and store.exchange(old).adapter == "mine/v1 (removed)"
    assert store.ids(Filter(adapter="mine/v1")) == [new]
    assert store.ids(Filter(adapter="mine/v1 (removed)")) == [old]
    assert store.ids(Filter(trained_in="mine/v1")) == []
    assert [each.left_version for each in store.verdicts()] == [FIRST]


def test_two_versions_with_the_same_content_are_found_by_both_names(store: Store) -> None:
    exchange = reply(store, FIRST, "ours/v1")
    store.version_names.update([(FIRST, "ours/v1"), (FIRST, "mine/v1")])
    assert store.exchange(exchange).adapter == "ours/v1" and store.adapters() == {"ours/v1": 1}
    assert store.ids(Filter(adapter="ours/v1")) == store.ids(Filter(adapter="mine/v1")) == [exchange]
    store.version_names.update([(FIRST, "mine/v1")], [(FIRST, "ours/v1")])
    assert store.exchange(exchange).adapter == "mine/v1" and store.ids(Filter(adapter="ours/v1")) == []


def test_a_name_belongs_to_the_version_that_is_recorded_with_it_last(store: Store) -> None:
    first, second = reply(store, FIRST, "mine/v1"), reply(store, SECOND, "mine/v1")
    assert [store.exchange(each).adapter for each in (first, second)] == ["mine/v1 (removed)", "mine/v1"]
    assert store.ids(Filter(adapter="mine/v1")) == [second]


def test_the_base_and_unknown_versions_are_named_as_they_are_recorded(store: Store) -> None:
    base, unknown = reply(store, "", "base"), reply(store, FIRST, "")
    assert (store.exchange(base).adapter, store.exchange(unknown).adapter) == ("base", FIRST)
    assert store.ids(Filter(adapter="base")) == [base] and store.ids(Filter(adapter=FIRST)) == [unknown]


def test_an_update_without_changes_writes_nothing(store: Store) -> None:
    store.version_names.update([(FIRST, "mine/v1")])
    before = store._one("PRAGMA data_version"), store._db.total_changes
    store.version_names.update([(FIRST, "mine/v1")])
    assert (store._one("PRAGMA data_version"), store._db.total_changes) == before


def test_a_reply_that_the_base_gives_instead_is_recorded_as_that_of_the_base(store: Store) -> None:
    exchange = reply(store, FIRST, "mine/v1")
    store.answer_by_base(exchange)
    assert store.exchange(exchange).adapter == "base"


# stores of older programs


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A store of schema 3 that recorded addresses."""
    path = tmp_path / "old" / "corpus.db"
    path.parent.mkdir()
    db = sqlite3.connect(path)
    for script in connection.migrations()[:3]:
        db.executescript(script)
    db.execute("INSERT INTO conversations VALUES (1, 'title', 'chat', NULL, 1, 1)")
    db.executemany(
        "INSERT INTO exchanges (id, conversation_id, status, finish, model, adapter, source, created, updated, edited,"
        " prompt, reply) VALUES (?, 1, 'kept', 'eos', 'm', ?, 'chat', 1, 1, 1, 'p', 'r')",
        [(1, "base"), (2, "mine/v1"), (3, "gone/v7"), (4, "")],
    )
    db.executemany("INSERT INTO trained VALUES (?, ?, ?)", [(1, "mine/v1", 5), (1, "twin/v1", 9), (2, "gone/v7", 5)])
    db.execute("INSERT INTO verdicts VALUES (1, '[]', 'a', 'b', 'mine/v1', 'gone/v7', 'left', 0, 1)")
    db.execute("PRAGMA user_version = 3")
    db.execute(f"PRAGMA application_id = {connection.APPLICATION}")
    db.commit()
    db.close()
    return path


KNOWN = {"mine/v1": FIRST, "twin/v1": FIRST, "other/v1": SECOND}


def test_recorded_addresses_become_identities_once(old: Path) -> None:
    with Store(old) as store:
        assert store.exchange(2).adapter == "mine/v1"
        assert store.version_names.identify(KNOWN)
        store.version_names.update([(FIRST, "renamed/v1")])
        assert [store.exchange(id).adapter for id in (1, 2, 3, 4)] == ["base", "renamed/v1", "gone/v7 (removed)", ""]
        assert store.trained_in(1) == ("renamed/v1",) and store.trained_in(2) == ("gone/v7 (removed)",)
        assert store._one("SELECT at FROM trained WHERE exchange_id = 1") == 9
        (verdict,) = store.verdicts()
        assert (verdict.left_version, verdict.right_adapter) == (FIRST, "gone/v7 (removed)")
        assert store.ids(Filter(adapter="gone/v7")) == [3]
        assert store.verify() == []
    with Store(old) as store:
        # A version that takes an old name later has nothing to do with what was recorded under it.
        assert not store.version_names.identify({"gone/v7": SECOND})
        store.version_names.update([(FIRST, "renamed/v1"), (SECOND, "gone/v7")])
        assert store.exchange(3).adapter == "gone/v7 (removed)" and store.ids(Filter(adapter="gone/v7")) == []


def test_an_interrupted_identification_leaves_the_addresses(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with Store(old) as store:
        with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
            patched.setattr("corpora.store.versions.time.time", killed)
            store.version_names.identify(KNOWN)
        assert store._one("SELECT adapter FROM exchanges WHERE id = 2") == "mine/v1"
        assert store.version_names.identify(KNOWN)
        assert store._one("SELECT adapter FROM exchanges WHERE id = 2") == FIRST


def test_two_that_identify_a_store_at_once(old: Path) -> None:
    with Store(old) as one, Store(old) as two:
        names = VersionNames(two)
        names._identified = lambda: False  # type: ignore[method-assign]
        assert one.version_names.identify(KNOWN) and not names.identify({"mine/v1": SECOND})
        assert one.verdicts()[0].left_version == FIRST
