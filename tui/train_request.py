"""What a run is asked to do, out of the flags of `train` and the words after `/train`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from corpora.errors import UsageError
from corpora.selection import ALL_FILES, Selection
from sessions.protocol import BASE
from sessions.training import recipe as recipes
from sessions.training.recipe import Recipe

SETTING = re.compile(r'(?<!\S)([A-Za-z][\w-]*)=("[^"]*"|\S*)')
"""A word such as `rank=8`. A query has `key:value` words."""
IMPORTED = "imported"


@dataclass(frozen=True, slots=True)
class Asked:
    """Changes to the selection that is the default, None for none."""

    query: str | None = None
    sample: int | None = None
    seed: int | None = None
    imported: bool = False

    def applied(self, usual: Selection) -> Selection:
        """The selection of the run: a query starts from an empty one, the rest changes the `usual` one.

        Raises UsageError.
        """
        found = usual if self.query is None else Selection(query=self.query.strip())
        if self.sample is not None:
            if self.sample < 0:
                raise UsageError(f"A sample of {self.sample} replies cannot be taken.", remedy="0 takes all of them.")
            found = replace(found, sample=self.sample)
        if self.seed is not None:
            found = replace(found, seed=self.seed)
        return replace(found, files=ALL_FILES) if self.imported else found


def read_words(line: str) -> tuple[Asked, Recipe]:
    """The words after `/train`: settings of the recipe, `sample=N`, `seed=N`, `imported=yes`; the rest is a query.

    Raises UsageError, SettingsError.
    """
    settings = {name.replace("-", "_"): value.strip('"') for name, value in SETTING.findall(line)}
    query = SETTING.sub("", line).strip()
    own = {name: settings.pop(name) for name in ("sample", IMPORTED) if name in settings}
    recipe = recipes.changed(recipes.RECIPES["default"], **settings)
    asked = Asked(
        query={"": None, '""': ""}.get(query, query),
        sample=_number("sample", own["sample"]) if "sample" in own else None,
        seed=recipe.seed if "seed" in settings else None,
        imported=own.get(IMPORTED, "no").lower() in ("yes", "all", "true", "on"),
    )
    return asked, recipe


def target_of(answering: str, configured: str) -> tuple[str, str]:
    """(adapter, version to continue) of a run from the chat: the version that answers gets its successor."""
    name = configured if answering == BASE else answering.partition("/")[0]
    return name, answering


def changed_recipe(recipe: Recipe, changes: Sequence[str]) -> Recipe:
    """The recipe with `key=value` changes. Raises UsageError, SettingsError."""
    pairs = {}
    for change in changes:
        key, sign, value = change.partition("=")
        if not sign or not key.strip():
            raise UsageError(f"{change!r} is no `key=value`.", remedy="For example: --set learning_rate=2e-4")
        pairs[key.strip().replace("-", "_")] = value.strip()
    return recipes.changed(recipe, **pairs)


def _number(name: str, value: str) -> int:
    try:
        return int(value)
    except ValueError as error:
        raise UsageError(f"{name}={value} is no number.", remedy=f"For example: {name}=100") from error
