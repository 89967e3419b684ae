"""No word is broken at a terminal's edge, however the text comes; code keeps its lines."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tui.test_output import Screen, plain
from tui import commands
from tui.output import Output, table_text
from tui.output_wrap import Wrap, wrapped

TEXT = st.text(alphabet="ab  \n.`", max_size=200)


def test_a_line_ends_before_the_word_that_does_not_fit() -> None:
    assert wrapped("/keep or /correct, train", 20) == "/keep or /correct,\ntrain"
    assert wrapped("0123456789 012345678", 20) == "0123456789 012345678"
    assert wrapped("  try this and that again", 14) == "  try this and\n  that again"
    assert wrapped("你好你好你好", 10) == "你好你好你\n好"


def test_code_stays_as_it_is() -> None:
    for code in ("```\nx = a + b + c + d + e\n```\n", "    x = a + b + c + d + e\n", "\tx = a + b + c + d + e"):
        assert wrapped(code, 10) == code
    assert wrapped("```\nx\n```\none two three", 10).endswith("one two\nthree")


@given(TEXT, st.integers(10, 30), st.integers(1, 7))
def test_pieces_come_out_as_the_whole_and_nothing_is_lost(text: str, width: int, size: int) -> None:
    wrap = Wrap(width)
    came = "".join(wrap.feed(text[at : at + size]) for at in range(0, len(text), size)) + wrap.flush()
    assert came == wrapped(text, width) and came.split() == text.split()
    lines = [line for line in came.split("\n") if "  " not in line and "`" not in came]
    assert all(len(line) <= width or " " not in line.strip() for line in lines)


def test_replies_and_messages_wrap_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    monkeypatch.setenv("TERM", "dumb")
    screen = Screen()
    for output, sink in ((Output(out=screen, err=screen), screen), plain()[:2]):
        for piece in ("Keep it or /corr", "ect, tr", "ain it"):
            output.reply(piece)
        output.end_reply()
        output.say("Keep it or /correct, train it")
        once = "Keep it or /correct,\ntrain it\n" if sink is screen else "Keep it or /correct, train it\n"
        assert sink.getvalue() == once * 2


def test_help_is_whole_at_80_columns() -> None:
    rows = [(f"/{each.name} {each.usage}".rstrip(), each.help) for each in commands.COMMANDS]
    text = table_text(("COMMAND", ""), rows, wrapped=("",), width=80)
    assert all(len(line) <= 80 for line in text.splitlines())
    words = text.split()
    assert all(word in words for _, help in rows for word in help.split())
