"""How fast the last reply came: to the first token, in reading the prompt, in writing. Knows no widgets."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from sessions.protocol import ColumnEnded, Prefilled, Token


@dataclass(slots=True)
class Pace:
    """Fed with a reply's events as they come. Seconds and tokens a second; 0 where it is not known."""

    clock: Callable[[], float] = time.monotonic
    sent: float = 0.0
    first: float = 0.0
    read: float = 0.0
    wrote: float = 0.0

    def begin(self) -> None:
        """A prompt is sent."""
        self.sent, self.first, self.read, self.wrote = self.clock(), 0.0, 0.0, 0.0

    def hear(self, event: object) -> None:
        """One more event."""
        match event:
            case Prefilled(prompt_tokens=tokens, reused_tokens=reused, seconds=seconds) if seconds:
                self.read = (tokens - reused) / seconds
            case Token() if not self.first:
                self.first = self.clock() - self.sent
            case ColumnEnded(tokens=tokens, seconds=seconds) if seconds:
                self.wrote = tokens / seconds

    @property
    def reading(self) -> str:
        """How the prompt was taken; the speed of writing stands elsewhere while one watches."""
        parts = (
            (self.first, f"first token {seconds_of(self.first)}"),
            (self.read, f"read {self.read:,.0f} tok/s"),
        )
        return " · ".join(text for value, text in parts if value)

    def __str__(self) -> str:
        wrote = f"wrote {self.wrote:,.1f} tok/s" if self.wrote else ""
        return " · ".join(part for part in (self.reading, wrote) if part)


def seconds_of(seconds: float) -> str:
    """`41 ms`, `0.83 s`."""
    return f"{seconds * 1000:.0f} ms" if seconds < 0.2 else f"{seconds:.2f} s"
