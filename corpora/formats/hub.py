"""Data sets of the Hugging Face hub, by name, through `datasets`, which is imported only when called.

A name is `owner/name`, with `:split` behind it where another than `train` is wanted.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from itertools import chain, islice
from typing import Any

from corpora import formats
from corpora.errors import CorpusError, ImportRefused
from corpora.formats.form import Item, Refused

NAME = re.compile(r"[\w.-]{1,96}/[\w.-]{1,96}(?::[\w.-]{1,64})?")


def is_name(text: str) -> bool:
    """Whether a text could name a data set."""
    return NAME.fullmatch(text) is not None


def read(name: str, format: str | None = None) -> Iterator[tuple[int, Item] | Refused]:
    """(row number, dialog or pair) of a data set, read as a stream, and refused rows; as `formats.read`."""
    rows = enumerate(_rows(name), start=1)
    first = list(islice(rows, formats.LOOKED_AT))
    form = formats.form(format) if format else formats.form_of(first, name)
    for row in chain(first, rows):
        yield from formats.items_of(form, row, name)


def push(rows: Iterator[dict[str, Any]], name: str, *, private: bool = True) -> int:
    """Put rows up as the `train` split of a data set, private unless said otherwise; returns how many."""
    given = list(rows)
    try:
        from datasets import Dataset

        Dataset.from_list(given).push_to_hub(name, private=private)
    except Exception as error:
        raise CorpusError(
            f"{name} could not be written to the hub: {_reason(error)}.",
            data="The corpus itself is unharmed.",
            remedy="Log in with `hf auth login`, and check the name and the network.",
        ) from error
    return len(given)


def _rows(name: str) -> Iterator[dict[str, Any]]:
    repository, _, split = name.partition(":")
    try:
        from datasets import load_dataset

        yield from load_dataset(repository, split=split or "train", streaming=True)
    except Exception as error:
        raise ImportRefused(
            f"{name} could not be read from the hub: {_reason(error)}.",
            data="Rows before that came in.",
            remedy="Check the name, the network and, for a gated one, `hf auth login`.",
        ) from error


def _reason(error: Exception) -> str:
    """In a person's words where no line goes there; else the first line of what the library says."""
    causes = list(_causes(error))
    if any(type(each).__name__ == "OfflineModeIsEnabled" for each in causes):
        return "offline mode is on (HF_HUB_OFFLINE is set)"
    if any(isinstance(each, (ConnectionError, TimeoutError, socket.gaierror)) for each in causes):
        return "it cannot be reached from here"
    return (str(error).splitlines() or [type(error).__name__])[0][:200].rstrip(".")


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what led to it, as a traceback would tell."""
    below: BaseException | None = error
    while below is not None:
        yield below
        below = below.__cause__ or (None if below.__suppress_context__ else below.__context__)
