"""What is wrong with a value of a settings or recipe file, in words for the person, and in which line it stands.

Knows nothing of single settings.
"""

from __future__ import annotations

import re
from typing import Literal, get_args, get_origin, get_type_hints

import msgspec

_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "bool": "true or false",
    "object": "a table",
    "array": "a list",
}
_BOUNDS = {">=": "{} or more", ">": "more than {}", "<=": "at most {}", "<": "less than {}"}
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_TYPE = re.compile(r"Expected `(.+?)`, got `(.+?)`")
_BOUND = re.compile(r"Expected `\w+` (of length )?(>=|>|<=|<) (\S+)")
_TABLE = re.compile(r"\s*\[+\s*(.+?)\s*\]")


def misfit(error: msgspec.ValidationError, kind: type[msgspec.Struct]) -> str:
    """One clause without a full stop, such as `epochs: a number is expected, not text`."""
    place, what = _parted(error)
    if (unknown := _UNKNOWN.match(what)) is not None:
        return f"{place}: there is no key {unknown[1]!r}" if place else f"there is no key {unknown[1]!r}"
    return f"{place}: {_said(what, place, kind)}" if place else what


def line_of(error: msgspec.ValidationError, text: str) -> int:
    """The line of a TOML text that an error is about, counted from 1; 0 where it is not found."""
    place, what = _parted(error)
    unknown = _UNKNOWN.match(what)
    wanted = ".".join(part for part in (place, unknown[1] if unknown else "") if part)
    table, near = "", 0
    for number, line in enumerate(text.splitlines(), 1):
        if (head := _TABLE.match(line)) is not None:
            table = here = _bare(head[1])
        else:
            key = _bare(line.partition("=")[0])
            here = f"{table}.{key}" if table else key
        if here == wanted:
            return number
        if here and wanted.startswith(f"{here}."):
            near = number
    return near


def _parted(error: msgspec.ValidationError) -> tuple[str, str]:
    """Where, as a dotted key without indices, and what."""
    what, _, place = str(error).partition(" - at `$")
    return re.sub(r"\[.*?\]", "", place.rstrip("`")).lstrip("."), what


def _said(what: str, place: str, kind: type[msgspec.Struct]) -> str:
    if (found := _TYPE.search(what)) is not None:
        return f"{_kinds(found[1])} is expected, not {_kinds(found[2])}"
    if (found := _BOUND.search(what)) is not None:
        bound = _BOUNDS[found[2]].format(found[3].removesuffix(".0"))
        return f"it has {bound} characters" if found[1] else f"it is {bound}"
    hint = get_type_hints(kind).get(place)
    if what.startswith("Invalid enum value") and get_origin(hint) is Literal:
        return f"{what.removeprefix('Invalid enum value ')} is none of {', '.join(get_args(hint))}"
    return what


def _kinds(names: str) -> str:
    return " or ".join(_KINDS.get(name, name) for name in names.split(" | ") if name != "null") or "nothing"


def _bare(key: str) -> str:
    return key.strip().strip("\"'")
