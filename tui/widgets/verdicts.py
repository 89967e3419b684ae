"""Votes: what was chosen and how versions stand, in words; how one is taken back. Draws text, no widgets."""

from __future__ import annotations

from textual.content import Content

from corpora.dialog import Verdict, Vote
from corpora.errors import UsageError
from corpora.store import Store
from sessions.comparing import Comparison, Tally, tally
from tui import render

VOTED = {Vote.TIE: "A tie.", Vote.BOTH_BAD: "Both bad."}
ACTION = "vote"
"""What the store calls the action of a vote."""


def counted(store: Store, left: str, right: str) -> Tally:
    """The votes between two versions. Raises StoreError."""
    return tally(store.verdicts(), left, right)


def take_back(store: Store, verdict: Verdict) -> None:
    """Undo a vote that is the last action; one that is gone already may be. Raises UsageError, StoreError."""
    newest = [each.id for each in store.verdicts()]
    if verdict.id not in newest:
        return
    last = store.last_action()
    if last != ACTION or newest[0] != verdict.id:
        since = "another vote" if last == ACTION else last or "something that stays"
        raise UsageError(
            f"Something was changed after this vote: {since}.",
            data="Nothing was taken back.",
            remedy="ctrl+z on the Corpus screen (F3) takes changes back, the last first.",
        )
    store.undo()


def chosen(comparison: Comparison) -> str:
    """What the vote was for."""
    vote = comparison.vote
    if vote in (Vote.LEFT, Vote.RIGHT):
        return f"{render.line(comparison.columns[vote is Vote.RIGHT], 40)} is better."
    return VOTED.get(vote, "") if vote else ""


def told(votes: Tally) -> Content:
    """How often each won."""
    if not votes.votes:
        return Content.styled("No votes between these two yet.", "dim")
    first, second = (render.line(name, 40) for name in (votes.first, votes.second))
    words = [f"{first} {votes.first_wins}", f"{second} {votes.second_wins}", *undecided(votes.ties, votes.both_bad)]
    return Content.styled(f"Votes: {' · '.join(words)}", "dim")


def undecided(ties: int, both_bad: int) -> list[str]:
    """The votes for neither, where there are any."""
    return [
        *([f"{ties} {'tie' if ties == 1 else 'ties'}"] if ties else []),
        *([f"{both_bad} both bad"] if both_bad else []),
    ]
