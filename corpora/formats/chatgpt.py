"""`conversations.json` of a ChatGPT export: each conversation a tree of messages under `mapping`.

The branch that was last open is read; hidden messages, tools and pictures are passed over.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from corpora.dialog import Message
from corpora.formats.form import BadRow, Form, Item, RowOf, checked, dialog, turns_of

LONGEST = 100_000


def fits(row: RowOf) -> bool:
    """Has a tree of messages."""
    return isinstance(row.get("mapping"), dict)


def read(row: RowOf, source: str) -> Iterator[Item]:
    """One dialog a conversation; a last prompt without a reply is left out."""
    said = _merged(_branch(row))
    while said and said[0].role == "assistant":
        said.pop(0)
    if said and said[-1].role == "user":
        said.pop()
    if not said:
        raise BadRow("its open branch has no prompt with a reply in text")
    turns, system = turns_of(said)
    yield dialog(turns, system, source)


def _branch(row: RowOf) -> list[Message]:
    nodes, found = row["mapping"], list[Message]()
    at = row.get("current_node") or _last(nodes)
    for _ in range(LONGEST):
        node = nodes.get(at) if isinstance(at, str) else None
        if not isinstance(node, dict):
            return found[::-1]
        said = _message(node.get("message"))
        if said is not None:
            found.append(said)
        at = node.get("parent")
    raise BadRow("its messages go round in a circle")


def _last(nodes: dict[str, Any]) -> str | None:
    ends = [name for name, node in nodes.items() if isinstance(node, dict) and not node.get("children")]
    return ends[-1] if ends else None


def _message(value: Any) -> Message | None:
    """A visible text of the user or the assistant."""
    if not isinstance(value, dict) or _part(value, "metadata").get("is_visually_hidden_from_conversation"):
        return None
    role = _part(value, "author").get("role")
    if role not in ("user", "assistant") or value.get("recipient", "all") != "all":
        return None
    parts = _part(value, "content").get("parts")
    texts = [checked(part, "parts") for part in parts if isinstance(part, str)] if isinstance(parts, list) else []
    words = "\n".join(texts)
    return Message(role, words) if words.strip() else None


def _part(value: dict[str, Any], name: str) -> dict[str, Any]:
    found = value.get(name)
    return found if isinstance(found, dict) else {}


def _merged(said: list[Message]) -> list[Message]:
    """Messages of one speaker in a row, as around a tool's work, as one."""
    found: list[Message] = []
    for each in said:
        if found and found[-1].role == each.role:
            found[-1] = Message(each.role, f"{found[-1].content}\n\n{each.content}")
        else:
            found.append(each)
    return found


FORM = Form("chatgpt", fits, read)
