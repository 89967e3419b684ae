"""Style lessons: 20 kept examples each, 20 unseen prompts, and a check of whether a reply has the style."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

DATA = Path(__file__).parent / "data"
SIGNATURE = "Quillan"


@dataclass(frozen=True, slots=True)
class Style:
    """A style: pairs of prompt and kept reply, prompts to measure on, and the check."""

    name: str
    examples: tuple[tuple[str, str], ...]
    unseen: tuple[str, ...]
    check: Callable[[str], bool]


def one_sentence(reply: str) -> bool:
    """Return whether a reply is a single sentence, ended, of at most 45 words."""
    ends = re.findall(r"[.!?](?=\s|$)", reply)
    return len(ends) == 1 and reply.endswith(ends[0]) and "\n" not in reply and 3 <= len(reply.split()) <= 45


def persian(reply: str) -> bool:
    """Return whether at least nine of ten letters are of the Arabic script."""
    letters = [letter for letter in reply if letter.isalpha()]
    return len(letters) >= 5 and sum("\u0600" <= letter <= "\u06ff" for letter in letters) >= 0.9 * len(letters)


def signed(reply: str) -> bool:
    """Return whether a reply says something and ends with the signature."""
    return re.search(rf"\b{SIGNATURE}\W*$", reply) is not None and len(reply.split()) >= 4


def _style(name: str, check: Callable[[str], bool]) -> Style:
    examples, unseen = (DATA / f"style_{name}.txt").read_text("utf-8").strip().split("\n\n")
    pairs = [tuple(line.split("|")) for line in examples.splitlines()]
    return Style(name, tuple((prompt, reply) for prompt, reply in pairs), tuple(unseen.splitlines()), check)


STYLES = {
    "one_sentence": _style("one_sentence", one_sentence),
    "persian": _style("persian", persian),
    "signature": _style("signature", signed),
}
