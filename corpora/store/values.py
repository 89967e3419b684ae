"""What callers hand to the store and get from it, besides the values of `corpora.dialog`.

Frozen; holds no SQL.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from corpora.dialog import Exchange, Status


@dataclass(frozen=True, slots=True)
class Filter:
    """Which exchanges to show; empty fields do not filter.

    `text` is searched in prompts and replies: all of its words must occur, "words in quotes" in that order.
    `adapter` names the version that replied, `trained_in` one that was trained on the exchange as it is now, both as
    `NAME/vN` or `NAME/vN (removed)`; lengths are characters.
    `rating` is the fewest and the most stars, 0 for none.
    """

    text: str = ""
    statuses: tuple[Status, ...] = ()
    tags: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    adapter: str = ""
    corrected: bool | None = None
    trained: bool | None = None
    since: float | None = None
    until: float | None = None
    scripts: tuple[str, ...] = ()
    shortest: int | None = None
    longest: int | None = None
    trained_in: str = ""
    rating: tuple[int, int] | None = None
    conversation_id: int | None = None


KEPT = Filter(statuses=(Status.KEPT,))


@dataclass(frozen=True, slots=True)
class PairFilter:
    """Which preference pairs to show: all words of `text` in the dialog or a reply; one of `sources`."""

    text: str = ""
    sources: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Stats:
    """Counts that screens show."""

    exchanges: int
    by_status: dict[Status, int]
    by_source: dict[str, int]
    corrected: int
    preferences: int
    verdicts: int
    trained: int
    conversations: int


class KeptReply(NamedTuple):
    """A kept reply without its texts. `imported`: it came from a file and was not changed since."""

    id: int
    conversation_id: int
    source: str
    created: float
    imported: bool
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar of a histogram: from `start` up to the next bar's start, and how many fall into it."""

    start: float
    count: int


@dataclass(frozen=True, slots=True)
class Correction:
    """A reply that a correction replaced, and when."""

    reply: str
    created: float


@dataclass(frozen=True, slots=True)
class ImportedTurn:
    """One exchange of an imported dialog.

    `status` overrides the import's own; `instruction` counts the characters of the prompt that are the
    instruction of an Alpaca row whose `input` follows it.
    """

    prompt: str
    reply: str
    kept: bool = True
    status: Status | None = None
    instruction: int | None = None


@dataclass(frozen=True, slots=True)
class ImportedDialog:
    """A dialog to import; `key` is a hash of its content: one that is there already is not added again."""

    turns: tuple[ImportedTurn, ...]
    system: str | None
    source: str
    key: str
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Branch:
    """Exchanges from the first of a branch to its last wanted one, and the ids that this branch stands for."""

    exchanges: tuple[Exchange, ...]
    wanted: frozenset[int] = field(default_factory=frozenset)


def folded(text: str) -> str:
    """The text as it counts for being the same: case and blanks do not."""
    return " ".join(text.casefold().split())


def content_key(parts: Sequence[str | None]) -> str:
    """A hash of texts in their order: 32 hexadecimal digits. Their lengths keep `a, bc` and `ab, c` apart."""
    lengths = ",".join("-" if part is None else str(len(part)) for part in parts)
    whole = "".join([lengths, ":", *(part for part in parts if part is not None)])
    return hashlib.blake2b(whole.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def copy_key(key: str, copy: int) -> str:
    """The key of the second (1), third (2), … row of one file with the same content."""
    return f"{key}-{copy}" if copy else key


def dialog_key(system: str | None, turns: Sequence[ImportedTurn]) -> str:
    """The key of a dialog: of its system prompt, prompts and replies, blanks around them aside.

    No format tells an empty system prompt from none.
    """
    parts = [part.strip() for turn in turns for part in (turn.prompt, turn.reply)]
    return content_key([(system or "").strip() or None, *parts])
