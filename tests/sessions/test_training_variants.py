"""Exchanges from within a chat are trained by themselves too, in small sets. No model."""

from __future__ import annotations

from corpora.dataset import Row
from corpora.dialog import Message
from sessions.training import variants


def chat(*kept: bool, system: str | None = None) -> Row:
    said = [Message("system", system)] if system else []
    for index, keep in enumerate(kept):
        said += [Message("user", f"ask {index}"), Message("assistant", f"reply {index}", kept=keep)]
    return Row("key", tuple(said), tuple(range(len(kept))))


def test_every_kept_exchange_but_the_first_is_taken_out() -> None:
    found = list(variants.inner(chat(True, False, True, system="Be brief.")))
    assert [[said.content for said in row.dialog] for row in found] == [["Be brief.", "ask 2", "reply 2"]]
    assert found[0].key == "key" and found[0].exchange_ids == ()
    assert list(variants.inner(chat(True))) == []


def test_large_sets_are_left_as_they_are() -> None:
    rows = [chat(True, True, True)] * 10
    assert variants.count(rows) == 20
    assert len(variants.alone(rows, 20)) == 20
    assert variants.alone(rows, 19) == () == variants.alone(rows, 0)
