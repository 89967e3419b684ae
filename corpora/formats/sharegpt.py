"""ShareGPT: `conversations` of `from` and `value`; LLaMA-Factory's `system` beside them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from corpora.dialog import Message, Role
from corpora.formats.form import (
    BadRow,
    Form,
    Item,
    RowOf,
    checked,
    dialog,
    kind_of,
    listed,
    optional,
    said_in,
    turns_of,
)
from corpora.store.values import Branch

ROLES: dict[str, Role] = {
    "system": "system",
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "chatgpt": "assistant",
    "bing": "assistant",
    "bard": "assistant",
    "model": "assistant",
}


def fits(row: RowOf) -> bool:
    """Has conversations."""
    return isinstance(row.get("conversations"), list)


def read(row: RowOf, source: str) -> Iterator[Item]:
    """One dialog a row."""
    turns, system = turns_of(said_by(row))
    yield dialog(turns, system, source)


def said_by(row: RowOf) -> list[Message]:
    """The messages of a row, its system prompt first."""
    said = [message_of(value, number) for number, value in enumerate(listed(row, "conversations"), start=1)]
    system = optional(row, "system")
    if system is not None and said[0].role != "system":
        said.insert(0, Message("system", system))
    return said


def message_of(value: Any, number: int) -> Message:
    """One message of `from` and `value`."""
    if not isinstance(value, dict):
        raise BadRow(f"message {number} is {kind_of(value)}, not an object")
    name = value.get("from", value.get("role"))
    role = ROLES.get(name.lower()) if isinstance(name, str) else None
    if role is None:
        raise BadRow(f"message {number} is from {name!r:.40}: system, human and gpt are known")
    return Message(role, checked(value.get("value", value.get("content")), f"value of message {number}"))


def write(branch: Branch) -> dict[str, Any]:
    """One dialog; the form cannot say which replies are trained."""
    system, turns = said_in(branch)
    said = [] if system is None else [{"from": "system", "value": system}]
    for prompt, reply, _ in turns:
        said += [{"from": "human", "value": prompt}, {"from": "gpt", "value": reply}]
    return {"conversations": said}


FORM = Form("sharegpt", fits, read, write=write)
