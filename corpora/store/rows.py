"""Rows of the tables as values, and back: the order of the columns, no statements."""

from __future__ import annotations

import json
from typing import Any

from corpora.dialog import Conversation, Exchange, Finish, Message, Preference, Status, Verdict, Vote
from corpora.pinned import Kind, PinnedTest, Rule
from corpora.store.values import KeptReply
from corpora.store.versions import name_of

EXCHANGE = (
    "id, conversation_id, parent_id, prompt, reply, system, status, original, finish, model, "
    f"{name_of('exchanges.adapter')}, tokens, seconds, source, tags, note, rating, tags_allowed, created, updated, "
    "instruction"
)
CONVERSATION = "id, title, source, created, updated"
VERDICT = (
    f"id, dialog, left_reply, right_reply, {name_of('left_adapter')}, {name_of('right_adapter')}, vote, blind, created,"
    " left_adapter, right_adapter"
)
PREFERENCE = "id, dialog, chosen, rejected, source, exchange_id, created"
PINNED_TEST = "id, dialog, kind, text, created"


def exchange_of(row: Any) -> Exchange:
    """Raises ValueError for a damaged row."""
    return Exchange(
        id=row[0],
        conversation_id=row[1],
        parent_id=row[2],
        prompt=row[3],
        reply=row[4],
        system=row[5],
        status=Status(row[6]),
        original=row[7],
        finish=Finish(row[8]),
        model=row[9],
        adapter=row[10],
        tokens=row[11],
        seconds=row[12],
        source=row[13],
        tags=tuple(json.loads(row[14])) if row[14] != "[]" else (),
        note=row[15],
        rating=row[16],
        tags_allowed=bool(row[17]),
        created=row[18],
        updated=row[19],
        instruction=row[20],
    )


def readable(rows: list[Any]) -> list[Exchange]:
    """The exchanges of those rows that can be read; `Store.verify` tells of the others."""
    found = []
    for row in rows:
        try:
            found.append(exchange_of(row))
        except (ValueError, TypeError):
            continue
    return found


def readable_kept(rows: list[Any]) -> list[KeptReply]:
    """Those of the rows (id, conversation, source, created, imported, tags) that can be read."""
    found = []
    for row in rows:
        try:
            tags = tuple(map(str, json.loads(row[5]))) if row[5] != "[]" else ()
            found.append(KeptReply(row[0], row[1], str(row[2]), float(row[3]), bool(row[4]), tags))
        except (ValueError, TypeError):
            continue
    return found


def readable_pairs(rows: list[Any]) -> list[Preference]:
    """The pairs of those rows that can be read."""
    found = []
    for row in rows:
        try:
            found.append(preference_of(row))
        except (ValueError, TypeError):
            continue
    return found


def conversation_of(row: Any) -> Conversation:
    """Out of CONVERSATION and the count of its exchanges."""
    return Conversation(*row)


def verdict_of(row: Any) -> Verdict:
    """Out of VERDICT."""
    return Verdict(
        dialog=dialog_of(row[1]),
        left=row[2],
        right=row[3],
        left_adapter=row[4],
        right_adapter=row[5],
        vote=Vote(row[6]),
        blind=bool(row[7]),
        id=row[0],
        created=row[8],
        left_version=row[9],
        right_version=row[10],
    )


def preference_of(row: Any) -> Preference:
    """Out of PREFERENCE."""
    row_id, dialog, chosen, rejected, source, exchange_id, created = row
    return Preference(dialog_of(dialog), chosen, rejected, source, exchange_id, row_id, created)


def pinned_test_of(row: Any) -> PinnedTest:
    """Out of PINNED_TEST. Raises ValueError for a damaged row."""
    row_id, dialog, kind, text, created = row
    said = dialog_of(dialog)
    if not said:
        raise ValueError("its dialog is empty")
    return PinnedTest(said, Rule(Kind(kind), text), row_id, created)


def dialog_json(dialog: tuple[Message, ...]) -> str:
    """A dialog as JSON: `role`, `content`, and what differs from the defaults."""
    return json.dumps([_message_json(said) for said in dialog], ensure_ascii=False, separators=(",", ":"))


def dialog_of(text: str) -> tuple[Message, ...]:
    """The dialog that `dialog_json` wrote."""
    return tuple(Message(**said) for said in json.loads(text))


def clean(text: str) -> str:
    """The text with halves of surrogate pairs, which have no UTF-8, replaced by U+FFFD."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _message_json(said: Message) -> dict[str, object]:
    found: dict[str, object] = {"role": said.role, "content": clean(said.content)}
    if not said.kept:
        found["kept"] = False
    if said.tags_allowed:
        found["tags_allowed"] = True
    return found
