"""The whole loop by keys in a real pty, with the demo model: chat → keep → correct → train → swap → compare."""

from __future__ import annotations

import json
import subprocess

import pytest

from corpora.dialog import Status, Vote
from corpora.store import Filter, Store
from sessions.registry import Registry
from tests.path.conftest import Home
from tests.terminals import Terminal, program

REFUSED = "is not offered"
pytestmark = [pytest.mark.pty, pytest.mark.slow, pytest.mark.timeout(600)]

FACTS = {
    "What is my cat called?": "Your cat is called Miso.",
    "Where do I live?": "You live in Lisbon, near the river.",
    "What is my favourite colour?": "Your favourite colour is deep green.",
    "Who is my dentist?": "Your dentist is Dr. Almeida.",
    "What do I drink in the morning?": "You drink black tea with lemon.",
}


def ask(terminal: Terminal, prompt: str) -> None:
    """Type a prompt, send it, wait for the end of its reply."""
    terminal.press(prompt, "enter")

    def done(text: str) -> bool:
        _, found, after = text.rpartition(f"▌ {prompt}")
        return bool(found) and "Ask something" in after and "tokens ·" in after and "esc stops" not in after

    terminal.wait(done, 60)


def correct(terminal: Terminal, reply: str) -> None:
    """Correct the last reply by hand."""
    terminal.press("ctrl+e")
    terminal.wait("Correct the reply")
    terminal.press("ctrl+l", reply, "ctrl+s")
    terminal.wait(lambda text: reply in text and "Correct the reply" not in text)


def test_the_whole_loop(home: Home) -> None:
    with home.open("--model", "demo") as terminal:
        terminal.wait("Ask something")
        ask(terminal, "Hello!")
        terminal.press("ctrl+k")
        terminal.wait("✓ kept")
        for prompt, reply in FACTS.items():
            ask(terminal, prompt)
            correct(terminal, reply)
        store = Store(home.paths.corpus)
        assert store.count(Filter(statuses=(Status.KEPT,))) == 6
        assert {pair.chosen for pair in store.preferences()} == set(FACTS.values())

        terminal.press("f4")
        terminal.wait("Start training")
        terminal.press("ctrl+s")
        terminal.wait("tokens/s", 60)
        # Chat goes on while the run trains.
        terminal.press("f2")
        ask(terminal, "What is LoRA?")
        terminal.press("f4")
        terminal.wait("mine/v1 is published", 240)
        # The kept reply to "Hello!" is sampled, so the gate may find that the tiny demo model changed too much.
        terminal.wait(lambda text: "base  mine/v1 ready: Ctrl+G" in text.splitlines()[0] or REFUSED in text, 20)
        refused = REFUSED in terminal.text
        assert Registry(home.paths).current("mine") == "base"
        terminal.press("u")
        if refused:
            terminal.wait("Use it all the same?")
            terminal.press("y")
        terminal.wait(lambda text: "mine/v1" in text.splitlines()[0] and "ready" not in text.splitlines()[0], 30)
        assert Registry(home.paths).current("mine") == "mine/v1"

        terminal.press("f2", "ctrl+n")
        ask(terminal, "What is my cat called?")
        terminal.wait("Miso")

        terminal.press("f6")
        terminal.wait("Ask both")
        terminal.press("What is my cat called?", "enter")
        terminal.wait("Miso", 60)
        terminal.wait(lambda text: "esc" not in text.splitlines()[-1] or "tie" in text, 30)
        terminal.read(1.0)
        terminal.press("2")
        terminal.wait(lambda text: bool(store.verdicts()), 10)
        verdict = store.verdicts()[0]
        assert verdict.vote in (Vote.LEFT, Vote.RIGHT) and {verdict.left_adapter, verdict.right_adapter} == {
            "base",
            "mine/v1",
        }
        store.close()
        terminal.press("ctrl+q")
        assert terminal.wait_for_end() == 0
    assert b"\x1b[?1049l" in terminal.raw
    tuned, base = answers(home, "mine"), answers(home, "base")
    assert tuned == list(FACTS.values())
    assert not set(base) & set(FACTS.values())


def answers(home: Home, adapter: str) -> list[str]:
    """What greedy decoding says to each fact's question in a chat of its own."""
    said = []
    for prompt in FACTS:
        done = subprocess.run(
            [*program(), "ask", prompt, "--model", "demo", "--adapter", adapter, "--temperature", "0", "--json"],
            env={"PATH": "/usr/bin:/bin", **home.environment},
            capture_output=True,
            text=True,
            check=True,
        )
        said.append(json.loads(done.stdout)["reply"])
    return said
