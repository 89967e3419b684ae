"""The colours of the app's theme, as drawing needs them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from textual.app import App
from textual.color import Color, ColorParseError


@dataclass(frozen=True, slots=True)
class Look:
    """Hex values; `code` is a Pygments style."""

    accent: str = "#ffa62b"
    muted: str = "#808080"
    ground: str = "#1e1e1e"
    code: str = "monokai"


def look_of(app: App[Any]) -> Look:
    """The look of the theme that is on."""
    known = _LOOKS.get(app.theme)
    if known is None:
        known = _LOOKS[app.theme] = _read(app)
    return known


_LOOKS: dict[str, Look] = {}


def _read(app: App[Any]) -> Look:
    variables = app.theme_variables
    dark = app.current_theme.dark
    fallback = Look()
    return Look(
        accent=_hex(variables.get("text-accent", ""), fallback.accent),
        muted=_mixed(variables.get("foreground", ""), variables.get("background", ""), fallback.muted),
        ground=_hex(variables.get("surface", ""), fallback.ground),
        code="monokai" if dark else "friendly",
    )


def _hex(value: str, otherwise: str) -> str:
    try:
        return Color.parse(value).hex6
    except ColorParseError:
        return otherwise


def _mixed(front: str, back: str, otherwise: str) -> str:
    try:
        return Color.parse(front).blend(Color.parse(back), 0.4).hex6
    except ColorParseError:
        return otherwise
