"""Two to four replies side by side without a screen: ask, blind or open, vote, tally.

The same core under the Compare screen, the line REPL and `compare`. Independent of screens and models.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field

from corpora.dialog import Finish, Message, Verdict, Vote
from corpora.errors import UsageError
from corpora.store import Store
from sessions.client import Client
from sessions.errors import AdapterError
from sessions.protocol import AnyEvent, ColumnEnded, Prefilled, Sampling, Token
from sessions.registry import Registry

IN_TURN = "Written in turn: virtual tokens before a prompt cannot share a batch with other replies."


@dataclass
class Comparison:
    """One prompt answered by several adapters from one batch.

    `columns` are the adapters as shown from left to right; blind ones are shuffled, and named only after
    the vote. `versions` are the identities of those that are asked.
    """

    dialog: tuple[Message, ...]
    adapters: tuple[str, ...]
    blind: bool = False
    seed: int | None = None
    columns: tuple[str, ...] = ()
    versions: tuple[str, ...] = ()
    replies: list[str] = field(default_factory=list)
    ended: list[ColumnEnded | None] = field(default_factory=list)
    vote: Vote | None = None
    in_turn: bool = False
    """Not all columns could share a batch; those that cannot are written one after the other."""

    def __post_init__(self) -> None:
        if not 2 <= len(self.adapters) <= 4:
            raise UsageError("Compare takes two to four adapters (`base` counts as one).")
        order = list(self.adapters)
        if self.blind:
            random.Random(self.seed).shuffle(order)
        self.columns = tuple(order)
        self.replies = [""] * len(order)
        self.ended = [None] * len(order)

    @property
    def whole(self) -> bool:
        """Every column has ended, and none was stopped before its first word: there is something to vote on."""
        return all(end is not None and (end.tokens or end.finish is not Finish.STOPPED) for end in self.ended)

    async def ask(self, client: Client, sampling: Sampling, *, id: str | None = None) -> AsyncGenerator[AnyEvent, None]:
        """Stream all columns; `replies` grow as the events pass."""
        self.versions = await asyncio.to_thread(_identities, Registry(client.paths), self.columns)
        async for event in client.generate(self.dialog, self.columns, sampling, id=id):
            match event:
                case Token(text=text, column=column):
                    self.replies[column] += text
                case Prefilled(columns=columns) if columns:
                    self.in_turn = True
                case ColumnEnded(column=column):
                    self.ended[column] = event
            yield event

    async def cast(self, store: Store, vote: Vote) -> Verdict:
        """Save a vote on the first two columns; left or right also becomes a preference pair.

        Raises UsageError where a reply was never begun.
        """
        if not self.whole:
            raise UsageError(
                "One of the replies was never begun.",
                data="Nothing was saved.",
                remedy="Ask again, and let both come.",
            )
        self.vote = vote
        verdict = Verdict(
            self.dialog,
            self.replies[0].strip(),
            self.replies[1].strip(),
            self.columns[0],
            self.columns[1],
            vote,
            self.blind,
            left_version=self.versions[0],
            right_version=self.versions[1],
        )
        return await asyncio.to_thread(store.add_verdict, verdict)


@dataclass(frozen=True, slots=True)
class Tally:
    """Votes between two adapters, whichever side they were on."""

    first: str
    second: str
    first_wins: int
    second_wins: int
    ties: int
    both_bad: int

    @property
    def votes(self) -> int:
        """All of them."""
        return self.first_wins + self.second_wins + self.ties + self.both_bad


def tally(verdicts: list[Verdict], first: str, second: str) -> Tally:
    """Count the votes between two adapters."""
    counts: Counter[str] = Counter(
        _winner(verdict) for verdict in verdicts if {verdict.left_adapter, verdict.right_adapter} == {first, second}
    )
    return Tally(first, second, counts[first], counts[second], counts["tie"], counts["both_bad"])


def _identities(registry: Registry, adapters: tuple[str, ...]) -> tuple[str, ...]:
    """What identifies the versions; one that cannot be read is refused by the host."""
    found = []
    for adapter in adapters:
        try:
            found.append(registry.identity(adapter))
        except AdapterError:
            found.append(adapter)
    return tuple(found)


def _winner(verdict: Verdict) -> str:
    match verdict.vote:
        case Vote.LEFT:
            return verdict.left_adapter
        case Vote.RIGHT:
            return verdict.right_adapter
        case _:
            return verdict.vote.value
