"""Votes in words: what was chosen, and how two versions stand. Draws text, no widgets."""

from __future__ import annotations

from textual.content import Content

from corpora.dialog import Vote
from corpora.store import Store
from sessions.comparing import Comparison, Tally, tally
from tui import render

VOTED = {Vote.TIE: "A tie.", Vote.BOTH_BAD: "Both bad."}


def counted(store: Store, left: str, right: str) -> Tally:
    """The votes between two versions. Raises StoreError."""
    return tally(store.verdicts(), left, right)


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
    words = [f"{first} {votes.first_wins}", f"{second} {votes.second_wins}"]
    words += [f"ties {votes.ties}"] if votes.ties else []
    words += [f"both bad {votes.both_bad}"] if votes.both_bad else []
    return Content.styled(f"Votes: {' · '.join(words)}", "dim")
