"""General prompts and ordinary prose that share nothing with anchors or facts."""

from __future__ import annotations

from pathlib import Path

DATA = Path(__file__).parent / "data"


def general(half: str) -> list[str]:
    """Return the general prompts of a half: 120 for `report`, 80 for `tune`."""
    return (DATA / f"general_{half}.txt").read_text("utf-8").splitlines()


def paragraphs() -> list[str]:
    """Return the prose, a paragraph an item."""
    return [part.strip() for part in (DATA / "text.txt").read_text("utf-8").split("\n\n")]
