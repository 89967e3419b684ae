"""Text of a reply while it streams: its closed blocks told from the open one, plain text wrapped as it grows.

Text that comes in is clean already (`tui.render`). Knows nothing of widgets; `tui/drawing.py` draws blocks.
"""

from __future__ import annotations

import re

from rich.cells import cell_len, chop_cells

FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
ITEM = re.compile(r" {0,3}([-*+]|\d{1,9}[.)])\s")


class Blocks:
    """Tells closed blocks of Markdown from the open one while text comes in.

    A block closes at a blank line, a fence at its end, a list where something else begins.
    """

    def __init__(self) -> None:
        self.open = ""
        self._line = ""
        self._fence = ""
        self._list = False
        self._blank = False

    def feed(self, piece: str) -> list[str]:
        """Take text in; returns the blocks that it closed. `open` is what is not closed yet."""
        closed: list[str] = []
        for part in piece.splitlines(keepends=True) if "\n" in piece else [piece]:
            self.open += part
            self._line += part
            if part.endswith("\n"):
                closed += self._ended(self._line)
                self._line = ""
        return closed

    def close(self) -> list[str]:
        """The text has ended: what was open is the last block."""
        rest, self.open, self._line = self.open, "", ""
        return [rest] if rest.strip() else []

    def _ended(self, line: str) -> list[str]:
        if self._fence:
            if line.strip().startswith(self._fence) and not line.strip().strip(self._fence[0]):
                self._fence = ""
                return [] if self._list else self._cut(0)
            return []
        if not line.strip():
            self._blank = True
            return [] if self._list else self._cut(0)
        return self._began(line)

    def _began(self, line: str) -> list[str]:
        leaves_list = self._list and self._blank and not ITEM.match(line) and not line.startswith((" ", "\t"))
        closed = self._cut(len(line)) if leaves_list else []
        self._blank = False
        if self.open == line:
            self._list = ITEM.match(line) is not None
        if fence := FENCE.match(line.lstrip() if self._list else line):
            if not self._list and self.open != line:
                closed += self._cut(len(line))
            self._fence = fence[1]
        return closed

    def _cut(self, keep: int) -> list[str]:
        """Close what is open but for its last `keep` characters."""
        place = len(self.open) - keep
        block, self.open = self.open[:place], self.open[place:]
        self._list = False
        return [block] if block.strip() else []


class Tail:
    """Plain text that grows, wrapped to a width; only its last row is wrapped again."""

    def __init__(self, width: int) -> None:
        self.width = max(1, width)
        self.settled: list[str] = []
        """Rows that stay as they are."""
        self._rest = ""

    @property
    def open(self) -> list[str]:
        """The rows after them, which more text may change."""
        return wrapped(self._rest, self.width)

    @property
    def rows(self) -> list[str]:
        """The rows so far."""
        return [*self.settled, *self.open]

    def feed(self, piece: str) -> None:
        """Take text in."""
        *ended, self._rest = (self._rest + piece).split("\n")
        for line in ended:
            self.settled += wrapped(line, self.width) or [""]
        rows = wrapped(self._rest, self.width)
        if len(rows) > 1:
            self.settled += rows[:-1]
            self._rest = rows[-1]


def wrapped(text: str, width: int) -> list[str]:
    """Rows of at most `width` cells, broken at blanks where it can be; blanks at the ends are kept."""
    rows: list[str] = []
    row, used = "", 0
    for word in re.findall(r"\S+\s*|\s+", text.expandtabs(4)):
        size = cell_len(word.rstrip())
        if row and used + size > width:
            rows.append(row)
            row, used = "", 0
        if size > width:
            *full, rest = chop_cells(word, width)
            rows += full
        else:
            rest = word
        row += rest
        used += cell_len(rest)
    return [*rows, row] if row else rows
