"""Text broken at blanks before a terminal's edge, as it comes in pieces. Code keeps its lines.

Knows nothing of streams or colours.
"""

from __future__ import annotations

from rich.cells import cell_len

TAB = 8
FENCES = ("```", "~~~")
INDENTED = 4
"""Blanks at the start of a line from which it counts as code."""


class Wrap:
    """Wraps one text. A word is held back until it is whole, so that a line can end before it."""

    def __init__(self, width: int) -> None:
        self.width = max(10, width)
        self._column = 0
        self._indent = ""
        self._blanks = ""
        self._word = ""
        self._head = ""
        self._fenced = False
        self._running = False

    def feed(self, piece: str) -> str:
        """The next piece; what it returns is for the terminal."""
        return "".join(map(self._take, piece))

    def flush(self) -> str:
        """What was held back, at the end of the text."""
        return self._placed() + self._dropped()

    def _take(self, character: str) -> str:
        if character == "\n":
            return self._placed() + self._end_line()
        if len(self._head) < 2 * INDENTED:
            self._head += character
        if self._is_code():
            return self._placed() + self._dropped() + character
        if character in " \t":
            placed, self._running = self._placed(), False
            self._blanks += character
            return placed
        return self._add(character)

    def _add(self, character: str) -> str:
        if self._running:
            self._column = (self._column + cell_len(character)) % self.width
            return character
        if cell_len(character) > 1:  # in Chinese, say, a line may end after every sign
            before, self._word = self._placed(), character
            return before + self._placed()
        self._word += character
        if len(self._word) <= self.width // 2:
            return ""
        self._running = True  # too long to be held back any longer
        return self._placed()

    def _placed(self) -> str:
        """The word held back with the blanks before it, or on a new line."""
        if not self._word:
            return ""
        blanks, word, self._blanks, self._word = self._blanks, self._word, "", ""
        if self._column == 0:
            self._indent = blanks
        elif self._column + _columns(blanks) + cell_len(word) > self.width:
            self._column = _columns(self._indent) + cell_len(word)
            return f"\n{self._indent}{word}"
        self._column += _columns(blanks) + cell_len(word)
        return blanks + word

    def _dropped(self) -> str:
        """The blanks that no word follows."""
        blanks, self._blanks = self._blanks, ""
        return blanks if self._column + _columns(blanks) <= self.width else ""

    def _end_line(self) -> str:
        end = self._dropped() + "\n"
        if self._head.lstrip().startswith(FENCES):
            self._fenced = not self._fenced
        self._column, self._head, self._indent, self._running = 0, "", "", False
        return end

    def _is_code(self) -> bool:
        return self._fenced or self._head.startswith(("\t", " " * INDENTED))


def wrapped(text: str, width: int) -> str:
    """A whole text, wrapped; lines that follow keep the blanks that a line starts with."""
    wrap = Wrap(width)
    return wrap.feed(text) + wrap.flush()


def _columns(blanks: str) -> int:
    return sum(TAB if blank == "\t" else 1 for blank in blanks)
