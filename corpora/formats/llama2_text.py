"""`text` in the Llama 2 form, as in guanaco-llama2-1k: `<s>[INST] … [/INST] … </s>` for each exchange."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from corpora.dialog import dialog_of
from corpora.formats.form import BadRow, Form, Item, RowOf, dialog, text
from corpora.llama2 import B_INST, BOS, E_INST, EOS, render
from corpora.store.values import Branch, ImportedTurn

_NEXT = re.compile(r"\s*</s>\s*<s>\s*\[INST\]")
_SYSTEM = re.compile(r"\s*<<SYS>>\s*(.*?)\s*<</SYS>>\s*", re.DOTALL)


def fits(row: RowOf) -> bool:
    """Has a text with an instruction in it."""
    return isinstance(row.get("text"), str) and B_INST in row["text"] and E_INST in row["text"]


def read(row: RowOf, source: str) -> Iterator[Item]:
    """One dialog a row."""
    whole = text(row, "text", empty=False).strip().removeprefix(BOS).lstrip()
    if not whole.startswith(B_INST):
        raise BadRow(f"its text does not begin with {BOS}{B_INST}")
    parts = _NEXT.split(whole.removeprefix(B_INST))
    system = _SYSTEM.match(parts[0])
    if system:
        parts[0] = parts[0][system.end() :]
    yield dialog([_turn(part) for part in parts], system.group(1) if system else None, source)


def write(branch: Branch) -> dict[str, Any]:
    """The whole branch; the form cannot say which replies are trained."""
    return {"text": render(dialog_of(branch.exchanges))}


def _turn(part: str) -> ImportedTurn:
    prompt, end, reply = part.partition(E_INST)
    reply = reply.strip().removesuffix(EOS).strip()
    if not end:
        raise BadRow(f"an exchange in it has no {E_INST}")
    if B_INST in reply or E_INST in reply:
        raise BadRow(f"a reply in it holds {B_INST} or {E_INST}: is a {EOS}{BOS} missing?")
    return ImportedTurn(prompt.strip(), reply)


FORM = Form("llama2", fits, read, write=write)
