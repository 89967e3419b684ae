"""Turns a stream of ids into pieces of text: whole characters only, together exactly the decoded whole.

Knows nothing of models. Runs of byte tokens are held until they end, as only then their text is settled.
"""

from __future__ import annotations

import re

from sessions.engine.words import Words

_BYTE = re.compile(r"<0x[0-9A-F]{2}>")
_HALF = "\ufffd"


class Detokenizer:
    """One column's text as it grows. Special tokens never become text."""

    def __init__(self, words: Words) -> None:
        self._words = words
        self._ids: list[int] = []
        self._start = 0
        self._told = 0

    def push(self, token: int) -> str:
        """The text that is settled with this id; empty while a character is incomplete."""
        if token in self._words.special or self._words.backend.id_to_token(token) is None:
            return ""
        self._ids.append(token)
        if self._is_byte(token):
            return ""
        return self._settle(whole=False)

    def finish(self) -> str:
        """What was still held."""
        return self._settle(whole=True)

    def _settle(self, whole: bool) -> str:
        text = self._decode(self._ids[self._start :])
        if not whole and text.endswith(_HALF):
            return ""
        before = self._decode(self._ids[self._start : self._told])
        self._start, self._told = max(self._told - 1, 0), len(self._ids)
        self._start = self._run_start(self._start)
        return text[len(before) :]

    def _run_start(self, index: int) -> int:
        """Never begin inside a run of bytes, whose text depends on all of it."""
        while index > 0 and self._is_byte(self._ids[index]):
            index -= 1
        return index

    def _is_byte(self, token: int) -> bool:
        piece = self._words.backend.id_to_token(token)
        return piece is not None and _BYTE.fullmatch(piece) is not None

    def _decode(self, ids: list[int]) -> str:
        text: str = self._words.backend.decode(ids, skip_special_tokens=True)
        return text
