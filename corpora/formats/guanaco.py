"""`text` of `### Human: … ### Assistant: …`, as in openassistant-guanaco."""

from __future__ import annotations

import re
from collections.abc import Iterator

from corpora.dialog import Message, Role
from corpora.formats.form import BadRow, Form, Item, RowOf, dialog, text, turns_of

_SPEAKER = re.compile(r"(?:^|\s*)### (Human|Assistant):[ ]?")


def fits(row: RowOf) -> bool:
    """Has a text that begins with a human's words."""
    return isinstance(row.get("text"), str) and row["text"].lstrip().startswith("### Human:")


def read(row: RowOf, source: str) -> Iterator[Item]:
    """One dialog a row. A last prompt without a reply is left out: many rows of the original end so."""
    before, *parts = _SPEAKER.split(text(row, "text", empty=False).strip())
    if before or not parts:
        raise BadRow("its text does not begin with '### Human:'")
    names: dict[str, Role] = {"Human": "user", "Assistant": "assistant"}
    said = [Message(names[name], words.strip()) for name, words in zip(parts[::2], parts[1::2], strict=True)]
    if len(said) > 1 and said[-1].role == "user":
        said.pop()
    turns, system = turns_of(said)
    yield dialog(turns, system, source)


FORM = Form("guanaco", fits, read)
