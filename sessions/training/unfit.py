"""Kept replies that a model cannot be trained on, told before a run starts. Torch-free.

Uses the model's own tokenizer where that is on this disk, else the Llama 2 format without lengths.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

from corpora import llama2
from corpora.dataset import Row, encode_rows
from corpora.errors import DialogError
from corpora.model_tokenizer import ModelTokenizer
from corpora.templates import Template, template_of
from sessions.errors import ModelNotFound, ModelUnusable
from sessions.model_words import tokenizer_of

MEASURED = 1000
"""Long rows that are encoded here at most; the run itself finds the others."""


def unfit(rows: Iterable[Row], model: str, max_length: int) -> Iterator[tuple[Row, str]]:
    """Rows, or parts of them, that a run would leave out, each with the reason."""
    tokenizer = _tokenizer(model)
    template = None if tokenizer is None else template_of(tokenizer)
    long: list[Row] = []
    for row in rows:
        reason = _inexpressible(row, template)
        if reason:
            yield row, reason
        elif tokenizer is not None and _may_be_too_long(row, max_length):
            long.append(row)
    if tokenizer is not None:
        yield from encode_rows(tuple(islice(long, MEASURED)), tokenizer, max_length).left_out


def _tokenizer(model: str) -> ModelTokenizer | None:
    try:
        return tokenizer_of(model)
    except (ModelNotFound, ModelUnusable):
        return None


def _inexpressible(row: Row, template: Template | None) -> str:
    """What in a row the model's chat format cannot express; empty where it can be."""
    try:
        if template is None:
            llama2.render(row.dialog)
        else:
            template.check(row.dialog)
    except DialogError as error:
        return error.what
    return ""


def _may_be_too_long(row: Row, max_length: int) -> bool:
    """A token stands for at least one byte, so most rows need not be encoded to know that they fit."""
    sizes = [len(said.content.encode("utf-8", "replace")) for said in row.dialog]
    system = sizes.pop(0) if row.dialog[0].role == "system" else 0
    return any(system + sum(sizes[at : at + 2]) + TAGS > max_length for at in range(0, len(sizes), 2))


TAGS = 64
"""More bytes than the tags around one exchange take in any chat format."""
