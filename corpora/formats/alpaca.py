"""Alpaca: `instruction`, `input`, `output`; LLaMA-Factory's `system` and `history` beside them.

The prompt is the instruction and, after a blank line, the input; where it was cut is stored with the
exchange, so that an export gives both back.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from corpora.dialog import Exchange
from corpora.formats.form import BadRow, Form, Item, RowOf, checked, dialog, optional, said_in, text
from corpora.store.values import Branch, ImportedTurn

BETWEEN = "\n\n"


def fits(row: RowOf) -> bool:
    """Has an instruction and an output."""
    return "instruction" in row and "output" in row


def read(row: RowOf, source: str) -> Iterator[Item]:
    """One dialog a row; the pairs of `history` come first."""
    prompt, cut = prompt_of(row)
    turns = [*_history(row.get("history")), ImportedTurn(prompt, text(row, "output"), instruction=cut)]
    yield dialog(turns, optional(row, "system"), source)


def prompt_of(row: RowOf) -> tuple[str, int | None]:
    """The prompt, and the length of the instruction in it where an input follows."""
    instruction, more = text(row, "instruction"), optional(row, "input")
    if not instruction.strip() and more is None:
        raise BadRow("its 'instruction' is empty")
    return (instruction, None) if more is None else (f"{instruction}{BETWEEN}{more}", len(instruction))


def write(branch: Branch) -> dict[str, Any]:
    """The last exchange, those before it as `history`."""
    system, turns = said_in(branch)
    last = branch.exchanges[-1]
    instruction, more = parts_of(last)
    row: dict[str, Any] = {"instruction": instruction, "input": more, "output": last.reply}
    if system is not None:
        row["system"] = system
    if len(turns) > 1:
        row["history"] = [[prompt, reply] for prompt, reply, _ in turns[:-1]]
    return row


def parts_of(exchange: Exchange) -> tuple[str, str]:
    """(instruction, input) of a prompt."""
    cut = exchange.instruction
    if cut is None or exchange.prompt[cut : cut + len(BETWEEN)] != BETWEEN:
        return exchange.prompt, ""
    return exchange.prompt[:cut], exchange.prompt[cut + len(BETWEEN) :]


def _history(value: Any) -> list[ImportedTurn]:
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in value):
        raise BadRow("its 'history' is not a list of pairs")
    return [ImportedTurn(checked(prompt, "history"), checked(reply, "history")) for prompt, reply in value]


FORM = Form("alpaca", fits, read, write=write)
