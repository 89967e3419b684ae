"""Pastes and bytes as a terminal sends them: each paste one event with exactly its text, keys as quick as before."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual import constants, events
from textual._xterm_parser import XTermParser
from textual.drivers.linux_driver import LinuxDriver
from textual.message import Message

from sessions.engine.fake import FakeEngine
from tests.terminals import Terminal
from tests.tui.driving import paths_in
from tests.tui.test_terminal import program
from tui.driver import TerminalDriver, TerminalParser, driver_for
from tui.prompts import load_draft

START, END = "\x1b[200~", "\x1b[201~"
HOSTILE = "x \x1b]0;pwned\x07\r\x11 tail"
pieces = st.text(st.sampled_from("\x1b[201~0;mA\r\x07\x11é\ufdd0\U0001f408"), max_size=30)
pasted = pieces.filter(lambda text: END not in text)
keys = st.sampled_from(["a", "é", "\r", "\x11", "\x1b[A", "\x1b[1;5C", "\x1bOP"])
NAMES = {"\r": "enter", "\x11": "ctrl+q", "\x1b[A": "up", "\x1b[1;5C": "ctrl+right", "\x1bOP": "f1"}


def seen(messages: Iterable[Message]) -> list[str]:
    """What an app would hear, in short."""
    return [
        f"paste {one.text}" if isinstance(one, events.Paste) else one.key if isinstance(one, events.Key) else repr(one)
        for one in messages
    ]


def heard(parser: XTermParser, reads: Iterable[str]) -> list[str]:
    """The same for text that comes in several reads."""
    return [what for read in reads for what in seen(parser.feed(read))]


def cut(text: str, places: Iterable[int]) -> list[str]:
    """The text in reads; none is empty."""
    edges = [0, *sorted({place % len(text) for place in places} - {0}), len(text)] if text else []
    return [text[start:end] for start, end in zip(edges, edges[1:], strict=False)]


@given(st.lists(st.one_of(pasted.map(lambda text: START + text + END), keys)), st.lists(st.integers(0, 200)))
def test_pastes_and_keys_arrive_as_they_were_sent_however_they_are_cut(sent: list[str], places: list[int]) -> None:
    wanted = [f"paste {one[len(START) : -len(END)]}" if one.startswith(START) else NAMES.get(one, one) for one in sent]
    assert heard(TerminalParser(), cut("".join(sent), places)) == wanted


@pytest.mark.parametrize("text", [HOSTILE, "", "\x1b", "\x1b[201", START, "\x1b\x1b[201\x1b[20"])
def test_a_paste_is_whole_wherever_it_is_cut(text: str) -> None:
    sent = f"a{START}{text}{END}b{START}{text}{END}\x1b[A"
    wanted = ["a", f"paste {text}", "b", f"paste {text}", "up"]
    for place in range(len(sent)):
        assert heard(TerminalParser(), cut(sent, [place])) == wanted
    assert heard(TerminalParser(), sent) == wanted


def test_a_paste_larger_than_a_read_is_one() -> None:
    text = "\x1b[31mred\x1b[0m line\r" * 4096
    sent = START + text + END + "\r"
    assert heard(TerminalParser(), cut(sent, range(0, len(sent), 4096))) == [f"paste {text}", "enter"]


def test_nul_is_left_out_of_a_paste() -> None:
    assert heard(TerminalParser(), [f"{START}a\0\x1b\0b{END}"]) == ["paste a\x1bb"]


@given(st.lists(pieces.filter(bool)).filter(lambda reads: START not in "".join(reads)))
def test_outside_pastes_every_read_is_heard_at_once_as_ever(reads: list[str]) -> None:
    parser, textual = TerminalParser(), XTermParser()
    for read in reads:
        assert heard(parser, [read]) == heard(textual, [read])


def given_up(parser: XTermParser) -> list[str]:
    """What is heard when a begun sequence has had its time."""
    ends = time.monotonic() + 10
    while not (given := seen(parser.tick())):
        assert time.monotonic() < ends, "nothing comes"
        time.sleep(constants.ESCAPE_DELAY / 10)
    return given


def test_a_lone_escape_is_the_key_and_no_beginning_of_a_paste() -> None:
    parser = TerminalParser()
    assert not heard(parser, ["\x1b"])
    assert given_up(parser) == ["escape"]
    assert heard(parser, ["[200~a"]) == ["left_square_bracket", "2", "0", "0", "tilde", "a"]


@pytest.mark.parametrize("impossible", ["\x1b[99999999u", "\x1b[1;2;99999999999u"])
def test_a_key_that_no_keyboard_has_does_not_end_the_reading(impossible: str) -> None:
    parser = TerminalParser()
    assert not heard(parser, [impossible])
    assert given_up(parser)
    assert heard(parser, ["a"]) == ["a"]


def test_the_app_gets_the_driver_unless_another_is_named() -> None:
    class Named(LinuxDriver):
        pass

    assert driver_for(LinuxDriver) is TerminalDriver
    assert driver_for(Named) is Named


@contextlib.contextmanager
def app(folder: Path) -> Iterator[tuple[Terminal, FakeEngine]]:
    """The app on its chat screen, with what the model is asked."""
    engine = FakeEngine()
    with program(folder, engine, columns=80, rows=24) as terminal:
        yield terminal, engine


def wait_for_draft(terminal: Terminal, folder: Path, text: str) -> None:
    """Until the app has kept what stands in the prompt."""
    terminal.wait(lambda screen: load_draft(paths_in(folder)).prompt == text)


@pytest.mark.pty
def test_a_paste_with_codes_stands_whole_in_the_prompt(tmp_path: Path) -> None:
    with app(tmp_path) as (terminal, engine):
        before = len(terminal.raw)
        terminal.press(START + HOSTILE + END)
        terminal.wait("tail")
        terminal.press("more")
        terminal.wait("tailmore")
        wait_for_draft(terminal, tmp_path, HOSTILE.replace("\r", "\n") + "more")
        assert terminal.process.isalive() and not engine.requests
        for leak in (b"\x1b]", b"\x11", b"\x07"):
            assert leak not in terminal.raw[before:], leak


@pytest.mark.pty
def test_a_long_coloured_log_is_pasted_whole(tmp_path: Path) -> None:
    log = "".join(f"\x1b[3{number % 8}mline {number}\x1b[0m\r" for number in range(600)) + "the end"
    with app(tmp_path) as (terminal, engine):
        terminal.press(START + log + END)
        wait_for_draft(terminal, tmp_path, log.replace("\r", "\n"))
        assert terminal.process.isalive() and not engine.requests


@pytest.mark.pty
def test_a_byte_that_is_no_utf8_is_replaced_and_typing_goes_on(tmp_path: Path) -> None:
    with app(tmp_path) as (terminal, _):
        for sent in (b"caf\xe9 ", START.encode() + b"na\xefve" + END.encode(), "cliché".encode()):
            os.write(terminal.process.fd, sent)
        terminal.wait("caf\ufffd na\ufffdvecliché")
        assert terminal.process.isalive()


@pytest.mark.pty
def test_a_paste_into_a_line_is_clean(tmp_path: Path) -> None:
    with app(tmp_path) as (terminal, engine):
        terminal.press("ctrl+o")
        terminal.wait("Search titles")
        terminal.press(START + HOSTILE + END)
        terminal.wait("tail")
        assert terminal.process.isalive() and not engine.requests and b"\x1b]0;pwned" not in terminal.raw
