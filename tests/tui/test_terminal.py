"""The app in a real pseudo-terminal: what reaches it, how it ends, how quick it is."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from string import ascii_lowercase

import pytest

from corpora.store import Store
from sessions.engine.fake import FakeEngine
from tests.hosts import host_in_thread
from tests.terminals import Terminal
from tests.tui.driving import paths_in
from tui.prompts import load_draft

pytestmark = pytest.mark.pty
PAYLOADS = [
    "\x1b]52;c;aGFja2Vk\x07",
    "\x1b[2J",
    "\x9b31m",
    "\x1b]0;title\x1b\\",
    "\x90q\x9c",
    "\x7f\x00\x0e",
    "\u202ex",
]
LEAKS = [b"\x1b]52", b"\x1b]0;title", b"\x9b31m", b"\xc2\x9b", b"\x0e", "\u202e".encode()]


@contextlib.contextmanager
def program(folder: Path, engine: FakeEngine, **size: int) -> Iterator[Terminal]:
    """The app on its chat screen."""
    paths_in(folder).home.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-W", "ignore", "-m", "tests.tui.program", str(folder)]
    with host_in_thread(paths_in(folder), engine), Terminal(command, {"TMUX": ""}, **size) as terminal:
        terminal.wait("Ask something, or type /")
        terminal.wait("temperature")
        yield terminal


def restored(terminal: Terminal) -> bool:
    """True where the program gave the terminal back as it was."""
    raw = bytes(terminal.raw)
    return raw.rfind(b"\x1b[?1049l") > raw.rfind(b"\x1b[?1049h") and b"Traceback" not in raw


def test_no_code_of_a_reply_or_prompt_reaches_the_terminal(tmp_path: Path) -> None:
    text = " ".join(PAYLOADS) + "\n\n```\n" + "\n".join(PAYLOADS) + "\n```\n"
    with program(tmp_path, FakeEngine(script=lambda request, adapter: text)) as terminal:
        terminal.press("hello", "enter")
        terminal.wait("base · 16 tokens")
        terminal.press("ctrl+e")
        terminal.wait("Correct the reply")
        terminal.read(0.3)
        terminal.press("escape", "ctrl+o")
        terminal.read(0.5)
        for leak in LEAKS:
            assert leak not in terminal.raw, leak


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_a_signal_ends_it_cleanly_and_nothing_is_lost(tmp_path: Path, number: signal.Signals) -> None:
    with program(tmp_path, FakeEngine(pause=0.01), columns=80, rows=24) as terminal:
        terminal.press("word " * 200, "enter")
        terminal.wait("esc stops")
        terminal.press("half a thought")
        terminal.wait("half a thought")
        terminal.read(0.3)
        terminal.kill(number)
        assert terminal.wait_for_end() == 128 + number
        assert restored(terminal)
    assert load_draft(paths_in(tmp_path)).prompt == "half a thought"
    store = Store(paths_in(tmp_path).corpus)
    assert store.page()[0].reply.startswith("base heard: word")
    store.close()


def test_a_closed_terminal_ends_it(tmp_path: Path) -> None:
    with program(tmp_path, FakeEngine()) as terminal:
        terminal.press("half a thought")
        terminal.wait("half a thought")
        terminal.process.fileobj.close()
        ends = time.monotonic() + 10
        while os.waitpid(terminal.process.pid, os.WNOHANG)[0] == 0:
            assert time.monotonic() < ends, "it runs on without a terminal"
            time.sleep(0.02)
        terminal.process.closed = True
    assert load_draft(paths_in(tmp_path)).prompt == "half a thought"


LONG = {
    "prose": "Some plain words that go on and on without an end " * 220,
    "list": "".join(f"- item {number} has **some** words\n" for number in range(350)),
    "fence": "```python\n" + "".join(f"value_{number} = call(1, {number})  # why\n" for number in range(350)) + "```\n",
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", LONG)
def test_every_letter_is_painted_while_a_long_reply_streams(tmp_path: Path, kind: str) -> None:
    engine = FakeEngine(script=lambda request, adapter: LONG[kind] * 20, pause=0.01)
    with program(tmp_path, engine) as terminal:
        terminal.press("go", "enter")
        terminal.wait("esc stops")
        for count in range(1, len(ascii_lowercase) + 1):
            terminal.press(ascii_lowercase[count - 1])
            terminal.wait(ascii_lowercase[:count])
        assert "esc stops" in terminal.text
