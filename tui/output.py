"""The only place that prints: results on stdout, messages on stderr, foreign text cleaned on its way out.

With `json` stdout carries JSON and nothing else. Knows nothing of verbs.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, TextIO

import msgspec

from corpora.errors import LlamaTuiError
from sessions.errors import Failure

if TYPE_CHECKING:
    from tui.output_wrap import Wrap

PLAIN_WIDTH = 10_000
"""Columns of a table that goes into a file or a pipe: nothing is cut or wrapped."""
PROGRESS_PAUSE = 5.0
"""Seconds between lines of progress where lines cannot be overwritten."""
_CONTROLS = re.compile("[\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_STYLES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}


class Output:
    """Where one command's results and messages go. Streams default to the process's own, looked up late."""

    def __init__(self, *, json: bool = False, out: TextIO | None = None, err: TextIO | None = None) -> None:
        self.json = json
        self.written = False
        self._out = out
        self._err = err
        self._transient = 0
        self._progress_at = 0.0
        self._progress_text = ""
        self._wrap: Wrap | None = None

    @property
    def out(self) -> TextIO:
        """Results."""
        return self._out or sys.stdout

    @property
    def err(self) -> TextIO:
        """Messages."""
        return self._err or sys.stderr

    @property
    def terminal(self) -> bool:
        """True where results go to a terminal that can move its cursor."""
        return _moves(self.out)

    @property
    def width(self) -> int:
        """Columns for results."""
        return shutil.get_terminal_size().columns if self.out.isatty() else PLAIN_WIDTH

    # results

    def document(self, value: Any) -> None:
        """The one JSON document of a command."""
        self.row(value)

    def row(self, value: Any) -> None:
        """One JSON object on a line of its own, at once."""
        self.written = True
        self._end_progress()
        self.out.write(encode(value) + "\n")
        self.out.flush()

    def say(self, text: str = "", style: str = "") -> None:
        """A line of the result; left out with `json`."""
        if not self.json:
            self._end_progress()
            self.out.write(self._styled(_fitted(_clean(text), self.out), style, self.out) + "\n")
            self.out.flush()

    def write(self, piece: str) -> None:
        """A piece of streamed text, cleaned by the caller's `Stream`; left out with `json`."""
        if not self.json and piece:
            self._end_progress()
            self.out.write(piece)
            self.out.flush()

    def reply(self, piece: str) -> None:
        """A piece of a reply, as `write`; on a terminal no word is broken at the edge. A line's end ends it whole."""
        if not self.out.isatty():
            self.write(piece)
            return
        if self._wrap is None:
            from tui.output_wrap import Wrap

            self._wrap = Wrap(self.width)
        self.write(self._wrap.feed(piece))

    def end_reply(self) -> None:
        """The last line of a reply ends, with what was held back of it."""
        self.reply("\n")
        self._wrap = None

    def table(
        self,
        columns: Sequence[str],
        rows: Iterable[Sequence[object]],
        right: Sequence[str] = (),
        wrapped: Sequence[str] = (),
    ) -> None:
        """Rows under headings; columns named in `right` are set flush right, those in `wrapped` take more lines.

        Left out with `json`.
        """
        if self.json:
            return
        self._end_progress()
        text = table_text(columns, rows, right=right, wrapped=wrapped, width=self.width, colour=self._colour(self.out))
        self.out.write(text)
        self.out.flush()

    # messages

    def note(self, text: str, style: str = "") -> None:
        """A line for the person, beside the result."""
        self._end_progress()
        self.err.write(self._styled(_fitted(_clean(text), self.err), style, self.err) + "\n")
        self.err.flush()

    def problem(self, error: LlamaTuiError) -> None:
        """What happened, what it means for the data, what to do: one readable block."""
        self.note(f"llama-tui: {error.what or type(error).__name__}", "red")
        for part in filter(None, (error.data, error.remedy)):
            self.note(f"  {part}")

    def failure(self, error: LlamaTuiError) -> None:
        """The block of `problem`; with `json` also an object with the error, as what stdout ends with."""
        self.problem(error)
        if self.json:
            self.row({"error": Failure.of(error)})

    def progress(self, text: str) -> None:
        """One line that the next one replaces; where that cannot be, a line now and then."""
        if _moves(self.err):
            line = _clean(text).replace("\n", " ")[: max(10, shutil.get_terminal_size().columns - 1)]
            self.err.write("\r" + line + " " * max(0, self._transient - len(line)))
            self.err.flush()
            self._transient = len(line)
        elif text != self._progress_text and time.monotonic() - self._progress_at >= PROGRESS_PAUSE:
            self._progress_at, self._progress_text = time.monotonic(), text
            self.err.write(_clean(text) + "\n")
            self.err.flush()

    def _end_progress(self) -> None:
        if self._transient:
            self.err.write("\r" + " " * self._transient + "\r")
            self.err.flush()
            self._transient = 0

    def _styled(self, text: str, style: str, stream: TextIO) -> str:
        if not style or not self._colour(stream):
            return text
        return f"\x1b[{_STYLES[style]}m{text}\x1b[0m"

    def _colour(self, stream: TextIO) -> bool:
        return _moves(stream) and not os.environ.get("NO_COLOR")


def encode(value: Any) -> str:
    """JSON on one line. What a terminal could read as a control code is escaped as JSON allows."""
    text = msgspec.json.encode(_whole(value), enc_hook=str).decode()
    return _CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def table_text(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    right: Sequence[str] = (),
    wrapped: Sequence[str] = (),
    width: int = 80,
    colour: bool = False,
) -> str:
    """A table as text, one row a line; foreign text in it is cleaned and never read as markup."""
    from rich.console import Console
    from rich.table import Table

    from tui.render import cell

    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(cell(column), justify="right" if column in right else "left", overflow="ellipsis")
    for row in rows:
        cells = [cell("" if value is None else str(value)) for value in row]
        for name, each in zip(columns, cells, strict=True):
            each.no_wrap = name not in wrapped
        table.add_row(*cells)
    console = Console(
        width=width, force_terminal=colour, no_color=not colour, color_system="standard" if colour else None
    )
    with console.capture() as captured:
        console.print(table, markup=False, highlight=False, crop=False)
    return "\n".join(line.rstrip() for line in captured.get().splitlines()) + "\n"


def _whole(value: Any) -> Any:
    """The value with its text made encodable: halves of surrogate pairs become U+FFFD."""
    try:
        msgspec.json.encode(value, enc_hook=str)
    except UnicodeEncodeError:
        return _mended(msgspec.to_builtins(value, enc_hook=str))
    return value


def _mended(value: Any) -> Any:
    match value:
        case str():
            return value.encode("utf-8", "replace").decode() if _half(value) else value
        case dict():
            return {_mended(key): _mended(inner) for key, inner in value.items()}
        case list() | tuple():
            return [_mended(inner) for inner in value]
        case _:
            return value


def _half(text: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in text)


def _moves(stream: TextIO) -> bool:
    return stream.isatty() and os.environ.get("TERM", "") not in ("", "dumb")


def _fitted(text: str, stream: TextIO) -> str:
    """Broken at blanks where it goes to a terminal."""
    if not stream.isatty():
        return text
    from tui.output_wrap import wrapped

    return wrapped(text, shutil.get_terminal_size().columns)


def _clean(text: str) -> str:
    from tui.render import clean

    return clean(text)
