"""A dialog cut to the context by whole exchanges."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from corpora.dialog import Dialog, messages
from corpora.errors import DialogError
from corpora.llama2 import encode_prompt


class DialogTooLong(DialogError):
    """The last prompt alone is too long."""


@dataclass(frozen=True)
class Fitted:
    """Ids, and how many exchanges were left out."""

    ids: list[int]
    dropped_exchanges: int


def fit_prompt(dialog: Dialog, tokenizer: Any, budget: int) -> Fitted:
    """Ids of the dialog without its oldest exchanges, the system prompt kept."""
    said = messages(dialog)
    system = said[:1] if said and said[0].role == "system" else ()
    rest = said[len(system) :]
    for dropped in range(0, len(rest), 2):
        ids = encode_prompt((*system, *rest[dropped:]), tokenizer)
        if len(ids) <= budget:
            return Fitted(ids, dropped // 2)
    raise DialogTooLong(f"It takes {len(ids)} tokens, and there is room for {budget}.")
