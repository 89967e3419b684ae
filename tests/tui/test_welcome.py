"""The empty chat: which model answers, and commands that work where the person is."""

from __future__ import annotations

from pathlib import Path

import pytest

from tui.widgets import welcome


def text(model: str) -> str:
    return welcome.content(model).plain


def test_the_demo_model_names_the_starter_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("python", "llama-tui"):
        (tmp_path / name).touch(0o755)
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    assert f"{tmp_path}/llama-tui --model smollm2" in text("demo")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert ": llama-tui --model smollm2" in text("demo") and "llama-tui models list" in text("demo")


def test_the_starter_model_names_larger_ones() -> None:
    assert "SmolLM2-135M-Instruct" in text("smollm2") and "models list" in text("smollm2")
    assert "--model smollm2" not in text("smollm2")


def test_another_model_is_named_and_cleaned() -> None:
    assert text("me/mine").endswith("The model is me/mine.")
    assert "\x1b" not in text("/tmp/\x1b[31mred.gguf")


def test_before_a_model_is_known_nothing_is_said_of_it() -> None:
    assert "model" not in text("").lower()
