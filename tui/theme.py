"""Colours that all screens share: a theme's accent is the only one for what is marked, framed or scrolled."""

from __future__ import annotations

from textual.color import Color

GROUNDS = (
    "scrollbar-background",
    "scrollbar-background-hover",
    "scrollbar-background-active",
    "scrollbar-corner-color",
)


def with_one_accent(variables: dict[str, str]) -> dict[str, str]:
    """The CSS variables of a theme, calmer."""
    ground, front, accent = (Color.parse(variables[name]) for name in ("background", "foreground", "accent"))
    return {
        **variables,
        "block-cursor-background": ground.blend(accent, 0.35).hex,
        "block-cursor-foreground": front.hex,
        "block-cursor-blurred-background": ground.blend(accent, 0.15).hex,
        "border": accent.hex,
        "panel": ground.blend(front, 0.12).hex,
        "input-selection-background": accent.with_alpha(0.4).hex,
        "scrollbar": ground.blend(front, 0.25).hex,
        "scrollbar-hover": ground.blend(front, 0.4).hex,
        "scrollbar-active": accent.hex,
        "footer-key-foreground": variables["text-accent"],
        **dict.fromkeys(GROUNDS, variables["background"]),
    }
