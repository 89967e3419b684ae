"""Paths: private folders, names that lead nowhere else, atomic writes, short sockets."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sessions.errors import HostUnreachable, UsageError
from sessions.paths import Paths, checked_name, private_folder, write_atomic


def test_a_home_of_ones_own_has_its_own_settings(tmp_path: Path) -> None:
    paths = Paths.find(str(tmp_path / "a"))
    assert paths.config == tmp_path / "a" / "config.toml"
    assert paths.corpus == tmp_path / "a" / "corpus.db"


def test_folders_and_files_are_private_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        folder = private_folder(tmp_path / "x" / "y")
        write_atomic(folder / "file", b"content")
    finally:
        os.umask(before)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "file").stat().st_mode) == 0o600


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    write_atomic(file, b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomic(file, b"new")
    assert file.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [file]


@given(st.text(max_size=80))
def test_names_cannot_lead_out_of_a_folder(name: str) -> None:
    try:
        checked_name(name)
    except UsageError:
        return
    inside = (Path("/home/adapters") / name).resolve()
    assert inside.parent == Path("/home/adapters") and len(name) <= 64


def test_sockets_fit_and_differ_by_home_and_model(paths: Paths, tmp_path: Path) -> None:
    other = Paths.find(str(tmp_path / "other"))
    sockets = {paths.socket("demo"), paths.socket("7b"), other.socket("demo")}
    assert len(sockets) == 3
    assert all(len(socket.name) < 30 for socket in sockets)


def test_a_runtime_folder_that_others_can_enter_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    folder = tmp_path / f"llama-tui-{os.getuid()}"
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(HostUnreachable, match="open to others"):
        Paths.find(str(tmp_path / "home"))


def test_folders_in_between_are_private_too(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        private_folder(tmp_path / "new" / "home" / "adapters" / "mine")
    finally:
        os.umask(before)
    made = [path for path in tmp_path.rglob("*") if path.is_dir()]
    assert len(made) == 4 and all(stat.S_IMODE(path.stat().st_mode) == 0o700 for path in made)
