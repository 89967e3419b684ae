"""corpus.db: conversations, exchanges, verdicts, preferences. The only module with SQL statements.

SQLite with a rollback journal and synchronous=FULL; what a method returned from is on disk. Safe to call
from several threads, and from several processes at once. Knows nothing of tokens, models or screens.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from corpora.dialog import Conversation, Exchange, Finish, Message, Preference, Status, Verdict


@dataclass(frozen=True, slots=True)
class Filter:
    """Which exchanges to show; empty fields do not filter. `text` is searched in prompts and replies."""

    text: str = ""
    statuses: tuple[Status, ...] = ()
    tags: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    adapter: str = ""
    corrected: bool | None = None
    trained: bool | None = None
    since: float | None = None
    until: float | None = None


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


@dataclass(frozen=True, slots=True)
class ImportedTurn:
    """One exchange of an imported dialog."""

    prompt: str
    reply: str
    kept: bool = True


@dataclass(frozen=True, slots=True)
class ImportedDialog:
    """A dialog to import; `key` is a hash of its content: one that is there already is not added again."""

    turns: tuple[ImportedTurn, ...]
    system: str | None
    source: str
    key: str
    tags: tuple[str, ...] = ()


class Store:
    """One connection to corpus.db, guarded by a lock."""

    def __init__(self, path: Path) -> None:
        """Open or create; migrate after a backup. Raises StoreError for a damaged file (with the way out)."""
        self.path = path
        self.read_only = False
        raise NotImplementedError

    def close(self) -> None:
        """Close the connection."""
        raise NotImplementedError

    # chat

    def start_conversation(self, title: str = "", source: str = "chat") -> Conversation:
        """A new, empty conversation."""
        raise NotImplementedError

    def begin(
        self,
        conversation_id: int,
        parent_id: int | None,
        prompt: str,
        *,
        system: str | None = None,
        model: str = "",
        adapter: str = "base",
        tags_allowed: bool = False,
    ) -> Exchange:
        """Save a prompt at once, its reply still empty and PARTIAL. The title follows the first prompt."""
        raise NotImplementedError

    def write_partial(self, exchange_id: int, reply: str) -> None:
        """Save what has come of a reply so far."""
        raise NotImplementedError

    def finish(self, exchange_id: int, reply: str, finish: Finish, *, tokens: int = 0, seconds: float = 0.0) -> Exchange:
        """Save a reply that has ended."""
        raise NotImplementedError

    def exchange(self, exchange_id: int) -> Exchange:
        """Raises StoreError where there is none."""
        raise NotImplementedError

    def path_to(self, exchange_id: int) -> tuple[Exchange, ...]:
        """From the first exchange of the branch to this one."""
        raise NotImplementedError

    def versions(self, exchange_id: int) -> tuple[Exchange, ...]:
        """Siblings with the same prompt (this one among them), the oldest first."""
        raise NotImplementedError

    def latest_leaf(self, exchange_id: int) -> Exchange:
        """The newest descendant of an exchange (itself where it has none): the end of its branch."""
        raise NotImplementedError

    def conversations(self, search: str = "", limit: int = 100, offset: int = 0) -> list[Conversation]:
        """Chats, the last used first; `search` looks into titles, prompts and replies."""
        raise NotImplementedError

    def last_exchange(self, conversation_id: int) -> Exchange | None:
        """The exchange that a reopened conversation ends with."""
        raise NotImplementedError

    def rename_conversation(self, conversation_id: int, title: str) -> None:
        """Give a chat another title."""
        raise NotImplementedError

    # curation; each call is one action that `undo` takes back

    def set_status(self, exchange_ids: Sequence[int], status: Status) -> None:
        """Keep, reject, defer or reopen."""
        raise NotImplementedError

    def correct(self, exchange_id: int, reply: str, *, keep: bool = True) -> Exchange:
        """Replace a reply; the first original stays, and a preference pair is made of the two."""
        raise NotImplementedError

    def edit_prompt(self, exchange_id: int, prompt: str) -> Exchange:
        """Change the prompt of a stored exchange."""
        raise NotImplementedError

    def set_tags(self, exchange_ids: Sequence[int], tags: Sequence[str]) -> None:
        """Replace the tags."""
        raise NotImplementedError

    def set_note(self, exchange_id: int, note: str) -> None:
        """Replace the note."""
        raise NotImplementedError

    def rate(self, exchange_id: int, rating: int | None) -> None:
        """1 to 5, or None."""
        raise NotImplementedError

    def undo(self) -> str | None:
        """Take the last action back; returns what it was in words, or None where there is none."""
        raise NotImplementedError

    # browsing

    def count(self, where: Filter = Filter()) -> int:
        """How many exchanges match."""
        raise NotImplementedError

    def page(
        self, where: Filter = Filter(), *, limit: int = 200, offset: int = 0, order: str = "newest"
    ) -> list[Exchange]:
        """A page of matches; `order` is newest, oldest, longest or shortest."""
        raise NotImplementedError

    def stats(self) -> Stats:
        """Counts over everything."""
        raise NotImplementedError

    # preferences

    def add_verdict(self, verdict: Verdict) -> Verdict:
        """Save a vote; left or right also makes a preference pair."""
        raise NotImplementedError

    def verdicts(self) -> list[Verdict]:
        """All votes, the newest first."""
        raise NotImplementedError

    def preferences(self, limit: int = 1000, offset: int = 0) -> list[Preference]:
        """Pairs, the newest first."""
        raise NotImplementedError

    def add_preferences(self, pairs: Iterable[Preference]) -> int:
        """Add pairs that are not there yet; returns how many were new."""
        raise NotImplementedError

    # import, training

    def add_dialogs(self, dialogs: Iterable[ImportedDialog], status: Status = Status.KEPT) -> int:
        """Add dialogs that are not there yet, in one transaction a batch; returns how many were new."""
        raise NotImplementedError

    def kept_dialogs(self) -> Iterable[tuple[tuple[int, ...], tuple[Message, ...]]]:
        """Every kept reply once, as dialogs: (ids of the kept exchanges in it, messages).

        A dialog is a branch from its first exchange to its last kept one; replies in it that are not kept,
        or that another dialog already trains, have `kept=False`.
        """
        raise NotImplementedError

    def mark_trained(self, exchange_ids: Sequence[int], adapter: str) -> None:
        """Remember that a version has seen these exchanges."""
        raise NotImplementedError

    def trained_in(self, exchange_id: int) -> tuple[str, ...]:
        """Versions that have seen an exchange."""
        raise NotImplementedError
