"""What is wrong with a value: in words, with the line."""

from __future__ import annotations

from pathlib import Path

import pytest

from sessions import settings
from sessions.errors import SettingsError
from sessions.training import recipe


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("epochs", "x", "epochs: a number is expected, not text"),
        ("rank", "1.5", "rank: a whole number is expected, not text"),
        ("rank", 0, "rank: it is 1 or more"),
        ("dropout", "2", "dropout: it is at most 1"),
        ("tensorboard", "maybe", "tensorboard: true or false is expected, not text"),
        ("schedule", "q", "schedule: 'q' is none of constant, cosine, linear"),
    ],
)
def test_a_value_that_does_not_fit_a_recipe(field: str, value: object, said: str) -> None:
    with pytest.raises(SettingsError) as error:
        recipe.changed(recipe.Recipe(), **{field: value})
    assert error.value.what == f"That does not fit the recipe: {said}."


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("# mine\nmodle = 'demo'", "line 2: there is no key 'modle'"),
        ("theme = 'x'\n[sampling]\ntop_k = 1\ntopp = 0.5", "line 4: sampling: there is no key 'topp'"),
        ("sampling = { topp = 0.5 }", "line 1: sampling: there is no key 'topp'"),
        ("[sampling]\nseed = 'q'", "line 2: sampling.seed: a whole number is expected, not text"),
        ("sampling = 3", "line 1: sampling: a table is expected, not a whole number"),
        ("[sampling]\ntop_p = 7", "top_p is above 0 and at most 1 (off)"),
    ],
)
def test_a_file_of_settings_is_refused_with_key_and_line(tmp_path: Path, content: str, said: str) -> None:
    file = tmp_path / "config.toml"
    file.write_text(content)
    with pytest.raises(SettingsError) as error:
        settings.load(file)
    assert error.value.what == f"{file} cannot be used: {said}."


def test_a_recipe_that_is_not_there() -> None:
    with pytest.raises(SettingsError, match="there is no such file"):
        recipe.load("nowhere.toml")
