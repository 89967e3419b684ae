"""The terminal's process imports no torch, and the layers hold, looked at in real processes."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("torch", "transformers", "peft", "trl", "bitsandbytes", "accelerate", "datasets")


def loaded_after(code: str) -> set[str]:
    """Names of top-level modules in a fresh process that ran `code`."""
    look = f"{code}\nimport sys; print(' '.join({{name.partition('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    return set(done.stdout.split("\n")[-2].split())


@pytest.mark.parametrize(
    "module",
    [
        "corpora.store",
        "corpora.dataset",
        "corpora.llama2",
        "corpora.formats",
        "sessions.workspace",
        "sessions.chat",
        "sessions.comparing",
        "sessions.launch",
        "sessions.host",
        "sessions.engine.fake",
        "sessions.training.runs",
        "tui.app",
        "tui.cli",
        "tui.repl",
        "tui.screens.chat",
        "tui.screens.corpus",
        "tui.screens.train",
        "tui.screens.adapters",
        "tui.screens.compare",
        "tui.screens.settings",
    ],
)
def test_no_torch_in_the_terminal(module: str) -> None:
    assert loaded_after(f"import {module}").isdisjoint(HEAVY)


@pytest.mark.parametrize("module", ["corpora.store", "corpora.curation", "sessions.workspace", "sessions.host"])
def test_data_and_sessions_know_no_screens(module: str) -> None:
    assert loaded_after(f"import {module}").isdisjoint({"textual", "prompt_toolkit", "tui"})


def test_help_imports_next_to_nothing() -> None:
    code = "import sys; from tui.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass"
    assert loaded_after(code).isdisjoint({*HEAVY, "textual", "prompt_toolkit", "psutil", "numpy"})
