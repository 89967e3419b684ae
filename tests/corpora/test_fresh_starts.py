"""Replies of a longer chat are also taught alone."""

from __future__ import annotations

from corpora.dataset import Row, fresh_starts
from corpora.dialog import Message


def said(*texts: str, kept: tuple[bool, ...] = ()) -> tuple[Message, ...]:
    roles = ("user", "assistant")
    flags = iter(kept or (True,) * len(texts))
    return tuple(
        Message(roles[place % 2], text, kept=next(flags) if place % 2 else True)
        for place, text in enumerate(texts)  # type: ignore[arg-type]
    )


def test_a_single_exchange_needs_none() -> None:
    assert fresh_starts([Row("k", said("q", "a"))]) == ()


def test_each_later_kept_reply_stands_alone_with_the_system_prompt() -> None:
    system = Message("system", "Be brief.")
    row = Row("k", (system, *said("q1", "a1", "q2", "a2", "q3", "a3", kept=(True, False, True))), (1, 3), replay=True)
    (alone,) = fresh_starts([row])
    assert [message.content for message in alone.dialog] == ["Be brief.", "q3", "a3"]
    assert alone.replay and alone.key == "k"
