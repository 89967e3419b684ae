"""Settings and recipes: typed, documented, unknown keys refused, comments kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from sessions import settings
from sessions.errors import SettingsError
from sessions.settings import Settings


def test_without_a_file_the_defaults_hold(tmp_path: Path) -> None:
    assert settings.load(tmp_path / "config.toml") == Settings()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("modle = 'demo'", "modle"),
        ("keep_alive = 'long'", "keep_alive"),
        ("keep_alive = -1", "keep_alive"),
        ("auto_use = 'always'", "always"),
        ("[sampling]\ntop_p = 7", "top_p"),
        ("[sampling]\ntopp = 0.5", "topp"),
        ("model = ", "nvalid value"),
    ],
)
def test_a_wrong_file_is_refused_with_its_place(tmp_path: Path, content: str, said: str) -> None:
    file = tmp_path / "config.toml"
    file.write_text(content)
    with pytest.raises(SettingsError, match=said):
        settings.load(file)
    assert file.read_text() == content


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SettingsError):
        settings.load(tmp_path / "config.toml")


def test_a_change_keeps_comments_and_other_keys(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text("# mine\nmodel = 'demo' # the small one\n")
    new = settings.save(file, theme="textual-light", sampling={"temperature": 0.0})
    assert new.theme == "textual-light" and new.sampling.temperature == 0 and new.model == "demo"
    assert settings.load(file) == new
    assert "# mine" in file.read_text() and "# the small one" in file.read_text()


def test_a_change_that_cannot_be_leaves_the_file(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    settings.save(file, model="demo")
    before = file.read_text()
    with pytest.raises(SettingsError):
        settings.save(file, keep_alive=-5)
    with pytest.raises(SettingsError):
        settings.save(file, nonsense=1)
    assert file.read_text() == before
