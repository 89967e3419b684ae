"""The one query language of the screens and the command line: words to search for, and `key:value` words.

`tag:work script:han len:>200 date:2026-01 "as it stands"` becomes a `Filter`. Knows nothing of SQL or screens.
"""

from __future__ import annotations

import difflib
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass

from corpora.dialog import Status
from corpora.errors import UsageError
from corpora.scripts import SCRIPTS
from corpora.spans import DATES, NUMBERS, dates, numbers
from corpora.store import Filter, PairFilter

KEYS = {
    "status": "pending, kept, rejected or deferred",
    "tag": "a tag; several narrow it down",
    "source": "chat, or the file that it came from",
    "script": ", ".join((*SCRIPTS, "none")),
    "len": f"characters of prompt and reply: {NUMBERS}",
    "date": f"when it was added: {DATES}",
    "adapter": "who wrote it: base or NAME/vN",
    "in": "a version that was trained on it: NAME/vN",
    "rating": "stars, none or any: 4, >=4 or 2..4",
    "corrected": "yes or no",
    "trained": "yes or no",
}
PAIR_KEYS = ("source",)
LISTS = ("status", "tag", "source", "script")
NONE, ANY = "none", "any"
# Possessive, so that no text takes long.
_TOKEN = re.compile(r'([A-Za-z]++):((?:"(?:[^"]|"")*+"?+|[^\s"]++)++)|("[^"]*+"?+)|(\S++)')
_PART = re.compile(r'"((?:[^"]|"")*+)"?+|([^",]++)')
_TURNED = re.compile(r"-([a-z]+):")
_BARE = re.compile(r'[^\s",]+')


class Unfinished(UsageError):
    """A key whose value is still to be typed."""


@dataclass(frozen=True, slots=True)
class Word:
    """One word of a query as it was typed: text to search for (`key` empty), or a key with its values."""

    typed: str
    key: str = ""
    values: tuple[str, ...] = ()


def words(query: str) -> tuple[Word, ...]:
    """The words of a query. Raises UsageError for a key that there is not."""
    return tuple(_word(found[1], found[2], found[4], found[0]) for found in _TOKEN.finditer(query.replace("\0", " ")))


def parse(query: str) -> Filter:
    """The filter that a query means. Raises UsageError, which says which word and what it could be."""
    found = words(query)
    fields: dict[str, object] = {"text": _text(found)}
    for key in dict.fromkeys(word.key for word in found if word.key):
        values = tuple(value for word in found if word.key == key for value in word.values)
        fields |= _fields(key, values)
    return Filter(**fields)  # type: ignore[arg-type]


def parse_pairs(query: str) -> PairFilter:
    """The same for preference pairs, which know `source:` alone."""
    found = words(query)
    for word in found:
        if word.key and word.key not in PAIR_KEYS:
            raise UsageError(f"Pairs have no {word.key}.", remedy=f"They are filtered by {', '.join(PAIR_KEYS)}:")
    return PairFilter(_text(found), tuple(value for word in found if word.key for value in word.values))


def written(key: str, values: Iterable[str]) -> str:
    """A key with its values as a word of a query; empty without values. Tags are a word each: all must be there."""
    named = [_quoted(value) for value in values if value]
    if key == "tag":
        return " ".join(f"tag:{value}" for value in named)
    return f"{key}:{','.join(named)}" if named else ""


def replaced(query: str, key: str, values: Iterable[str]) -> str:
    """The query with all words of a key replaced by these values, at its end."""
    kept = [word.typed for word in words(query) if word.key != key]
    return " ".join(part for part in (*kept, written(key, values)) if part)


def values_of(query: str, key: str) -> tuple[str, ...]:
    """The values that a query gives for a key."""
    return tuple(value for word in words(query) if word.key == key for value in word.values)


def _word(key: str | None, given: str | None, bare: str | None, typed: str) -> Word:
    if key is None or given is None:
        _refuse_unfinished(bare or "")
        return Word(typed)
    name = key.lower()
    if name not in KEYS:
        # Addresses, code and paths hold colons too.
        if given.startswith(("/", ":", "\\")):
            return Word(typed)
        raise _unknown(name, typed)
    values = tuple(whole.replace('""', '"') or part for whole, part in _PART.findall(given))
    return Word(typed, name, tuple(value.strip() for value in values if value.strip()))


def _refuse_unfinished(bare: str) -> None:
    """A key without a value, and keys turned round."""
    if bare.endswith(":") and bare[:-1].lower() in KEYS:
        name = bare[:-1].lower()
        raise Unfinished(f"{name}: needs a value: {KEYS[name]}.", remedy=f'"{bare}" in quotes is searched for.')
    turned = _TURNED.match(bare)
    if turned and turned[1] in KEYS:
        raise UsageError("A filter cannot be turned round with a minus.", remedy=f'"{bare}" in quotes is searched for.')


def _unknown(name: str, typed: str) -> UsageError:
    near = difflib.get_close_matches(name, KEYS, n=1)
    meant = f"Did you mean {near[0]}:?" if near else f"There are {', '.join(KEYS)}."
    return UsageError(f"{name}: is no filter.", remedy=f'{meant} "{typed}" in quotes is searched for.')


def _text(found: Iterable[Word]) -> str:
    return " ".join(word.typed for word in found if not word.key)


def _quoted(value: str) -> str:
    return value if _BARE.fullmatch(value) else '"' + value.replace('"', '""') + '"'


def _fields(key: str, values: tuple[str, ...]) -> dict[str, object]:
    """The filter's fields that one key sets."""
    if key in LISTS:
        return _listed(key, values)
    if key == "date":
        since, until = dates(values, time.time())
        return {"since": since, "until": until}
    if key == "len":
        shortest, longest = numbers(key, values)
        return {"shortest": shortest, "longest": longest}
    value = _single(key, values)
    if key == "rating":
        return {"rating": _stars(value)}
    if key in ("corrected", "trained"):
        return {key: _one_of(key, value, ["yes", "no"]) == "yes"}
    return {"trained_in" if key == "in" else key: value}


def _listed(key: str, values: tuple[str, ...]) -> dict[str, object]:
    if key == "status":
        return {"statuses": tuple(Status(_one_of(key, value, [str(each) for each in Status])) for value in values)}
    if key == "tag":
        return {"tags": tuple(value.lstrip("#") for value in values)}
    if key == "script":
        scripts = [_one_of(key, value, [*SCRIPTS, NONE]) for value in values]
        return {"scripts": tuple("" if script == NONE else script for script in scripts)}
    return {"sources": values}


def _single(key: str, values: tuple[str, ...]) -> str:
    if len(set(values)) > 1:
        raise UsageError(f"{key}: takes one value, not {' and '.join(values)}.", remedy=f"It is {KEYS[key]}.")
    return values[0] if values else ""


def _one_of(key: str, value: str, known: list[str]) -> str:
    """The value, or the only one that begins like it."""
    found = [each for each in known if each.startswith(value.lower())]
    if value.lower() in known:
        return value.lower()
    if len(found) != 1:
        raise UsageError(f"{key}:{value} is unknown.", remedy=f"It is one of {', '.join(known)}.")
    return found[0]


def _stars(value: str) -> tuple[int, int]:
    if value in (NONE, ANY):
        return (0, 0) if value == NONE else (1, 5)
    fewest, most = numbers("rating", (value,))
    if max(fewest or 0, most or 0) > 5:
        raise UsageError(f"rating:{value} is beyond 5 stars.", remedy=f"It is {KEYS['rating']}.")
    return (1 if fewest is None else fewest, 5 if most is None else most)
