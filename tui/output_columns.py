"""Replies that stream together: side by side where the terminal is wide, else one after the other.

Knows nothing of adapters or prompts.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from types import TracebackType

from rich import box
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from sessions.protocol import AnyEvent, ColumnEnded, Failed, Token
from tui.output import Output
from tui.render import Stream, clean

WIDE = 100
"""Columns of a terminal from which two replies stand side by side."""
REFRESH = 0.1
"""Seconds between two paintings of replies that grow side by side."""


class Stacked:
    """One reply below the other: the first streams, the others wait until it has ended."""

    def __init__(self, output: Output, headings: Sequence[str]) -> None:
        self._output = output
        self._headings = headings
        self._streams = [Stream() for _ in headings]
        self._waiting = [""] * len(headings)
        self._over = [False] * len(headings)
        self._now = -1

    def __enter__(self) -> Stacked:
        self._next()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Also when stopped in the middle: what has come of every reply is on the screen."""
        for column in range(len(self._over)):
            self.end(column)

    def feed(self, column: int, text: str) -> None:
        """The next piece of a reply."""
        self._put(column, self._streams[column].feed(text))

    def end(self, column: int) -> None:
        """A reply is complete."""
        if not self._over[column]:
            self._put(column, self._streams[column].flush())
            self._over[column] = True
        while self._now < len(self._over) and self._over[self._now]:
            self._output.end_reply()
            self._next()

    def _put(self, column: int, text: str) -> None:
        if column == self._now:
            self._output.reply(text)
        else:
            self._waiting[column] += text

    def _next(self) -> None:
        self._now += 1
        if self._now < len(self._headings):
            self._output.say(f"── {self._headings[self._now]} ──", "bold")
            self._output.reply(self._waiting[self._now])


class SideBySide:
    """All replies in columns, painted again as they grow; the whole of them stays at the end."""

    def __init__(self, output: Output, headings: Sequence[str]) -> None:
        self._headings = headings
        self._texts = [""] * len(headings)
        self._painted = 0.0
        self._console = Console(file=output.out, highlight=False, markup=False)
        self._live = Live(console=self._console, auto_refresh=False, transient=True, redirect_stdout=False)

    def __enter__(self) -> SideBySide:
        self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._live.stop()
        self._console.print(self._table(0))

    def feed(self, column: int, text: str) -> None:
        """The next piece of a reply."""
        self._texts[column] += text
        if time.monotonic() - self._painted >= REFRESH:
            self._painted = time.monotonic()
            self._live.update(self._table(max(3, shutil.get_terminal_size().lines - 3)), refresh=True)

    def end(self, column: int) -> None:
        """A reply is complete."""

    def _table(self, rows: int) -> Table:
        table = Table(box=box.MINIMAL, expand=True, pad_edge=False)
        for heading in self._headings:
            table.add_column(Text(clean(heading)), ratio=1, overflow="fold")
        width = self._console.width // len(self._headings) - 3
        table.add_row(*(_last_lines(self._console, text, width, rows) for text in self._texts))
        return table


def _last_lines(console: Console, text: str, width: int, rows: int) -> Text:
    """What fits the screen, counted from the end; all of it where `rows` is 0."""
    whole = Text(clean(text))
    return Text("\n").join(whole.wrap(console, max(10, width))[-rows:]) if rows else whole


async def streamed(output: Output, headings: Sequence[str], events: AsyncGenerator[AnyEvent, None]) -> None:
    """Show the columns of a comparison as they come. Raises what the host says they failed with."""
    with columns(output, headings) as shown:
        async with aclosing(events):
            async for event in events:
                match event:
                    case Token(text=text, column=column):
                        shown.feed(column, text)
                    case ColumnEnded(column=column):
                        shown.end(column)
                    case Failed(failure=failure):
                        raise failure.error()


def columns(output: Output, headings: Sequence[str]) -> Stacked | SideBySide:
    """What fits this terminal; a context manager whose end leaves the replies on the screen."""
    wide = output.terminal and not output.json and output.width >= WIDE
    return SideBySide(output, headings) if wide else Stacked(output, headings)
