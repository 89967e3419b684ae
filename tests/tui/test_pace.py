"""The pace of a reply from its events."""

from __future__ import annotations

from corpora.dialog import Finish
from sessions.protocol import ColumnEnded, Prefilled, Token
from tui.pace import Pace, seconds_of


def test_what_is_new_of_a_prompt_counts_as_read() -> None:
    times = iter([10.0, 10.5])
    pace = Pace(lambda: next(times))
    assert str(pace) == ""
    pace.begin()
    pace.hear(Prefilled(prompt_tokens=1100, reused_tokens=1000, seconds=0.25))
    pace.hear(Token(text="a"))
    pace.hear(Token(text="b"))
    pace.hear(ColumnEnded(finish=Finish.EOS, tokens=20, seconds=2.0))
    assert (pace.first, pace.read, pace.wrote) == (0.5, 400.0, 10.0)
    assert str(pace) == "first token 0.50 s · read 400 tok/s · wrote 10.0 tok/s"


def test_the_next_prompt_begins_anew() -> None:
    pace = Pace()
    pace.hear(ColumnEnded(finish=Finish.EOS, tokens=20, seconds=2.0))
    pace.begin()
    assert str(pace) == ""


def test_short_times_are_milliseconds() -> None:
    assert (seconds_of(0.041), seconds_of(1.5)) == ("41 ms", "1.50 s")
