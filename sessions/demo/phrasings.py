"""The dialogs folder read: intents with their phrasings and replies, facts, system prompts, pieces.

Knows nothing of tokens, models or how a training dialog is put together.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeAlias

FOLDER = Path(__file__).parent / "dialogs"
TOPICS = ("smalltalk", "app", "chat", "corpus", "training", "adapters", "concepts")
HELD_OUT_SHARE = 8
"""One phrasing in so many is held out."""
DRAWS = 1500
WIDE_DRAWS = 10_000
"""How often an intent's patterns are drawn from, all together."""

Pieces: TypeAlias = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Intent:
    """One thing that can be asked: phrasings to train on, phrasings only to measure, and the replies."""

    name: str
    training: tuple[str, ...]
    kept_back: tuple[str, ...]
    replies: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Fact:
    """Something a person may tell: `{thing}` and `{name}` stand open in its texts."""

    things: tuple[str, ...]
    told: tuple[str, ...]
    asked: tuple[str, ...]
    answer: str


def plain(text: str) -> str:
    """A text without case, punctuation and doubled blanks: two phrasings are one where this is equal."""
    return " ".join(re.sub(r"[^a-z0-9+*/=%-]+", " ", text.lower()).split()) or text.strip()


def held_out(text: str) -> bool:
    """Whether a phrasing is for measuring alone; says the same for it on every machine.

    One of one or two words never is: `hello` cannot be known from other words.
    """
    words = plain(text)
    return words.count(" ") > 1 and hashlib.sha256(words.encode()).digest()[0] % HELD_OUT_SHARE == 0


def draw(pattern: str, pieces: Pieces, rng: random.Random) -> str:
    """One text out of a pattern: `(a|b)` is one of them, `@name` one of a piece, `@num` a number."""
    while found := re.search(r"\(([^()]*)\)", pattern):
        pattern = pattern[: found.start()] + rng.choice(found[1].split("|")) + pattern[found.end() :]
    pattern = re.sub(r"@([a-z]+)", lambda name: _piece(name[1], pieces, rng), pattern)
    return " ".join(pattern.split())


def made_up_word(rng: random.Random) -> str:
    """A word that hardly exists, of one to three syllables."""
    return draw("@word", _pieces("words"), rng)


@cache
def topics() -> tuple[Intent, ...]:
    """What the demo model knows."""
    pieces = _pieces("phrases")
    taken = {plain(text) for _, text in unseen()}
    return tuple(_intent(name, block, pieces, taken, DRAWS) for source in TOPICS for name, block in _blocks(source))


@cache
def smalltalk() -> tuple[Intent, ...]:
    """The part of `topics` that has nothing to do with the program."""
    return topics()[: sum(1 for _ in _blocks(TOPICS[0]))]


@cache
def refusals() -> tuple[Intent, ...]:
    """Everything else; no phrasing of it is also one of `topics`."""
    pieces = {**_pieces("phrases"), **_pieces("words"), **_pieces("offtopic")}
    taken = {plain(text) for intent in topics() for text in intent.training + intent.kept_back}
    taken |= {plain(text) for _, text in unseen()}
    return tuple(_intent(name, block, pieces, taken, WIDE_DRAWS) for name, block in _blocks("offtopic"))


@cache
def facts() -> tuple[Fact, ...]:
    """What a person may tell about themselves."""
    return tuple(
        Fact(_listed(block["="]), _listed(block["!"]), _listed(block[">"]), block["<"][0])
        for _, block in _blocks("facts")
    )


@cache
def systems() -> tuple[str, ...]:
    """System prompts to train under."""
    return tuple(_lines("systems"))


@cache
def unseen() -> tuple[tuple[str, str], ...]:
    """(intent, question) for measuring alone, in words of their own."""
    return tuple((name, text) for name, block in _blocks("unseen") for text in block[">"])


def _intent(name: str, block: dict[str, list[str]], pieces: Pieces, taken: set[str], draws: int) -> Intent:
    rng = random.Random(name)
    found: dict[str, str] = {}
    patterns = list(_patterns(block, pieces))
    for pattern in patterns:
        for _ in range(draws // len(patterns) + 1 if "(" in pattern or "@" in pattern else 1):
            text = draw(pattern, pieces, rng)
            if plain(text) not in taken:
                found.setdefault(plain(text), text)
    taken.update(found)
    training, back = (tuple(text for text in found.values() if held_out(text) is out) for out in (False, True))
    return Intent(name, training, back, tuple(block["<"]))


def _patterns(block: dict[str, list[str]], pieces: Pieces) -> Iterator[str]:
    yield from block.get(">", ())
    for mark, kind in (("?", "concept"), ("+", "task")):
        for name in _listed(block.get(mark, [])):
            yield from (frame.replace("{}", name) for frame in pieces[kind])


def _listed(lines: list[str]) -> tuple[str, ...]:
    """The parts of lines that are separated by ` | ` outside of groups."""
    return tuple(part.strip() for line in lines for part in re.split(r"\s\|\s(?![^(]*\))", line))


def _piece(name: str, pieces: Pieces, rng: random.Random) -> str:
    if name == "num":
        return str(rng.choice((rng.randrange(10), rng.randrange(100), rng.randrange(5000))))
    return draw(rng.choice(pieces[name]), pieces, rng)


@cache
def _pieces(source: str) -> dict[str, tuple[str, ...]]:
    pairs = (line[1:].split(" = ", 1) for line in _lines(source) if line.startswith("@"))
    return {name.strip(): _listed([body]) for name, body in pairs}


def _blocks(source: str) -> Iterator[tuple[str, dict[str, list[str]]]]:
    name = ""
    block: dict[str, list[str]] = {}
    for line in _lines(source):
        if line.startswith("["):
            if block:
                yield name, block
            name, block = line.strip("[]"), {}
        elif not line.startswith("@"):
            block.setdefault(line[0], []).append(line[1:].strip())
    if block:
        yield name, block


def _lines(source: str) -> list[str]:
    text = (FOLDER / f"{source}.txt").read_text(encoding="utf-8")
    return [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
