"""Stop texts as a person types and reads them: bare, or as JSON where blanks and line ends matter."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from sessions.errors import SettingsError
from tui import render


def read(typed: str) -> tuple[str, ...]:
    """`###`, `"User:"`, `"a" "b"`, `["a", "b"]`; nothing or `none` for no stop text. Raises SettingsError."""
    text = typed.strip()
    if text in ("", "none"):
        return ()
    if text[0] not in '"[':
        return (unescaped(text),)
    found: list[Any] = []
    while text:
        value, text = _first(text)
        found += value if isinstance(value, list) else [value]
    if not all(isinstance(each, str) for each in found):
        raise _unreadable(typed)
    return tuple(found)


def unescaped(text: str) -> str:
    r"""Text in which `\n` and `\t` stand for a line end and a tab."""
    return text.replace("\\n", "\n").replace("\\t", "\t")


def told(stops: Iterable[str]) -> str:
    """In quotes, one after the other; `none` where there is none. `read` understands it."""
    return " ".join(json.dumps(stop, ensure_ascii=False) for stop in stops) or "none"


def _first(text: str) -> tuple[Any, str]:
    try:
        value, end = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError) as error:
        raise _unreadable(text) from error
    return value, text[end:].strip()


def _unreadable(typed: str) -> SettingsError:
    return SettingsError(
        f"{render.line(typed, 40)} is no stop text.",
        data="The old value stays.",
        remedy='For example: ### or "User:" or ["###", "\\n\\n"].',
    )
