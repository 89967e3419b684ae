"""Two replies to one prompt (`chosen`, `rejected`), and one reply with a thumb (`completion`, `label`).

Read as TRL's text and conversational forms, as Anthropic's whole dialogs, as LLaMA-Factory's Alpaca and
ShareGPT forms; written as TRL's conversational form.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from corpora.dialog import Message, Preference, Status
from corpora.formats import alpaca, sharegpt
from corpora.formats.form import BadRow, Form, Item, Kind, RowOf, checked, dialog, optional, said_in, turns_of
from corpora.formats.messages import as_messages, messages_in
from corpora.store.values import Branch, ImportedTurn


def fits(row: RowOf) -> bool:
    """Has both replies."""
    return "chosen" in row and "rejected" in row


def read(row: RowOf, source: str) -> Iterator[Item]:
    """One pair a row."""
    asked = _asked(row)
    chosen, rejected = _replies(row["chosen"], "chosen"), _replies(row["rejected"], "rejected")
    if not asked:
        asked, chosen, rejected = _shared(chosen, rejected)
    for name, said in (("chosen", chosen), ("rejected", rejected)):
        if len(said) != 1 or said[0].role != "assistant":
            raise BadRow(f"its {name!r} is not one reply")
    if not asked or asked[-1].role != "user":
        raise BadRow("its prompt does not end with a message of the user")
    turns_of([*asked, chosen[0]])
    if chosen[0].content == rejected[0].content:
        raise BadRow("both of its replies are the same")
    yield Preference(tuple(asked), chosen[0].content, rejected[0].content, source=source)


def write(pair: Preference) -> dict[str, Any]:
    """TRL's conversational form, for DPOTrainer."""
    return {
        "prompt": _plain(pair.dialog),
        "chosen": _plain([Message("assistant", pair.chosen)]),
        "rejected": _plain([Message("assistant", pair.rejected)]),
    }


def fits_thumbs(row: RowOf) -> bool:
    """Has a completion with a label."""
    return "completion" in row and "label" in row


def read_thumbs(row: RowOf, source: str) -> Iterator[Item]:
    """One exchange a row: kept where the thumb is up, rejected where it is down."""
    label = row["label"]
    if not isinstance(label, (bool, int)) or label not in (0, 1):
        raise BadRow("its 'label' is neither true nor false")
    said = as_messages(row.get("prompt"), "prompt", "user") + as_messages(row["completion"], "completion", "assistant")
    turns, system = turns_of(said)
    status = Status.KEPT if label else Status.REJECTED
    last = ImportedTurn(turns[-1].prompt, turns[-1].reply, kept=bool(label), status=status)
    before = [ImportedTurn(turn.prompt, turn.reply, kept=False) for turn in turns[:-1]]
    yield dialog([*before, last], system, source)


def write_thumbs(branch: Branch) -> dict[str, Any]:
    """TRL's conversational form, for KTOTrainer; up for a kept reply, down for a rejected one."""
    system, turns = said_in(branch)
    said = [] if system is None else [Message("system", system)]
    for prompt, reply, _ in turns:
        said += [Message("user", prompt), Message("assistant", reply)]
    return {
        "prompt": _plain(said[:-1]),
        "completion": _plain(said[-1:]),
        "label": branch.exchanges[-1].status is Status.KEPT,
    }


def _asked(row: RowOf) -> list[Message]:
    """What stands before both replies; empty where each of them repeats it."""
    if "conversations" in row:
        return sharegpt.said_by(row)
    if "instruction" in row:
        system = optional(row, "system")
        said = [] if system is None else [Message("system", system)]
        return [*said, Message("user", alpaca.prompt_of(row)[0])]
    for name in ("prompt", "question"):
        if row.get(name):
            said = as_messages(row[name], name, "user")
            system = optional(row, "system")
            return said if system is None or said[0].role == "system" else [Message("system", system), *said]
    return []


def _replies(value: Any, name: str) -> list[Message]:
    if isinstance(value, dict):
        return [sharegpt.message_of(value, 1)]
    if isinstance(value, list):
        return messages_in(value)
    return [Message("assistant", checked(value, name))]


def _shared(chosen: list[Message], rejected: list[Message]) -> tuple[list[Message], list[Message], list[Message]]:
    """The part that both dialogs begin with, and what follows in each."""
    same = 0
    while same < min(len(chosen), len(rejected)) - 1 and chosen[same] == rejected[same]:
        same += 1
    return chosen[:same], chosen[same:], rejected[same:]


def _plain(said: Sequence[Message]) -> list[dict[str, str]]:
    return [{"role": each.role, "content": each.content} for each in said]


FORM = Form("preference", fits, read, Kind.PAIRS, write_pair=write)
THUMBS = Form("thumbs", fits_thumbs, read_thumbs, Kind.EXCHANGES, write=write_thumbs)
