"""The terminal goes in the middle of things: nothing is lost, the screen is restored, runs go on."""

from __future__ import annotations

import contextlib
import signal
import time

import pytest
from ptyprocess.ptyprocess import PtyProcessError

from corpora.dialog import Finish
from corpora.store import Store
from sessions.training import runs
from tests.models import tiny_llama
from tests.path.conftest import Home
from tests.terminals import Terminal

pytestmark = [pytest.mark.pty, pytest.mark.slow]
RESTORED = b"\x1b[?1049l"
"""Leaves the alternate screen."""


@pytest.fixture(scope="module")
def rambling(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model with random weights that never ends a reply by itself."""
    return str(tiny_llama(tmp_path_factory.mktemp("model"), hidden=256, layers=16, context=2048, endless=True))


def chatting(terminal: Terminal) -> None:
    """A reply is under way that takes a while."""
    terminal.wait("Ask something")
    terminal.press("/set temperature 0", "enter")
    terminal.wait("greedy")
    terminal.press("/set repetition_penalty 1", "enter")
    terminal.read(0.5)
    terminal.press("/set max_new_tokens 1900", "enter")
    terminal.read(0.5)
    terminal.press("Tell me everything", "enter")
    terminal.wait("esc stops", 60)
    terminal.read(1.0)


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_a_signal_in_the_middle_of_a_reply(home: Home, rambling: str, number: signal.Signals) -> None:
    with home.open("--model", rambling) as terminal:
        chatting(terminal)
        terminal.kill(number)
        terminal.wait_for_end()
        assert RESTORED in terminal.raw
    with_reply(home)


def test_a_closed_pty_in_the_middle_of_a_reply(home: Home, rambling: str) -> None:
    terminal = home.open("--model", rambling)
    chatting(terminal)
    with contextlib.suppress(PtyProcessError):  # it is given time to end by itself
        terminal.process.close(force=False)
    until(lambda: not any("llama-tui" in " ".join(process.cmdline()[:2]) for process in home.processes()))
    with_reply(home)


def test_a_killed_terminal_in_the_middle_of_a_reply(home: Home, rambling: str) -> None:
    with home.open("--model", rambling) as terminal:
        chatting(terminal)
        terminal.kill(signal.SIGKILL)
        terminal.wait_for_end()
    with_reply(home)
    # The same host serves the next terminal at once.
    with home.open("--model", rambling) as terminal:
        terminal.wait("Ask something")
        terminal.press("ctrl+o")
        terminal.wait("Tell me everything")
        terminal.press("escape")
        terminal.press("ctrl+q")
        terminal.wait_for_end()


def test_ctrl_c_stops_first_and_leaves_second(home: Home, rambling: str) -> None:
    with home.open("--model", rambling) as terminal:
        chatting(terminal)
        terminal.press("ctrl+c")
        terminal.wait(lambda text: "stopped ·" in text and "esc stops" not in text)
        terminal.press("ctrl+c")
        terminal.read(0.3)
        terminal.press("ctrl+c")
        assert terminal.wait_for_end() in (0, 130)
        assert RESTORED in terminal.raw
    with_reply(home)


def test_a_run_goes_on_without_the_terminal_and_is_picked_up(home: Home) -> None:
    with home.open("--model", "demo") as terminal:
        terminal.wait("Ask something")
        terminal.press("Who is my dentist?", "enter")
        terminal.wait(lambda text: "tokens ·" in text and "esc stops" not in text, 60)
        terminal.press("/correct Your dentist is Dr. Almeida.", "enter")
        terminal.wait("corrected")
        terminal.press("/train max_steps=60", "enter")
        terminal.wait("1 new reply, from the base.")
        terminal.press("enter")
        until(lambda: any(state.steps for state in runs.states(home.paths)), 60)
        terminal.kill(signal.SIGKILL)
        terminal.wait_for_end()
    (before,) = runs.states(home.paths)
    with home.open("--model", "demo") as terminal:
        terminal.wait("Ask something")
        terminal.press("f4")
        terminal.wait("mine/v1 is published", 90)
        terminal.press("ctrl+q")
        terminal.wait_for_end()
    (after,) = runs.states(home.paths)
    assert after.phase == "finished" and after.pid == before.pid
    assert [step.step for step in after.steps] == list(range(1, len(after.steps) + 1))


def with_reply(home: Home) -> None:
    """The prompt and what had come of the reply are stored."""
    store = Store(home.paths.corpus)
    until(lambda: store.page()[0].reply)
    exchange = store.page()[0]
    assert exchange.prompt == "Tell me everything"
    assert exchange.finish in (Finish.STOPPED, Finish.PARTIAL, Finish.EOS)
    store.close()


def until(holds: object, seconds: float = 15.0) -> None:
    """Wait for a condition outside of the terminal."""
    ends = time.monotonic() + seconds
    while not holds():  # type: ignore[operator]
        assert time.monotonic() < ends, "waited in vain"
        time.sleep(0.05)
