"""Figures that need a tokenizer: lengths in tokens, of an even sample of the corpus."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from corpora.dialog import Exchange, dialog_of
from corpora.errors import DialogError
from corpora.llama2 import encode_examples
from corpora.store import KEPT, Bar, Filter, Store
from corpora.tokens import Tokenizer

SAMPLE = 2000
AT_ONCE = 200


def token_lengths(
    store: Store, tokenizer: Tokenizer, where: Filter = KEPT, *, bars: int = 20, sample: int = SAMPLE
) -> list[Bar]:
    """Histogram of exchanges by their tokens, prompt and reply, scaled from the sample to all that match."""
    ids = store.ids(where)
    step = max(1, len(ids) // sample)
    lengths = sorted(_lengths(store, ids[::step], tokenizer))
    if not lengths:
        return []
    width = max(1, -(-lengths[int(len(lengths) * 0.98)] // bars))
    counts = [0] * bars
    for length in lengths:
        counts[min(length // width, bars - 1)] += 1
    return [Bar(number * width, round(count * len(ids) / len(lengths))) for number, count in enumerate(counts)]


def _lengths(store: Store, ids: Sequence[int], tokenizer: Tokenizer) -> Iterator[int]:
    for start in range(0, len(ids), AT_ONCE):
        yield from _encoded(store.exchanges(ids[start : start + AT_ONCE]), tokenizer)


def _encoded(exchanges: Sequence[Exchange], tokenizer: Tokenizer) -> list[int]:
    """Lengths of those that can be expressed in the model's form."""
    dialogs = [dialog_of([each]) for each in exchanges]
    try:
        return [len(example.ids) for example in encode_examples(dialogs, tokenizer)]
    except DialogError:
        return [length for each in exchanges for length in _alone(each, tokenizer)]


def _alone(exchange: Exchange, tokenizer: Tokenizer) -> list[int]:
    try:
        return [len(encode_examples([dialog_of([exchange])], tokenizer)[0].ids)]
    except DialogError:
        return []
