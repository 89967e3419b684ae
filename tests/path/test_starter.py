"""A machine with the starter model and no settings: it opens unasked, answers, and is asked by other verbs too."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.models import link_starter
from tests.path.conftest import Home
from tests.path.test_loop import ask
from tests.terminals import program

pytestmark = [pytest.mark.pty, pytest.mark.slow, pytest.mark.starter]
QUESTION = "Who wrote Romeo and Juliet?"


def test_it_opens_unasked_and_answers(home: Home, starter_model: Path) -> None:
    link_starter(home.paths.cache, starter_model)
    with home.open() as terminal:
        terminal.wait("SmolLM2-135M-Instruct")
        terminal.wait(lambda text: "smollm2" in text.splitlines()[0], 200)
        terminal.press("/set temperature 0", "enter")
        terminal.wait("greedy")
        ask(terminal, QUESTION)
        assert "Shakespeare" in terminal.text


def test_a_copy_of_the_file_under_another_name_answers_the_same(home: Home, starter_model: Path) -> None:
    link_starter(home.paths.cache, starter_model)
    other = home.folder / "small.Q4_1.gguf"
    other.symlink_to(starter_model)
    replies = [
        json.loads(
            subprocess.run(
                [*program(), "ask", "--json", "--temperature", "0", "--max-new-tokens", "20", *model, QUESTION],
                env={**os.environ, **home.environment},
                cwd=home.folder,
                capture_output=True,
                text=True,
                check=True,
            ).stdout.splitlines()[-1]
        )["reply"]
        for model in ((), ("--model", other.name))
    ]
    assert replies[0] == replies[1] != ""
