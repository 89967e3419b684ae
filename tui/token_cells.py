"""Tokens in rows: each piece with its exact id below it, so that a row ends between tokens and never inside one.

Knows neither widgets nor the command line, which draw the rows; what a piece says passes through `render`.
"""

from __future__ import annotations

import codecs
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size

from corpora.preview import Piece
from tui import render

GAP = 1
"""Cells between two tokens."""
ENDS = "⏎"
_BYTES = re.compile(r"(?:<0x[0-9A-F]{2}>)+")
_SEEN = {" ": "·", "\t": "⇥", "\n": ENDS, "\u200c": "⟨ZWNJ⟩", "\u200d": "⟨ZWJ⟩"}
_LEFT_TO_RIGHT = "\u200e"
"""Between pieces of a script that is written from the right: without it a terminal would turn their order round."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One token: what is shown of it, and below that its id.

    `joined` where it goes on with a character that the token before began, `ends` where a line of the text ends.
    """

    text: str
    below: str
    trained: bool = False
    special: bool = False
    joined: bool = False
    ends: bool = False

    @property
    def width(self) -> int:
        """Cells on the screen, without the gap."""
        return max(cell_len(self.text), cell_len(self.below))


def cells(pieces: Iterable[Piece]) -> list[Cell]:
    """How each token looks: blanks and line ends are seen, and bytes say which character they make."""
    reading = codecs.getincrementaldecoder("utf-8")("replace")
    found: list[Cell] = []
    for piece in pieces:
        made, joined = "", False
        if not piece.special and _BYTES.fullmatch(piece.text):
            joined = bool(reading.getstate()[0])
            made = reading.decode(bytes.fromhex(piece.text.replace("<0x", "").replace(">", "")))
        else:
            reading.reset()
        found.append(_cell(piece, made, joined))
    return found


def rows(cells: Sequence[Cell], width: int, *, apart: bool = False) -> list[range]:
    """Which tokens stand in which row of so many cells; `apart` begins one where training begins or ends."""
    found: list[range] = []
    start = used = 0
    for place, cell in enumerate(cells):
        if place and (cells[place - 1].ends or (apart and cells[place - 1].trained != cell.trained)):
            cut = place
        else:
            cut = _cut(cells, start, place) if place > start and used + cell.width > width else start
        if cut > start:
            found.append(range(start, cut))
            start, used = cut, sum(each.width + GAP for each in cells[cut:place])
        used += cell.width + GAP
    return [*found, range(start, len(cells))] if cells else []


def _cut(cells: Sequence[Cell], start: int, place: int) -> int:
    """Where the row before `place` ends: not within the bytes of one character, if that can be."""
    cut = place
    while cut > start and cells[cut].joined:
        cut -= 1
    return cut if cut > start else place


def texts(cells: Sequence[Cell], width: int) -> Iterator[str]:
    """The pieces of a row, each as wide as its column with the gap; longer ones than `width` are cut."""
    for cell in cells:
        text = cell.text if cell_len(cell.text) <= width else f"{set_cell_size(cell.text, max(width - 1, 0)).rstrip()}…"
        mark = _LEFT_TO_RIGHT if any(unicodedata.bidirectional(letter) in ("R", "AL") for letter in text) else ""
        yield mark + text + " " * (min(cell.width, width) - cell_len(text) + GAP)


def ids(cells: Sequence[Cell], width: int) -> Iterator[str]:
    """The ids of a row, each in its column."""
    for cell in cells:
        column = min(cell.width, width)
        yield (set_cell_size(cell.below, column) if cell_len(cell.below) != column else cell.below) + " " * GAP


def _cell(piece: Piece, made: str, joined: bool) -> Cell:
    below = " ".join(filter(None, (str(piece.id), render.line(made.replace("\ufffd", "")))))
    if piece.special:
        return Cell(_visible(piece.text), below, piece.trained, special=True)
    if piece.text == "<0x0A>":
        return Cell(ENDS, below, piece.trained, ends=True)
    return Cell(_visible(piece.text), below, piece.trained, joined=joined, ends=piece.text.endswith("\n"))


def _visible(text: str) -> str:
    """No letter of a token goes unseen: a mark stands on a circle, what has no width has its name."""
    first = "◌" if text and unicodedata.category(text[0]) in ("Mn", "Me") else ""
    return first + "".join(_SEEN.get(letter) or _named(letter) for letter in text)


def _named(letter: str) -> str:
    shown = render.clean(letter)
    if shown == letter and unicodedata.category(letter) in ("Cf", "Zl", "Zp"):
        return f"⟨{ord(letter):04X}⟩"
    return shown if shown != "\n" else ENDS
