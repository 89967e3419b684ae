"""`/pin` and `/tests` without a screen: the prompt to pin, the rule as typed or proposed, changes by number.

The same core under the app and the line REPL. Independent of screens and models.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from corpora.dialog import Exchange, dialog_of
from corpora.errors import UsageError
from corpora.pinned import Kind, PinnedTest, Rule
from corpora.store import Store

USAGE = "contains TEXT, not TEXT, or regex RE"
LONGEST_PROPOSAL = 80
SHORTEST_CLAUSE = 20
_WORDS = {"contains": Kind.CONTAINS, "not": Kind.NOT_CONTAINS, "regex": Kind.REGEX}
_TYPED = {kind: word for word, kind in _WORDS.items()}
_SENTENCE = re.compile(r".+?(?:[.!?؟۔](?=\s|$)|[。！？]|$)")
_CLAUSES = (", ", ": ", "; ", "，", "、", "；", "：", "، ", "؛ ")
_ENDS = " .!?؟۔。！？:،,;"


@dataclass(frozen=True, slots=True)
class Pinned:
    """A test that was asked for: as it is stored, and whether it is new."""

    test: PinnedTest
    new: bool


def parse_rule(typed: str) -> Rule:
    """Return the rule of `contains TEXT`, `not TEXT` or `regex RE`. Raises UsageError."""
    word, _, text = typed.strip().partition(" ")
    kind = _WORDS.get(word.lower())
    if kind is None:
        raise UsageError(
            f"A rule cannot start with {word!r:.40}." if word else "Which rule?",
            data="Nothing was saved.",
            remedy=f"Give {USAGE}.",
        )
    rule = Rule(kind, text.strip())
    rule.check()
    return rule


def typed_rule(rule: Rule) -> str:
    """Return the rule as `parse_rule` reads it."""
    return f"{_TYPED[rule.kind]} {rule.text}"


def proposed_rule(reply: str) -> Rule:
    """Return a rule to start from: that a reply contains the first sentence of this one. Raises UsageError."""
    lines = (line.strip() for line in reply.splitlines())
    line = next((line for line in lines if line and not line.startswith("```")), "")
    sentence = _SENTENCE.match(line)
    text = _cut((sentence[0] if sentence else line).strip()).rstrip(_ENDS) or line
    if not text:
        raise UsageError(
            "There is no reply to take a rule from.", data="Nothing was saved.", remedy=f"/pin with a rule: {USAGE}."
        )
    return Rule(Kind.CONTAINS, text)


def pinned_at(branch: Sequence[Exchange], exchange: Exchange, rule: Rule) -> PinnedTest:
    """Return a test that asks the prompt of an exchange as the chat did: after its system prompt and history."""
    place = next(index for index, each in enumerate(branch) if each.id == exchange.id)
    said = dialog_of(branch[: place + 1])[:-1]
    # The history was sent before; only tags in the prompt itself still need the permission given then.
    before = (replace(message, kept=True, tags_allowed=True) for message in said[:-1])
    return PinnedTest((*before, said[-1]), rule)


def pin(store: Store, branch: Sequence[Exchange], exchange: Exchange, rule: Rule) -> Pinned:
    """Save the prompt of an exchange with a rule. Raises UsageError."""
    return Pinned(*store.add_pinned_test(pinned_at(branch, exchange, rule)))


def pinned_in_words(pinned: Pinned, reply: str) -> str:
    """Return what `/pin` did: number, rule, and whether the reply at hand passes."""
    test = pinned.test
    said = f"Pinned as test {test.id}" if pinned.new else f"This is pinned test {test.id} already"
    failure = test.rule.failure(reply) if reply.strip() else ""
    return f"{said}: the reply {test.describe()}." + (f" The reply at hand fails: {failure}" if failure else "")


def edit_tests(store: Store, typed: str) -> str:
    """Do `remove N…` or `change N RULE`; return what was done, as a sentence. Raises UsageError, StoreError."""
    word, _, rest = typed.partition(" ")
    if word == "remove" and rest.strip():
        ids = [_number(each) for each in rest.split()]
        store.remove_pinned_tests(ids)
        return f"Removed: {', '.join(f'test {each}' for each in ids)}. /undo restores it."
    if word == "change" and rest.strip():
        number, _, rule = rest.strip().partition(" ")
        changed = store.change_pinned_test(_number(number), parse_rule(rule))
        return f"Test {changed.id} now: the reply {changed.describe()}. /undo restores the old rule."
    raise UsageError(
        f"/tests cannot {word}." if word not in ("remove", "change") else f"/tests {word} needs the number of a test.",
        remedy="/tests, /tests run, /tests remove N or /tests change N contains TEXT",
    )


def _number(word: str) -> int:
    if not (word.isascii() and word.isdigit() and len(word) < 10):
        raise UsageError(f"{word!r:.40} is not the number of a test.", remedy="/tests lists them with their numbers.")
    return int(word)


def _cut(text: str) -> str:
    """Return at most LONGEST_PROPOSAL characters, cut after a clause, else between two words."""
    if len(text) <= LONGEST_PROPOSAL:
        return text
    head = text[: LONGEST_PROPOSAL + 1]
    clause = max(head.rfind(mark) for mark in _CLAUSES)
    cut = clause if clause >= SHORTEST_CLAUSE else head.rfind(" ")
    return head[:cut] if cut > 0 else text[:LONGEST_PROPOSAL]
