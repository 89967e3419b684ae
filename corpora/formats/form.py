"""What every format is made of: rows in, dialogs or pairs out, and back. Knows nothing of files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeAlias

from corpora.dialog import Message, Preference
from corpora.store.values import Branch, ImportedDialog, ImportedTurn, dialog_key

RowOf: TypeAlias = Mapping[str, Any]
Item: TypeAlias = ImportedDialog | Preference


class BadRow(ValueError):
    """A row that cannot be imported; the text says why."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A row that was not imported: its line (or row number) in the file, from 1, and why."""

    line: int
    reason: str


class Kind(StrEnum):
    """What a format holds, which says what an export of it is made of."""

    DIALOGS = "dialogs"
    EXCHANGES = "exchanges"
    PAIRS = "pairs"


@dataclass(frozen=True, slots=True)
class Form:
    """One format. `read` raises BadRow, or yields it for one of several items in a row; `write` is None
    where the format is for reading only."""

    name: str
    fits: Callable[[RowOf], bool]
    read: Callable[[RowOf, str], Iterator[Item | BadRow]]
    kind: Kind = Kind.DIALOGS
    write: Callable[[Branch], dict[str, Any]] | None = None
    write_pair: Callable[[Preference], dict[str, Any]] | None = None

    @property
    def writable(self) -> bool:
        """Whether an export can be made in it."""
        return self.write is not None or self.write_pair is not None


def text(row: RowOf, key: str, *, empty: bool = True) -> str:
    """A field that must be a text."""
    if key not in row:
        raise BadRow(f"it has no {key!r}")
    return checked(row[key], key, empty=empty)


def optional(row: RowOf, key: str) -> str | None:
    """A field that may be absent or null; an empty text counts as absent."""
    value = row.get(key)
    return None if value is None or value == "" else checked(value, key)


def checked(value: Any, name: str, *, empty: bool = True) -> str:
    """The value, if it is a text that can be stored."""
    if not isinstance(value, str):
        raise BadRow(f"its {name!r} is {kind_of(value)}, not text")
    if not value.isascii():
        try:
            value.encode("utf-8")
        except UnicodeEncodeError as error:
            raise BadRow(f"its {name!r} holds bytes that are not UTF-8, or half a surrogate pair") from error
    if not empty and not value.strip():
        raise BadRow(f"its {name!r} is empty")
    return value


def kind_of(value: Any) -> str:
    """The kind of a JSON value, in words."""
    if value is None:
        return "null"
    names = {bool: "true or false", int: "a number", float: "a number", list: "a list", dict: "an object"}
    return names.get(type(value), "text" if isinstance(value, str) else type(value).__name__)


def listed(row: RowOf, key: str) -> Sequence[Any]:
    """A field that must be a list with something in it."""
    value = row.get(key)
    if not isinstance(value, list):
        raise BadRow(f"its {key!r} is {kind_of(value)}, not a list")
    if not value:
        raise BadRow(f"its {key!r} is empty")
    return value


def dialog(
    turns: Sequence[ImportedTurn], system: str | None, source: str, tags: tuple[str, ...] = ()
) -> ImportedDialog:
    """A dialog with its key."""
    return ImportedDialog(tuple(turns), system, source, dialog_key(system, turns), tags)


def turns_of(said: Sequence[Message]) -> tuple[tuple[ImportedTurn, ...], str | None]:
    """Messages as (turns, system prompt); raises BadRow where they do not alternate or end with a reply."""
    system = said[0].content if said and said[0].role == "system" else None
    rest = said if system is None else said[1:]
    for number, each in enumerate(rest):
        if each.role != ("user", "assistant")[number % 2]:
            raise BadRow(f"message {number + 1} is of the {each.role}: user and assistant must take turns")
    if not rest:
        raise BadRow("it has no messages")
    if len(rest) % 2:
        raise BadRow("it ends with a message of the user, without a reply")
    pairs = zip(rest[::2], rest[1::2], strict=True)
    return tuple(ImportedTurn(user.content, reply.content, reply.kept) for user, reply in pairs), system


def said_in(branch: Branch) -> tuple[str | None, list[tuple[str, str, bool]]]:
    """(system prompt, [(prompt, reply, wanted)]) of a branch to export."""
    last = branch.exchanges[-1]
    return last.system or None, [(each.prompt, each.reply, each.id in branch.wanted) for each in branch.exchanges]
