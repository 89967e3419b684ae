"""The line REPL in a real terminal, with its signals and the person's own editor."""

from __future__ import annotations

import signal

import pytest

from corpora.dialog import Finish
from sessions.engine.fake import FakeEngine
from sessions.paths import Paths
from tests.hosts import host_in_thread
from tests.terminals import Terminal, program
from tests.tui.calling import HOSTILE, Caller


def answer_cursor(tty: Terminal) -> None:
    """Tell the program where the cursor is, as terminals do."""

    def answer(data: str) -> None:
        tty.process.write(data.replace("\x9b", "\x1b[").encode())

    tty.screen.write_process_input = answer


@pytest.mark.pty
def test_in_a_real_terminal(paths: Paths) -> None:
    engine = FakeEngine()
    with (
        host_in_thread(paths, engine),
        Terminal(
            [*program(), "repl", "--model", "fake"], {"LLAMA_TUI_HOME": str(paths.home)}, columns=100, rows=24
        ) as tty,
    ):
        answer_cursor(tty)
        tty.wait("base · context")
        tty.press("hello", "enter")
        tty.wait("base heard: hello")
        engine.script, engine.pause = (lambda request, adapter: "word " * 5000), 0.002
        tty.press("go on", "enter")
        tty.wait("word word")
        tty.press("ctrl+c")
        tty.wait("(stopped; what has come is saved)")
        engine.script, engine.pause = (lambda request, adapter: f"{HOSTILE} end"), 0.0
        tty.press("/ke", "tab", "enter")
        tty.wait("1 kept in all")
        tty.press(HOSTILE.translate(dict.fromkeys(map(ord, "\x1b\x07\x9b"))).replace("[/INST]", ""), "enter")
        tty.wait("end")
        written = tty.raw.decode("utf-8", "replace")
        assert "\x1b]52" not in written and "\x9b" not in written
        tty.press("ctrl+d")
        assert tty.wait_for_end() == 0


@pytest.mark.pty
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_terminal_that_goes_away_loses_nothing(run: Caller, paths: Paths, number: signal.Signals) -> None:
    engine = FakeEngine(script=lambda request, adapter: "word " * 5000, pause=0.002)
    command = [*program(), "repl", "--model", "fake"]
    with host_in_thread(paths, engine), Terminal(command, {}, columns=100, rows=24) as tty:
        answer_cursor(tty)
        tty.wait("base · context")
        tty.press("hello", "enter")
        tty.wait("word word")
        tty.kill(number)
        assert tty.wait_for_end() == 130
    with run.store() as store:
        (exchange,) = store.page()
    assert exchange.finish is Finish.STOPPED and exchange.reply.startswith("word word")


@pytest.mark.pty
def test_a_correction_in_the_persons_own_editor(run: Caller, paths: Paths) -> None:
    command = [*program(), "repl", "--model", "fake"]
    with (
        host_in_thread(paths),
        Terminal(command, {"VISUAL": "sed -i s/heard/understood/"}, columns=100, rows=24) as tty,
    ):
        answer_cursor(tty)
        tty.wait("base · context")
        tty.press("hello", "enter")
        tty.wait("base heard: hello")
        tty.press("/correct", "enter")
        tty.wait("Corrected and kept")
        tty.press("ctrl+d")
        assert tty.wait_for_end() == 0
    with run.store() as store:
        assert store.page()[0].reply == "base understood: hello"


@pytest.mark.pty
def test_a_dumb_terminal_gets_plain_lines(run: Caller, paths: Paths) -> None:
    command = [*program(), "--model", "fake"]
    with host_in_thread(paths), Terminal(command, {"TERM": "dumb"}, columns=100, rows=24) as tty:
        tty.wait("/help explains")
        tty.press("hello\n")
        tty.wait("base heard: hello")
        tty.press("/correct\n")
        tty.wait("a single . ends it")
        tty.press("better\nlines\n.\n")
        tty.wait("Corrected and kept")
        tty.press("ctrl+c")
        assert tty.wait_for_end() == 130
        assert b"\x1b" not in tty.raw
    with run.store() as store:
        assert store.page()[0].reply == "better\nlines"
