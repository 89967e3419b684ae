"""The words after `/train`, and the flags of `train`."""

from __future__ import annotations

import pytest

from corpora.errors import UsageError
from corpora.selection import ALL_FILES, Group, Selection
from sessions.errors import SettingsError
from sessions.training.recipe import Recipe
from tui.train_request import Asked, read_words, target_of

USUAL = Selection(query="tag:cat", off=(Group("tag", "x"),), files=("a.json",), sample=5)


@pytest.mark.parametrize(
    ("line", "query", "recipe"),
    [
        ("", None, Recipe()),
        ("rank=8 epochs=2", None, Recipe(rank=8, epochs=2.0)),
        ("tag:cat rank=8 two words", "tag:cat  two words", Recipe(rank=8)),
        ('rating:>=4 "two words"', 'rating:>=4 "two words"', Recipe()),
        ("len:>=200 date:>=2026-01", "len:>=200 date:>=2026-01", Recipe()),
        ('""', "", Recipe()),
        ('samples="Who are you? Tell."', None, Recipe(samples=("Who are you? Tell.",))),
        ("learning-rate=1e-4", None, Recipe(learning_rate=1e-4)),
    ],
)
def test_words_are_a_query_and_settings(line: str, query: str | None, recipe: Recipe) -> None:
    asked, found = read_words(line)
    assert (asked.query, found) == (query, recipe)


def test_sample_seed_and_imports() -> None:
    asked, recipe = read_words("river sample=100 seed=3 imported=yes")
    assert asked == Asked("river", 100, 3, True) and recipe == Recipe(seed=3)
    assert asked.applied(USUAL) == Selection(query="river", files=ALL_FILES, sample=100, seed=3)
    assert Asked().applied(USUAL) == USUAL
    assert Asked(sample=0).applied(USUAL).sample == 0
    assert Asked(query="").applied(USUAL) == Selection()


def test_wrong_words_are_refused() -> None:
    for line, error in (("ranks=8", SettingsError), ("rank=many", SettingsError), ("sample=all", UsageError)):
        with pytest.raises(error):
            read_words(line)
    with pytest.raises(UsageError):
        Asked(sample=-1).applied(Selection())


def test_the_version_that_answers_gets_its_successor() -> None:
    assert target_of("base", "mine") == ("mine", "base")
    assert target_of("persian/v2", "mine") == ("persian", "persian/v2")
