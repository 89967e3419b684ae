"""OpenAI's and TRL's `messages`; also TRL's `prompt` and `completion`. A reply with `weight` 0 is not trained."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from corpora.dialog import Message, Role
from corpora.formats.form import BadRow, Form, Item, RowOf, checked, dialog, kind_of, listed, said_in, turns_of
from corpora.store.values import Branch

ROLES: dict[str, Role] = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}


def fits(row: RowOf) -> bool:
    """Has messages, or a prompt with its completion."""
    return isinstance(row.get("messages"), list) or ("prompt" in row and "completion" in row and "label" not in row)


def read(row: RowOf, source: str) -> Iterator[Item]:
    """One dialog a row."""
    if "messages" in row:
        said = messages_in(listed(row, "messages"))
    else:
        said = [*as_messages(row.get("prompt"), "prompt", "user")]
        said += as_messages(row.get("completion"), "completion", "assistant")
    turns, system = turns_of(said)
    yield dialog(turns, system, source)


def as_messages(value: Any, name: str, role: Role) -> list[Message]:
    """A text as one message of `role`, or a list of messages."""
    if isinstance(value, list):
        return messages_in(value)
    return [Message(role, checked(value, name, empty=False))]


def messages_in(values: Sequence[Any]) -> list[Message]:
    """Messages of `role` and `content`."""
    return [_message(value, number) for number, value in enumerate(values, start=1)]


def write(branch: Branch) -> dict[str, Any]:
    """One dialog."""
    system, turns = said_in(branch)
    said: list[dict[str, Any]] = [] if system is None else [{"role": "system", "content": system}]
    for prompt, reply, wanted in turns:
        said.append({"role": "user", "content": prompt})
        said.append({"role": "assistant", "content": reply} | ({} if wanted else {"weight": 0}))
    return {"messages": said}


def _message(value: Any, number: int) -> Message:
    if not isinstance(value, dict):
        raise BadRow(f"message {number} is {kind_of(value)}, not an object")
    role = ROLES.get(value.get("role", "")) if isinstance(value.get("role"), str) else None
    if role is None:
        raise BadRow(f"message {number} has the role {value.get('role')!r:.40}: system, user and assistant are known")
    if value.get("tool_calls") or value.get("function_call"):
        raise BadRow(f"message {number} calls a tool, which the Llama 2 format cannot say")
    return Message(role, _content(value.get("content"), number), kept=value.get("weight", 1) != 0)


def _content(value: Any, number: int) -> str:
    if isinstance(value, list) and all(isinstance(part, dict) and part.get("type") == "text" for part in value):
        return "\n".join(checked(part.get("text"), f"content of message {number}") for part in value)
    return checked(value, f"content of message {number}")


FORM = Form("messages", fits, read, write=write)
