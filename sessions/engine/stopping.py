"""Ends a reply before a stop text. Knows text alone: neither ids nor models.

What might be the beginning of a stop text is held back until it is clear whether it is one.
"""

from __future__ import annotations

from collections.abc import Sequence


class Stops:
    """One column's watch for stop texts, of which the one that is complete first counts."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = stops
        self._held = ""
        self.found = False

    def push(self, text: str) -> str:
        """The text that may be told now; empty for ever after a stop text was found."""
        if self.found:
            return ""
        text = self._held + text
        start = self._first(text)
        self.found = start is not None
        keep = len(text) - self._begun(text) if start is None else start
        self._held = "" if self.found else text[keep:]
        return text[:keep]

    def finish(self) -> str:
        """What was still held, which is no stop text after all."""
        held, self._held = self._held, ""
        return held

    def _first(self, text: str) -> int | None:
        """Where the stop text starts that ends first, and of several the longest."""
        places = [(at + len(stop), at) for stop in self._stops if (at := text.find(stop)) >= 0]
        return min(places)[1] if places else None

    def _begun(self, text: str) -> int:
        """Length of the longest end of a text with which a stop text begins."""
        longest = max((len(stop) for stop in self._stops), default=1) - 1
        return next((n for n in range(min(longest, len(text)), 0, -1) if self._starts(text[-n:])), 0)

    def _starts(self, end: str) -> bool:
        return any(stop.startswith(end) for stop in self._stops)
