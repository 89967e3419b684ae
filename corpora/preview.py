"""What a model sees of a dialog: each token with its text and whether it is trained. For screens and the CLI."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from corpora.dialog import Dialog, Example
from corpora.llama2 import encode_example
from corpora.templates import template_of
from corpora.tokens import Tokenizer, vocabulary


@dataclass(frozen=True, slots=True)
class Piece:
    """One token. `text` is what it adds to the text: BOS and EOS by name, bytes as `<0xE2>`."""

    text: str
    id: int
    trained: bool


def preview(
    dialog: Dialog,
    tokenizer: Tokenizer,
    encode: Callable[[Dialog, Tokenizer], Example] = encode_example,
) -> list[Piece]:
    """The tokens of a whole dialog as training sees them."""
    example = encode(dialog, tokenizer)
    return [
        Piece(name, token, trained)
        for token, name, trained in zip(example.ids, _names(example.ids, tokenizer), example.trained, strict=True)
    ]


def _names(ids: list[int], tokenizer: Tokenizer) -> list[str]:
    """What each token stands for; ids as numbers where the tokenizer cannot tell."""
    if template_of(tokenizer) is not None:
        return [str(tokenizer.decode([token], skip_special_tokens=False)) for token in ids]
    words = vocabulary(tokenizer)
    known = getattr(getattr(words, "backend", words), "id_to_token", None)
    special = {words.bos_id: "<s>", words.eos_id: "</s>"}
    names = [(known(token) if known else None) or special.get(token) or f"<{token}>" for token in ids]
    # U+2581 stands for a blank in the vocabulary's names.
    return [name.replace("\u2581", " ") for name in names]
