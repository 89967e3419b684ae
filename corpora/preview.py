"""What a model sees of a dialog: each token with its text and whether it is trained. For screens and the CLI."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from corpora.dialog import Dialog, Example
from corpora.llama2 import encode_example
from corpora.tokens import Tokenizer, Vocabulary, vocabulary


@dataclass(frozen=True, slots=True)
class Piece:
    """One token. `text` is what it adds to the text, bytes that are no character by themselves as `<0xE2>`.

    A special token (`special`: BOS, EOS, the signs of a template) has its name as text.
    """

    text: str
    id: int
    trained: bool
    special: bool = False


def preview(
    dialog: Dialog,
    tokenizer: Tokenizer,
    encode: Callable[[Dialog, Tokenizer], Example] = encode_example,
) -> list[Piece]:
    """The tokens of a whole dialog as training sees them."""
    example, words = encode(dialog, tokenizer), vocabulary(tokenizer)
    backend = getattr(words, "backend", words)
    added = _added(backend)
    ends = {words.bos_id, words.eos_id}
    return [
        Piece(_name(token, words, backend, added), token, trained, token in added or token in ends)
        for token, trained in zip(example.ids, example.trained, strict=True)
    ]


def _added(backend: Any) -> dict[int, str]:
    """Special tokens and what a template's signs may be, by id; empty where the tokenizer cannot tell."""
    found: dict[int, Any] = getattr(backend, "get_added_tokens_decoder", dict)()
    return {token: str(each.content) for token, each in found.items() if str(each.content).strip()}


def _name(token: int, words: Vocabulary, backend: Any, added: dict[int, str]) -> str:
    if token in added:
        return added[token]
    known = getattr(backend, "id_to_token", None)
    special = {words.bos_id: "<s>", words.eos_id: "</s>"}
    name = (known(token) if known else None) or special.get(token) or f"<{token}>"
    # U+2581 stands for a blank in the names of Llama's vocabulary; GPT's has a letter for each byte.
    return _letters(name) if known and _is_byte_level(backend) else name.replace("\u2581", " ")


def _is_byte_level(backend: Any) -> bool:
    return backend.token_to_id("\u0120") is not None and backend.token_to_id("<0x0A>") is None


def _letters(name: str) -> str:
    """The text of a byte-level token; bytes where it is no whole character."""
    try:
        data = bytes(_bytes()[letter] for letter in name)
        return data.decode("utf-8")
    except KeyError:
        return name
    except UnicodeDecodeError:
        return "".join(f"<0x{byte:02X}>" for byte in data)


@cache
def _bytes() -> dict[str, int]:
    """GPT-2's letter for each byte: itself where it is printable, else one above U+0100, in order."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + place): byte for place, byte in enumerate(others)}
