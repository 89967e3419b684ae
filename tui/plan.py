"""What a run would train on, as lines: for the command line, the line REPL and the screens."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import msgspec

from sessions.training.preview import Preview
from sessions.training.recipe import Recipe

Style = Literal["", "bold", "dim", "yellow"]


class Line(NamedTuple):
    """One line and how it is shown."""

    text: str
    style: Style = ""


class Change(NamedTuple):
    """A setting that differs from its default."""

    name: str
    value: str
    default: str


def plan_of(
    preview: Preview, adapter: str, recipe: Recipe | None = None, hints: Mapping[str, str] = MappingProxyType({})
) -> list[Line]:
    """What is trained and under which name, where every other kept reply goes, and which settings are changed.

    `hints` say what to do about a reason for which replies are left out, and about a `warning`.
    """
    if preview.new:
        lines = [Line(preview.headline, "bold"), Line(f"Published as the next version of {adapter}.", "dim")]
    else:
        lines = [_hinted(preview.nothing, hints.get("import", "") if preview.left("import") else "", "yellow")]
    if preview.account:
        lines.append(Line(preview.account))
    if preview.selection.narrowed:
        lines.append(Line(f"Selected: {preview.selection}"))
    for each in preview.left_out:
        # The account has their numbers; of these there is more to say.
        if each.details and (preview.new or str(each) not in preview.nothing):
            lines.append(_hinted(str(each), hints.get(each.why, ""), "yellow" if each.why == "unfit" else ""))
    if preview.new and preview.replayed < preview.trained:
        lines.append(Line(f"{preview.replayed:,} of the {preview.trained:,} earlier replies are mixed in.", "dim"))
    if preview.warning:
        lines.append(_hinted(preview.warning, hints.get("warning", ""), "yellow"))
    if recipe is not None and (found := changes(recipe)):
        changed = ", ".join(f"{each.name} {each.value} (default {each.default})" for each in found)
        lines.append(Line(f"Settings: {changed}."))
    return lines


def _hinted(text: str, hint: str, style: Style) -> Line:
    return Line(f"{text} {hint}".strip(), style)


def changes(recipe: Recipe) -> list[Change]:
    """The settings that differ from the default recipe."""
    usual = msgspec.structs.asdict(Recipe())
    given = msgspec.structs.asdict(recipe)
    return [
        Change(name.replace("_", " "), value_text(value), value_text(usual[name]))
        for name, value in given.items()
        if value != usual[name]
    ]


def value_text(value: Any) -> str:
    """A value of a recipe as its field shows and reads it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return " | ".join(value) if any(" " in part for part in value) else ", ".join(value)
    return f"{value:g}" if isinstance(value, float) else str(value)
