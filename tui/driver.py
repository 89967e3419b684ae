"""What a terminal sends, before it is an event: whole pastes, and bytes that are no UTF-8. Knows no screen.

Textual's parser reads an ESC within a bracketed paste as the beginning of a key, so that what was pasted acts as keys:
a CR sends the prompt, a ^Q leaves. Not every terminal takes ESC out of a paste: tmux 3.3 does not.
And its driver ends the app at a byte that is no UTF-8 (https://github.com/Textualize/textual/issues/6456).
"""

from __future__ import annotations

import os
import selectors
from codecs import getincrementaldecoder
from collections.abc import Generator, Iterable

from textual import events
from textual._xterm_parser import BRACKETED_PASTE_END, BRACKETED_PASTE_START, XTermParser
from textual.driver import Driver
from textual.drivers.linux_driver import LinuxDriver
from textual.message import Message

READ = 4096
"""Bytes taken at a time."""
WAIT = 0.1
"""Seconds after which a begun sequence is looked at again: it may have been the Escape key."""
_KEPT = len(BRACKETED_PASTE_END) - 1


class TerminalParser(XTermParser):
    """Textual's parser for all but the text of pastes, which it never sees."""

    def __init__(self, debug: bool = False) -> None:
        self._recent = ""
        """The end of what came last, as a marker may have begun in it; within a paste not yet part of its text."""
        self._pasted: list[str] | None = None
        """The paste so far; None outside of one."""
        super().__init__(debug)

    def feed(self, data: str) -> Iterable[Message]:
        """The events of what was read; the empty text ends the stream."""
        if not data:
            yield from super().feed(data)
        while data:
            data = yield from (self._typed(data) if self._pasted is None else self._paste(self._pasted, data))

    def tick(self) -> Iterable[Message]:
        """What was begun and had its time is keys, and no part of a marker any more."""
        for message in super().tick():
            self._recent = ""
            yield message

    def _sequence_to_key_events(self, sequence: str, alt: bool = False) -> Iterable[events.Key]:
        """The keys of a sequence; none where it gives a number that is no character, as for any that is unknown."""
        try:
            return list(super()._sequence_to_key_events(sequence, alt))
        except (ValueError, OverflowError):
            return []

    def _typed(self, data: str) -> Generator[Message, None, str]:
        """Hand everything on at once, up to the beginning of a paste; returns what follows."""
        before, marker, after = (self._recent + data).partition(BRACKETED_PASTE_START)
        known = len(self._recent)
        self._recent = "" if marker else before[-_KEPT:]
        if marker:
            self._pasted = []
        yield from super().feed((before + marker)[known:])
        return after

    def _paste(self, pasted: list[str], data: str) -> Generator[Message, None, str]:
        """Gather text up to the end of the paste; returns what follows."""
        text, marker, after = (self._recent + data).partition(BRACKETED_PASTE_END)
        if not marker:
            pasted.append(text[:-_KEPT])
            self._recent = text[-_KEPT:]
            return ""
        self._recent, self._pasted = "", None
        list(super().feed(marker))  # an empty paste, as Textual's parser saw it
        # Textual leaves NUL out as well: some terminals paste it between all characters (its issue 1661).
        yield events.Paste("".join([*pasted, text]).replace("\x00", ""))
        return after


class TerminalDriver(LinuxDriver):
    """Textual's driver with the parser above; a byte that is no UTF-8 reads as U+FFFD."""

    def run_input_thread(self) -> None:
        """Read until the app asks for an end."""
        parser = TerminalParser(self._debug)
        decode = getincrementaldecoder("utf-8")("replace").decode
        with selectors.SelectSelector() as selector:
            selector.register(self.fileno, selectors.EVENT_READ)
            while not self.exit_event.is_set():
                if selector.select(WAIT) and (data := decode(os.read(self.fileno, READ))):
                    self._handle(parser.feed(data))
                self._handle(parser.tick())

    def _handle(self, messages: Iterable[Message]) -> None:
        for message in messages:
            self.process_message(message)


def driver_for(chosen: type[Driver]) -> type[Driver]:
    """The driver to use where Textual chose this one; one that was named is kept."""
    return TerminalDriver if chosen is LinuxDriver else chosen
