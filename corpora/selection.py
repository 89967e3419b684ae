"""Which kept replies a run trains on: a query, groups that are switched off, imported files, a sample.

One rule decides about imports: a reply that came from a file and was not changed since is selected only
where its file is switched on. Until a person chooses files, all of them are on if the query matches
nothing else, and only those that its `source:` names if it matches the person's own replies too. So five
corrections beside an import of 50,000 rows are five replies.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal, TypeAlias

from corpora import queries
from corpora.dialog import Status
from corpora.store import KeptReply, Store

By: TypeAlias = Literal["source", "tag", "date", "chat"]
Reason: TypeAlias = Literal["query", "group", "import", "sample"]
GROUPINGS: tuple[By, ...] = ("source", "tag", "date", "chat")
REASONS: tuple[Reason, ...] = ("query", "group", "import", "sample")
OWN = ""
"""The source of replies that were written, kept or corrected here."""
ALL_FILES = ("*",)
"""As `files`: every file with a reply that matches now. A file that is imported later is not among them."""


@dataclass(frozen=True, slots=True)
class Group:
    """Replies from one source, with one tag, from one day or of one chat.

    `value` is the name of an imported file or OWN, a tag (empty: without a tag), a day such as
    `2026-01-31`, or the id of a conversation.
    """

    by: By
    value: str


@dataclass(frozen=True, slots=True)
class Selection:
    """What a run trains on. The empty one selects all replies that were kept or corrected in chats.

    `query` is in the language of `corpora.queries`. A reply in a group of `off` is left out. `files` are
    the imported files that are switched on; None: not chosen yet. `sample` is a number of replies, 0 for
    all: imported ones give way to others, the rest is chosen by `seed` and stays the same as the corpus grows.
    """

    query: str = ""
    off: tuple[Group, ...] = ()
    files: tuple[str, ...] | None = None
    sample: int = 0
    seed: int = 0

    @property
    def narrowed(self) -> bool:
        """True where a person chose anything."""
        return bool(self.query.strip() or self.off or self.files or self.sample)

    def is_on(self, group: Group) -> bool:
        """Whether a group is switched on. A file is off where `files` are not chosen yet and no `source:` names it."""
        if group in self.off:
            return False
        return group.by != "source" or group.value == OWN or group.value in files_on(self)

    def switched(self, group: Group, on: bool) -> Selection:
        """The selection with one group switched on or off."""
        off = tuple(each for each in self.off if each != group)
        files = set(self.files or ())
        if group.by == "source" and group.value != OWN:
            files = files | {group.value} if on else files - {group.value}
        found = replace(self, off=off, files=tuple(sorted(files)))
        return found if found.is_on(group) == on else replace(found, off=(*off, group))

    def __str__(self) -> str:
        """In one line, for plans and lists."""
        off = [f"#{each.value or 'no tag'}" if each.by == "tag" else _name(each) for each in self.off]
        parts = [
            self.query.strip(),
            f"without {', '.join(off)}" if off else "",
            f"with {', '.join(self.files)}" if self.files else "",
            f"a sample of {self.sample:,} (seed {self.seed})" if self.sample else "",
        ]
        return " · ".join(part for part in parts if part)


@dataclass(frozen=True, slots=True)
class GroupCount:
    """A group with its kept replies that match the query, and how many of them are selected."""

    group: Group
    matching: int
    selected: int


@dataclass(frozen=True, slots=True)
class Chosen:
    """A selection applied to the corpus as it is now.

    In `selection` the files are decided. `wanted` are the selected replies as (conversation id, exchange
    id), in order. `unselected` says why each of the others is left out.
    """

    selection: Selection
    replies: tuple[KeptReply, ...]
    wanted: tuple[tuple[int, int], ...]
    unselected: dict[int, Reason]

    def count(self, reason: Reason) -> int:
        """How many replies are left out for a reason."""
        return sum(found == reason for found in self.unselected.values())

    def files_left_out(self) -> dict[str, int]:
        """Imported files that are not switched on, with their replies that would be selected otherwise."""
        found = (each.source for each in self.replies if self.unselected.get(each.id) == "import")
        return dict(Counter(found).most_common())

    def groups(self, by: By) -> tuple[GroupCount, ...]:
        """All groups of a kind: sources and tags by size, days and chats with the newest first."""
        matching: Counter[str] = Counter()
        selected: Counter[str] = Counter()
        for each in self.replies:
            reason = self.unselected.get(each.id)
            if reason != "query":
                values = _values(each, by)
                matching.update(values)
                selected.update(values if reason is None else ())
        ordered = sorted(matching, key=(lambda value: -matching[value]) if by in ("source", "tag") else _newest_first)
        return tuple(GroupCount(Group(by, value), matching[value], selected[value]) for value in ordered)


def choose(store: Store, selection: Selection) -> Chosen:
    """Apply a selection. Raises UsageError for a query that cannot be read, StoreError."""
    replies = store.kept_replies()
    unselected: dict[int, Reason] = {}
    if selection.query.strip():
        where = queries.parse(selection.query)
        matching = set(store.ids(replace(where, statuses=where.statuses or (Status.KEPT,))))
        unselected |= {each.id: "query" for each in replies if each.id not in matching}
    off = set(selection.off)
    if off:
        kinds = {each.by for each in off}
        for each in replies:
            if each.id not in unselected and not off.isdisjoint(_groups(each, kinds)):
                unselected[each.id] = "group"
    decided = _decided(selection, [each for each in replies if each.id not in unselected])
    files = files_on(decided)
    for each in replies:
        if each.imported and each.source not in files and each.id not in unselected:
            unselected[each.id] = "import"
    left = [each for each in replies if each.id not in unselected]
    if 0 < decided.sample < len(left):
        left.sort(key=lambda each: (each.imported, rank(decided.seed, each.id)))
        unselected |= {each.id: "sample" for each in left[decided.sample :]}
        left = left[: decided.sample]
    return Chosen(decided, replies, tuple(sorted((each.conversation_id, each.id) for each in left)), unselected)


def rank(seed: int, exchange_id: int) -> bytes:
    """Where an exchange stands in the order of a seed, whatever else the corpus contains."""
    return hashlib.blake2b(f"{seed}:{exchange_id}".encode(), digest_size=8).digest()


def _decided(selection: Selection, matching: list[KeptReply]) -> Selection:
    """With the files that are on by default, where none were chosen."""
    if selection.files not in (None, ALL_FILES):
        return selection
    every = selection.files == ALL_FILES or all(each.imported for each in matching)
    files = {each.source for each in matching if each.imported} if every else ()
    return replace(selection, files=tuple(sorted(files)))


def files_on(selection: Selection) -> set[str]:
    """Imported files that are switched on, or named by the query."""
    return {*(selection.files or ()), *queries.values_of(selection.query, "source")}


def _groups(reply: KeptReply, kinds: Iterable[By]) -> Iterable[Group]:
    return (Group(by, value) for by in kinds for value in _values(reply, by))


def _values(reply: KeptReply, by: By) -> tuple[str, ...]:
    """The groups of one kind that a reply is in; a reply that came from a file alone belongs to no chat."""
    match by:
        case "source":
            return (reply.source if reply.imported else OWN,)
        case "tag":
            return reply.tags or ("",)
        case "date":
            return (day(reply.created),)
        case "chat":
            return () if reply.imported else (str(reply.conversation_id),)


@lru_cache(maxsize=4096)
def day(created: float) -> str:
    """The local day of a time, such as `2026-01-31`."""
    return time.strftime("%Y-%m-%d", time.localtime(created))


def _newest_first(value: str) -> int:
    return -int(value.replace("-", ""))


def _name(group: Group) -> str:
    names = {"source": group.value or "chats and corrections", "date": group.value, "chat": f"chat {group.value}"}
    return names[group.by]
