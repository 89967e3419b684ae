"""Ratings: how they are written, and how they are read from a command."""

from __future__ import annotations

from corpora.errors import UsageError

MOST = 5


def stars(rating: int) -> str:
    """`★★★☆☆`"""
    return "★" * rating + "☆" * (MOST - rating)


def rating_of(typed: str) -> int | None:
    """1 to 5 out of what was typed; None for 0, which takes a rating away. Raises UsageError."""
    typed = str(typed.count("★")) if typed and not typed.strip("★☆") else typed
    if typed not in ("0", "1", "2", "3", "4", "5"):
        raise UsageError("A rating is 1 to 5, or 0 for none.", remedy="For example: /rate 4")
    return int(typed) or None
