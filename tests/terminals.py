"""A real pseudo-terminal with a screen: start the program, press keys, wait for what a person would see."""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType

import pyte
from ptyprocess import PtyProcess

KEYS = {
    "enter": "\r",
    "escape": "\x1b",
    "tab": "\t",
    "backspace": "\x7f",
    "up": "\x1b[A",
    "down": "\x1b[B",
    "right": "\x1b[C",
    "left": "\x1b[D",
    "pagedown": "\x1b[6~",
    "end": "\x1b[F",
    "delete": "\x1b[3~",
    **{f"f{number}": f"\x1bO{letter}" for number, letter in zip(range(1, 5), "PQRS", strict=True)},
    "f5": "\x1b[15~",
    "f6": "\x1b[17~",
    "f7": "\x1b[18~",
    "f8": "\x1b[19~",
    **{f"ctrl+{letter}": chr(ord(letter) - 96) for letter in "abcdefghijklmnopqrstuvwxyz"},
}


class Terminal:
    """A program on a pty of its own. `raw` keeps every byte it wrote."""

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        *,
        columns: int = 120,
        rows: int = 40,
        cwd: Path | None = None,
    ) -> None:
        self.screen = pyte.Screen(columns, rows)
        self.stream = pyte.ByteStream(self.screen)
        self.raw = bytearray()
        self.started = time.monotonic()
        self.process = PtyProcess.spawn(
            list(command),
            dimensions=(rows, columns),
            env={**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor", **environment},
            cwd=str(cwd) if cwd else None,
        )

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            print("\n".join(self.lines()), file=sys.stderr)  # noqa: T201 (what the person saw when the test failed)
        self.process.close(force=True)

    def lines(self) -> list[str]:
        """The screen's lines, trailing blanks cut."""
        return [line.rstrip() for line in self.screen.display]

    @property
    def text(self) -> str:
        """The whole screen."""
        return "\n".join(self.lines())

    def press(self, *keys: str) -> None:
        """Names of `KEYS`, or text typed as it is."""
        for key in keys:
            self.process.write(KEYS.get(key, key).encode())
            self.read(0.02)

    def read(self, seconds: float) -> None:
        """Take in what the program writes for so long."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            if select.select([self.process.fd], [], [], left)[0]:
                try:
                    data = os.read(self.process.fd, 65536)
                except OSError:
                    return
                if not data:
                    return
                self.raw += data
                self.stream.feed(data)

    def wait(self, wanted: str | Callable[[str], bool], seconds: float = 30.0) -> float:
        """Until the screen shows it; returns the seconds since the start of the program."""
        holds = wanted if callable(wanted) else lambda text: wanted in text
        until = time.monotonic() + seconds
        while not holds(self.text):
            if time.monotonic() > until:
                raise AssertionError(f"{wanted!r} was not seen within {seconds} s; the screen:\n{self.text}")
            self.read(0.02)
        return time.monotonic() - self.started

    def wait_for_end(self, seconds: float = 15.0) -> int:
        """The exit code, once the program has ended by itself."""
        until = time.monotonic() + seconds
        while self.process.isalive():
            if time.monotonic() > until:
                raise AssertionError(f"the program did not end within {seconds} s; the screen:\n{self.text}")
            self.read(0.02)
        self.read(0.1)
        return int(self.process.exitstatus if self.process.exitstatus is not None else -self.process.signalstatus)

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send a signal to the program itself."""
        os.kill(self.process.pid, number)


def program() -> list[str]:
    """The installed `llama-tui` of the environment that runs the tests."""
    return [str(Path(sys.executable).with_name("llama-tui"))]
