"""`make run`: what it calls, with a program that only writes down how it was called."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = """#!/bin/sh
echo "called: $*"
"""

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


@pytest.fixture
def venv(tmp_path: Path) -> Path:
    """An environment that is set up, newer than what it is made from."""
    folder = tmp_path / "venv"
    (folder / "bin").mkdir(parents=True)
    (folder / ".ready").touch()
    program = folder / "bin" / "llama-tui"
    program.write_text(PROGRAM)
    program.chmod(0o755)
    return folder


def make(venv: Path, *words: str, path: str = "") -> list[str]:
    environment = {**os.environ, "PATH": f"{path}{os.pathsep}{os.environ['PATH']}", "MAKEFLAGS": ""}
    done = subprocess.run(
        ["make", "--no-print-directory", "run", f"VENV={venv}", *words],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


def test_the_starter_model_is_fetched_once_and_the_default_opens(venv: Path) -> None:
    first, second = make(venv), make(venv)
    assert [line for line in first if "called" in line] == ["called: models get smollm2 --optional", "called: "]
    assert [line for line in second if "called" in line] == ["called: "]


def test_a_named_model_opens_and_nothing_is_fetched(venv: Path) -> None:
    called = [line for line in make(venv, "MODEL=my model.gguf", "ARGS=repl --plain") if "called" in line]
    assert called == ["called: --model my model.gguf repl --plain"]


def test_the_command_and_the_line_for_path_are_printed(venv: Path) -> None:
    said = make(venv)
    assert f"The command is {venv}/bin/llama-tui" in said
    assert f'  export PATH="{venv}/bin:$PATH"' in said
    assert not [each for each in make(venv, path=f"{venv}/bin") if "export PATH" in each]
