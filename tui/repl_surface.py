"""Where the line REPL's lines come from: a surface that asks for them, and the plain one over stdin.

Knows nothing of chats or commands.
"""

from __future__ import annotations

import asyncio
import io
import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

from corpora.errors import UsageError
from tui.output import Output

END = "."
"""A line of its own that ends a text in the plain REPL."""


class Surface(Protocol):
    """What a front end of the REPL can do. One question at a time."""

    @property
    def attended(self) -> bool:
        """True where a person sits there and can be asked."""
        ...

    async def line(self) -> str | None:
        """The next prompt or command, its lines joined; None at the end. Raises KeyboardInterrupt."""
        ...

    async def edit(self, hint: str, text: str) -> str:
        """A text as the person leaves it. Raises UsageError where nobody can edit it, KeyboardInterrupt."""
        ...

    async def ask(self, question: str) -> bool:
        """Yes or no; no where nobody can say."""
        ...

    async def announce(self, tell: Callable[[], None]) -> None:
        """Print something between two lines of input, now or before the next one is asked for."""
        ...

    def refresh(self) -> None:
        """What is shown beside the input has changed."""
        ...

    def quiet(self) -> AbstractContextManager[None]:
        """While it lasts, keys that are pressed do not show in what is printed."""
        ...

    def arm(self) -> None:
        """The next Ctrl+C at an empty prompt leaves."""
        ...

    def leave(self) -> None:
        """End the question that is being asked, as Ctrl+C does."""
        ...


class Plain:
    """Lines from stdin, replies appended to stdout: for pipes, TERM=dumb and screen readers."""

    def __init__(self, output: Output) -> None:
        self.attended = sys.stdin.isatty()
        self._output = output
        self._lines = Lines()
        self._waiting = False
        self._told: list[Callable[[], None]] = []

    async def line(self) -> str | None:
        """A line; one that ends with a backslash goes on with the next."""
        self._tell()
        parts: list[str] = []
        while True:
            read = await self._next("> " if not parts else ". ")
            if read is None:
                return "\n".join(parts) if parts else None
            if not read.endswith("\\"):
                return "\n".join([*parts, read])
            parts.append(read[:-1])

    async def edit(self, hint: str, text: str) -> str:
        """Show the text and read the new one up to a single dot."""
        if not self.attended:
            raise UsageError("Nobody is there to edit a text.", remedy="Give it after the command: /correct TEXT")
        self._output.say(text)
        self._output.note(f"{hint} Type the whole text; a line with a single {END} ends it, {END} at once leaves it.")
        lines: list[str] = []
        while (read := await self._next("")) not in (None, END):
            lines.append(str(read))
        return "\n".join(lines) or text

    async def ask(self, question: str) -> bool:
        """A line that starts with y."""
        if not self.attended:
            return False
        self._output.note(f"{question} [y/N]")
        return (await self._next("") or "").strip().lower().startswith("y")

    async def announce(self, tell: Callable[[], None]) -> None:
        """At once while nothing else is going on."""
        self._told.append(tell)
        if self._waiting:
            self._tell()

    def refresh(self) -> None:
        """Nothing is shown beside the input."""

    def quiet(self) -> AbstractContextManager[None]:
        """A terminal that echoes goes on to."""
        return nullcontext()

    def arm(self) -> None:
        """Ctrl+C leaves at once wherever nothing is under way."""

    def leave(self) -> None:
        """End the wait for a line."""
        self._lines.interrupt()

    async def _next(self, prompt: str) -> str | None:
        if self.attended:
            self._output.write(prompt)
        self._waiting = True
        try:
            return await self._lines.next()
        finally:
            self._waiting = False

    def _tell(self) -> None:
        told, self._told = self._told, []
        for tell in told:
            tell()


class Lines:
    """stdin as lines, without a thread that would hold the program up at its end."""

    def __init__(self) -> None:
        self._left = b""
        self._ended = False
        self._interrupted = False
        self._ready = asyncio.Event()
        try:
            self._descriptor: int | None = sys.stdin.fileno()
        except (io.UnsupportedOperation, ValueError):  # something that only looks like a file
            self._descriptor = None

    def interrupt(self) -> None:
        """Have `next` raise KeyboardInterrupt."""
        self._interrupted = True
        self._ready.set()

    async def next(self) -> str | None:
        """The next line without its end, or None. Raises KeyboardInterrupt after `interrupt`."""
        if self._descriptor is None:
            read = sys.stdin.readline()
            return read.rstrip("\n") if read else None
        while b"\n" not in self._left and not self._ended:
            data = await self._read(self._descriptor)
            self._left += data
            self._ended = not data
        if not self._left:
            return None
        line, _, self._left = self._left.partition(b"\n")
        return line.decode("utf-8", "replace").rstrip("\r")

    async def _read(self, descriptor: int) -> bytes:
        loop = asyncio.get_running_loop()
        try:
            loop.add_reader(descriptor, self._ready.set)
        except PermissionError:  # a regular file: reading it never waits
            return os.read(descriptor, 65536)
        try:
            await self._ready.wait()
            if self._interrupted:
                raise KeyboardInterrupt
            return os.read(descriptor, 65536)
        except OSError:  # the terminal is gone
            return b""
        finally:
            self._ready.clear()
            loop.remove_reader(descriptor)
