"""The one view of a tokenizer that the project needs: text to ordinary ids, BOS and EOS by id.

Takes a `tokenizers.Tokenizer`, a transformers fast tokenizer, or a `Vocabulary`; imports none of them.
"""

from __future__ import annotations

from threading import Lock
from typing import Any, Protocol, TypeAlias, runtime_checkable

from corpora.errors import CorpusError


@runtime_checkable
class Vocabulary(Protocol):
    """Encodes text without special tokens: `</s>` in a text gives the ids of its letters."""

    bos_id: int
    eos_id: int

    def encode(self, text: str) -> list[int]:
        """Ordinary ids of a text, nothing added."""
        ...

    def encode_batch(self, texts: list[str]) -> list[list[int]]:
        """`encode` of many texts at once, in parallel where the library can."""
        ...


Tokenizer: TypeAlias = Any
"""A `Vocabulary`, a `tokenizers.Tokenizer`, or a transformers fast tokenizer."""


_setting = Lock()
"""Held while a tokenizer reads special tokens as letters, lest another thread's text is read so."""


class FastVocabulary:
    """A `tokenizers.Tokenizer` as a `Vocabulary`. Its own settings are put back after each call."""

    def __init__(self, backend: Any, bos_id: int, eos_id: int) -> None:
        self.backend = backend
        self.bos_id = bos_id
        self.eos_id = eos_id

    def encode(self, text: str) -> list[int]:
        """Ordinary ids of a text."""
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: list[str]) -> list[list[int]]:
        """Ordinary ids of texts; the backend encodes them in parallel."""
        with _setting:
            before = self.backend.encode_special_tokens
            self.backend.encode_special_tokens = True
            try:
                found = self.backend.encode_batch_fast(texts, add_special_tokens=False)
            finally:
                self.backend.encode_special_tokens = before
        return [encoding.ids for encoding in found]

    def encode_signs(self, text: str) -> list[int]:
        """Ids of a text whose special tokens are special."""
        with _setting:
            found: list[int] = self.backend.encode(text, add_special_tokens=False).ids
        return found


def vocabulary(tokenizer: Tokenizer) -> Vocabulary:
    """The `Vocabulary` of any tokenizer the project meets; raises CorpusError for one it cannot use."""
    if isinstance(tokenizer, Vocabulary) and not hasattr(tokenizer, "backend_tokenizer"):
        return tokenizer
    backend = getattr(tokenizer, "backend_tokenizer", tokenizer)
    if not hasattr(backend, "encode_special_tokens"):
        raise CorpusError(
            f"A {type(tokenizer).__name__} cannot split special tokens in text.",
            remedy="Load the model's tokenizer.json (a fast tokenizer).",
        )
    bos, eos = _special(tokenizer, backend, "bos", "<s>"), _special(tokenizer, backend, "eos", "</s>")
    return FastVocabulary(backend, bos, eos)


def _special(tokenizer: Any, backend: Any, name: str, text: str) -> int:
    found = getattr(tokenizer, f"{name}_token_id", None)
    if found is None:
        found = backend.token_to_id(text)
    if found is None:
        raise CorpusError(f"The tokenizer has no {name.upper()} token.", remedy="Name it in tokenizer_config.json.")
    return int(found)
