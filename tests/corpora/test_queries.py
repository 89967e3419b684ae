"""The query language: what words mean, what is searched as it stands, what is refused."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpora.dialog import Status
from corpora.errors import UsageError
from corpora.queries import KEYS, LISTS, parse, parse_pairs, replaced, values_of, words, written
from corpora.store import Filter, PairFilter


def day(text: str) -> float:
    return time.mktime(time.strptime(text, "%Y-%m-%d"))


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", Filter()),
        ("cat  mouse", Filter(text="cat mouse")),
        ('"as it  stands" x', Filter(text='"as it  stands" x')),
        ("tag:work tag:#home x", Filter(text="x", tags=("work", "home"))),
        ("status:kept,pend", Filter(statuses=(Status.KEPT, Status.PENDING))),
        ('source:chat,"my ""own"", file.json"', Filter(sources=("chat", 'my "own", file.json'))),
        ("script:han,none", Filter(scripts=("han", ""))),
        ("len:>200", Filter(shortest=201)),
        ("len:>=200 len:<500", Filter(shortest=200, longest=499)),
        ("len:200..500", Filter(shortest=200, longest=500)),
        ("len:7", Filter(shortest=7, longest=7)),
        ("rating:>=4", Filter(rating=(4, 5))),
        ("rating:<3", Filter(rating=(1, 2))),
        ("rating:none", Filter(rating=(0, 0))),
        ("rating:0", Filter(rating=(0, 0))),
        ("rating:any", Filter(rating=(1, 5))),
        ("adapter:me/v2 in:me/v3", Filter(adapter="me/v2", trained_in="me/v3")),
        ("CORRECTED:Yes trained:n", Filter(corrected=True, trained=False)),
        ("date:2026-01", Filter(since=day("2026-01-01"), until=day("2026-02-01"))),
        ("date:2026", Filter(since=day("2026-01-01"), until=day("2027-01-01"))),
        ("date:>=2026-01-15 date:<2026-03", Filter(since=day("2026-01-15"), until=day("2026-03-01"))),
        ("date:2025-12..2026-01-02", Filter(since=day("2025-12-01"), until=day("2026-01-03"))),
        ("date:>2026-02-28", Filter(since=day("2026-03-01"))),
        ("date:<=2025-12-31", Filter(until=day("2026-01-01"))),
        # A colon that means nothing here is text.
        ("http://x/y?a=b std::cout C:\\x 12:30 note: 你好:是", None),
        ('"tag:work" برچسب:x', None),
    ],
)
def test_words_become_a_filter(query: str, found: Filter | None) -> None:
    assert parse(query) == (found if found is not None else Filter(text=query))


def test_days_count_back_from_now() -> None:
    week, today, yesterday = parse("date:7d"), parse("date:today"), parse("date:yesterday")
    assert week.since is not None and abs(week.since - (time.time() - 7 * 86400)) < 60 and week.until is None
    assert today.since is not None and 0 <= time.time() - today.since < 90_000
    assert yesterday.until == today.since


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("tagg:x", "Did you mean tag:"),
        ("colour:red", "There are status, tag"),
        ("length:4", "Did you mean len:"),
        ("tag:", "needs a value"),
        ("status:keep", "is one of pending, kept"),
        ("script:latina", "is one of latin"),
        ("corrected:maybe", "is one of yes, no"),
        ("len:many", "no number"),
        ("len:5..", "no number"),
        ("len:\u0665", "no number"),
        ("rating:6", "beyond 5 stars"),
        ("date:soon", "no date"),
        ("date:2026-13", "no date"),
        ("date:2026-02-30", "no date"),
        ("adapter:a adapter:b", "one value"),
        ("-tag:x", "minus"),
    ],
)
def test_what_cannot_be_meant_is_said(query: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parse(query)


def test_what_stars_can_be_is_within_five() -> None:
    with pytest.raises(UsageError) as refused:
        parse("rating:>=9")
    assert "200" not in str(refused.value)


def test_pairs_know_words_and_sources() -> None:
    assert parse_pairs('cat source:vote,"a b"') == PairFilter("cat", ("vote", "a b"))
    with pytest.raises(UsageError, match="Pairs have no tag"):
        parse_pairs("tag:x")


def test_a_key_is_replaced_and_the_rest_stays() -> None:
    query = 'cat tag:a "as it is" tag:b source:chat'
    assert replaced(query, "tag", ["c d", "e"]) == 'cat "as it is" source:chat tag:"c d" tag:e'
    assert replaced(query, "source", []) == 'cat tag:a "as it is" tag:b'
    assert values_of(query, "tag") == ("a", "b")


@given(st.sampled_from(["tag", "source", "adapter"]), st.lists(st.text(min_size=1), min_size=1, max_size=3))
def test_any_value_comes_back(key: str, values: list[str]) -> None:
    values = [value.strip().replace("\0", "") for value in values][: 3 if key in LISTS else 1]
    values = [value for value in values if value]
    assert values_of(written(key, values), key) == tuple(values)


@given(st.text(alphabet=st.one_of(st.sampled_from(list('tag:",.<>=- \t0123456789len"source')), st.characters())))
def test_any_query_is_a_filter_or_a_message(query: str) -> None:
    try:
        found = parse(query)
    except UsageError as error:
        assert error.what and error.remedy
    else:
        assert isinstance(found, Filter)


def test_no_text_takes_long() -> None:
    for hostile in (
        "tag:" + "a," * 50_000 + '"',
        "a" * 100_000,
        'source:"' * 20_000,
        '"' * 99_999,
        "len:" + "9" * 9999,
    ):
        try:
            words(hostile)
            parse(hostile)
        except UsageError:
            continue


def test_every_key_is_explained() -> None:
    for key, explained in KEYS.items():
        with pytest.raises(UsageError, match="needs a value") as raised:
            parse(f"{key}:")
        assert explained in raised.value.what
