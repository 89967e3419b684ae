"""What is printed: JSON alone on stdout, tables, errors, and no control code from anybody else's text."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpora.dialog import Exchange, Status
from corpora.errors import LlamaTuiError
from sessions.training.events import Stepped
from tests.tui.calling import FORBIDDEN, HOSTILE
from tui.output import Output, encode, table_text
from tui.output_columns import SideBySide, Stacked, columns

CONTROLS = [chr(code) for code in (*range(9), *range(11, 32), *range(0x7F, 0xA0), *range(0x202A, 0x202F))]


class Screen(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def plain(**options: bool) -> tuple[Output, io.StringIO, io.StringIO]:
    out, err = io.StringIO(), io.StringIO()
    return Output(out=out, err=err, **options), out, err


def test_json_is_all_there_is_on_stdout() -> None:
    output, out, err = plain(json=True)
    output.say("a line")
    output.write("a piece")
    output.table(("A",), [("b",)])
    output.note("a message")
    output.document({"a": 1})
    assert out.getvalue() == '{"a":1}\n' and err.getvalue() == "a message\n"


def test_values_structs_and_statuses_become_json() -> None:
    exchange = Exchange(1, 2, None, "p", "r", status=Status.KEPT, tags=("a",))
    assert json.loads(encode([exchange]))[0]["status"] == "kept"
    step = Stepped(step=1, epoch=1, loss=1, learning_rate=1, grad_norm=1, tokens=1, tokens_per_second=1, eta=0)
    assert json.loads(encode(step))["type"] == "Stepped"


@given(st.text())
def test_json_gives_every_text_back(text: str) -> None:
    written = encode({"text": text})
    assert json.loads(written)["text"] == text
    assert not any(control in written for control in CONTROLS)


def test_halves_of_surrogate_pairs_do_not_break_json() -> None:
    assert json.loads(encode({"a\ud800": ["b\udfff", 1]})) == {"a?": ["b?", 1]}


@given(st.text(alphabet=st.one_of(st.characters(), st.sampled_from([*CONTROLS, "[", "/", "]", "\n"]))))
def test_nothing_foreign_reaches_the_terminal_as_a_code(text: str) -> None:
    output, out, err = plain()
    output.say(text)
    output.note(text)
    output.progress(text)
    output.table((text, "B"), [(text, text)])
    output.problem(LlamaTuiError(text, data=text, remedy=text))
    with Stacked(output, (text, "b")) as shown:
        for letter in text:
            shown.feed(0, letter)
            shown.feed(1, letter)
    assert not any(control in out.getvalue() + err.getvalue() for control in CONTROLS)


def test_tables_keep_brackets_and_are_not_cut_in_a_pipe() -> None:
    text = table_text(("NAME", "N"), [("[/INST] [bold]x[/bold] " + "long " * 60, 5)], right=("N",), width=10_000)
    heading, row = text.splitlines()
    assert row.startswith("[/INST] [bold]x[/bold] long") and row.endswith("5") and heading.startswith("NAME")
    assert all(len(line) <= 40 for line in table_text(("A", "B"), [("x" * 90, "y")], width=40).splitlines())


def test_an_error_is_one_readable_block() -> None:
    output, _, err = plain()
    output.problem(LlamaTuiError("It broke.", data="Nothing was lost.", remedy="Try again."))
    assert err.getvalue() == "llama-tui: It broke.\n  Nothing was lost.\n  Try again.\n"


def test_progress_is_replaced_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    screen = Screen()
    output = Output(out=io.StringIO(), err=screen)
    output.progress("a long line")
    output.progress("short")
    output.note("done")
    assert screen.getvalue().split("\r")[1:] == ["a long line", "short      ", "     ", "done\n"]
    other, _, err = plain()
    other.progress("one")
    other.progress("two")
    assert err.getvalue() == "one\n"


def test_colour_only_where_it_can_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    for term, no_colour, coloured in (("xterm", "", True), ("xterm", "1", False), ("dumb", "", False)):
        monkeypatch.setenv("TERM", term)
        monkeypatch.setenv("NO_COLOR", no_colour)
        screen = Screen()
        Output(out=screen, err=screen).say("x", "red")
        assert ("\x1b[31m" in screen.getvalue()) is coloured


def test_replies_one_after_the_other() -> None:
    output, out, _ = plain()
    with columns(output, ("a", "b")) as shown:
        shown.feed(1, "second ")
        shown.feed(0, "first ")
        shown.feed(1, "reply")
        shown.feed(0, "reply")
        shown.end(0)
        shown.feed(1, "!")
    assert out.getvalue() == "── a ──\nfirst reply\n── b ──\nsecond reply!\n"


def test_replies_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    screen = Screen()
    with columns(Output(out=screen, err=screen), (f"left {HOSTILE}", "right")) as shown:
        assert isinstance(shown, SideBySide)
        for number in range(100):
            shown.feed(0, f"{HOSTILE} {number}\n")
            shown.feed(1, f"other {number} ")
    end = screen.getvalue()[screen.getvalue().rindex("right") :]
    assert "other 0 " in end and "[bold]red[/bold]" in end and "99" in end
    assert "\x1b]52" not in screen.getvalue() and not any(code in screen.getvalue() for code in FORBIDDEN[1:])
