"""A reply ends before a stop text, however its text comes in pieces."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from sessions.engine.stopping import Stops

LETTERS = st.text("ab\n#", max_size=30)
STOPS = st.lists(st.text("ab\n#", min_size=1, max_size=4), max_size=3)


def expected(text: str, stops: list[str]) -> str:
    """Read letter by letter: the first end of a stop text, and of those the longest."""
    for end in range(1, len(text) + 1):
        ended = [stop for stop in stops if text[:end].endswith(stop)]
        if ended:
            return text[: end - max(map(len, ended))]
    return text


@given(pieces=st.lists(LETTERS, max_size=8), stops=STOPS)
@settings(max_examples=500, deadline=None)
def test_what_is_told_is_the_text_before_the_first_stop(pieces: list[str], stops: list[str]) -> None:
    watch, text = Stops(stops), "".join(pieces)
    told = [watch.push(piece) for piece in pieces]
    found = watch.found
    whole = "".join(told) + watch.finish()
    assert whole == expected(text, stops) and found is any(stop in text for stop in stops)


@given(pieces=st.lists(LETTERS, max_size=8), stops=STOPS)
@settings(max_examples=500, deadline=None)
def test_nothing_is_told_that_may_be_a_stop_and_nothing_else_is_held(pieces: list[str], stops: list[str]) -> None:
    watch, came, told = Stops(stops), "", ""
    for piece in pieces:
        came, told = came + piece, told + watch.push(piece)
        held = came[len(told) :]
        assert came.startswith(told)
        assert watch.found or not held or any(stop.startswith(held) and stop != held for stop in stops)


def test_without_stops_all_is_told_at_once() -> None:
    watch = Stops(())
    assert watch.push("a") == "a" and watch.finish() == "" and not watch.found
