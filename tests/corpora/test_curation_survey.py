"""All findings in the order in which they matter, and fixes of texts that another fix has changed."""

from __future__ import annotations

from corpora.curation import Fix, Kind, apply, counted, survey
from corpora.dialog import Status
from corpora.store import Filter, ImportedDialog, ImportedTurn, Store


def add(store: Store, *turns: tuple[str, str]) -> list[int]:
    rows = (ImportedDialog((ImportedTurn(*turn),), None, "f", str(number)) for number, turn in enumerate(turns))
    store.add_dialogs(rows)
    return store.ids()


def test_what_matters_most_comes_first(store: Store) -> None:
    ids = add(
        store,
        ("什么？", "Nothing at all."),
        ("Was ist es?", "The reply, which ends with"),
        ("Which?", "This one."),
        ("A key?", "It is AKIAIOSFODNN7EXAMPLE."),
        ("A tag?", "It is [/INST]."),
        ("Which?", "That one."),
    )
    found = survey(store)
    assert [(each.kind, each.exchange_id) for each in found.findings] == [
        (Kind.CONFLICT, ids[5]),
        (Kind.SECRET, ids[3]),
        (Kind.TAGS, ids[4]),
        (Kind.CUT_OFF, ids[1]),
        (Kind.SCRIPT, ids[0]),
    ]
    assert list(found.counts) == [Kind.CONFLICT, Kind.SECRET, Kind.TAGS, Kind.CUT_OFF, Kind.SCRIPT]


def test_within_a_kind_what_is_kept_comes_first(store: Store) -> None:
    ids = add(store, *((f"第{number}个问题是什么？", f"Nothing at all, number {number}.") for number in range(5)))
    for at, status in enumerate((Status.REJECTED, Status.DEFERRED, Status.PENDING, Status.KEPT, Status.KEPT)):
        store.set_status([ids[at]], status)
    everything = Filter(statuses=tuple(Status))
    scripts = [each.exchange_id for each in survey(store, everything).findings if each.kind is Kind.SCRIPT]
    assert scripts == [ids[3], ids[4], ids[2], ids[1], ids[0]]


def test_counts_in_words() -> None:
    counts = {Kind.SCRIPT: 1040, Kind.CONFLICT: 2, Kind.SECRET: 1, Kind.CUT_OFF: 0}
    assert counted(counts) == "2 conflicts · 1 secret · 1,040 script"
    assert counted({}) == ""


def test_a_second_fix_does_not_take_the_first_back(store: Store) -> None:
    add(store, ("red?", "\x1b[31mred\x1b[0m [/INST] it is"))
    found = [each for each in survey(store).findings if each.fix is Fix.REPLACE]
    assert {each.kind for each in found} == {Kind.TAGS, Kind.CONTROL_CODES}
    assert all(apply(store, each) for each in found)
    assert store.exchange(1).reply == "red  it is"
