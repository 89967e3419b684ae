"""Commands in messages: typed as they are where the program is on PATH, by its path elsewhere."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import pytest

from sessions.command import command, installed, path_line, typed


@pytest.fixture(params=["plain", "with a blank"])
def bin_folder(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The programs of an environment, on no PATH."""
    folder = tmp_path / request.param / "bin"
    folder.mkdir(parents=True)
    for name in ("python", "llama-tui"):
        (folder / name).write_text("#!/bin/sh\necho called: $*\n")
        (folder / name).chmod(0o755)
    monkeypatch.setattr("sys.executable", str(folder / "python"))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    return folder


def shell(line: str) -> str:
    return subprocess.run(["/bin/sh", "-c", line], capture_output=True, text=True, check=True, env=os.environ).stdout


def test_by_its_path_where_it_is_not_on_path(bin_folder: Path) -> None:
    line = command("models", "get", "a b")
    assert shlex.split(line) == [str(bin_folder / "llama-tui"), "models", "get", "a b"]
    assert shell(line) == "called: models get a b\n"


def test_from_home_it_is_shorter_and_works_too(bin_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(bin_folder.parent))
    assert command("doctor") == "~/bin/llama-tui doctor" and shell(command("doctor")) == "called: doctor\n"


def test_the_line_for_path_makes_its_name_enough(bin_folder: Path) -> None:
    assert shell(f"{path_line()}; llama-tui doctor") == "called: doctor\n"


def test_by_its_name_where_it_is_on_path(bin_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    links = tmp_path / "links"
    links.mkdir()
    (links / "llama-tui").symlink_to(bin_folder / "llama-tui")
    monkeypatch.setenv("PATH", f"{links}:/usr/bin:/bin")
    assert command("--model", "demo") == "llama-tui --model demo" and path_line() == ""


def test_another_program_of_that_name_is_not_ours(
    bin_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "llama-tui").write_text("#!/bin/sh\n")
    (other / "llama-tui").chmod(0o755)
    monkeypatch.setenv("PATH", f"{other}:/usr/bin:/bin")
    assert typed("llama-tui") == shlex.quote(str(installed()))


def test_what_is_not_in_this_environment_keeps_its_name(bin_folder: Path) -> None:
    assert typed("hf") == "hf"
