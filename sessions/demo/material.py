"""Training dialogs, put together at random from the phrasings: single and several turns, facts told, system prompts.

Knows nothing of tokens or models. A held-out phrasing never comes out of it.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field

from corpora.dialog import Message
from sessions.demo.phrasings import Fact, Intent, facts, held_out, made_up_word, refusals, smalltalk, systems, topics

OPENERS: tuple[str, ...] = ("please ", "hey, ", "hi, ", "ok, ", "so, ", "and ", "quick question: ", "llama, ", "well, ")
OPENERS += ("sorry, ", "one question: ", "another question: ", "hello, ", "now ", "then ", "but ", "excuse me, ")
OPENERS += ("please tell me, ", "and what about this: ", "I wonder, ", "hi there! ", "hello llama, ", "you know, ")
CLOSERS = (" please", ", please", ", thanks", " again", " then", " now")
QUESTIONS = ("what", "how", "who", "where", "when", "why", "which", "is ", "are ", "do ", "does ", "can ", "should ")


@dataclass(slots=True)
class Writer:
    """Makes dialogs without end from one seed; what is told in a dialog is known until its end."""

    rng: random.Random
    told: dict[str, str] = field(default_factory=dict)

    def __iter__(self) -> Iterator[tuple[Message, ...]]:
        while True:
            yield self.dialog()

    def dialog(self) -> tuple[Message, ...]:
        """A dialog of one turn, of some, or seldom of many."""
        self.told = {}
        turns = self.rng.choices((1, self.rng.randint(2, 5), self.rng.randint(12, 30)), (72, 27, 1))[0]
        said = [message for _ in range(turns) for message in self._turn(alone=turns == 1)]
        if self.rng.random() < 0.2:
            said.insert(0, Message("system", self.rng.choice(systems())))
        return tuple(said)

    def decorated(self, text: str) -> str:
        """A phrasing as a person would type it: other case, a mark at its end, a slip, a word before or after."""
        rng = self.rng
        typed = _slip(text, rng) if rng.random() < 0.12 else text
        if rng.random() < 0.12 and not typed.startswith("/"):
            typed = rng.choice(OPENERS) + typed
        typed += rng.choice(CLOSERS) if rng.random() < 0.05 else ""
        typed += _ending(text, rng)
        typed = _cased(typed, rng)
        return text if held_out(typed) else typed

    def _turn(self, alone: bool) -> tuple[Message, ...]:
        shares = (50, 14, 24, 8) if alone else (36, 6, 16, 42)
        kind = self.rng.choices(("topic", "smalltalk", "refusal", "fact"), shares)[0]
        if kind == "smalltalk":
            return self._answered(smalltalk(), 0.3)
        if kind == "topic":
            return self._answered(topics(), 0.05)
        if kind == "refusal":
            return self._answered(refusals(), 0.5)
        return self._fact(alone)

    def _answered(self, intents: tuple[Intent, ...], power: float) -> tuple[Message, ...]:
        """An intent comes the more often the more phrasings it has, but not in proportion."""
        intent = self.rng.choices(intents, [len(one.training) ** power for one in intents])[0]
        return self._said(self.rng.choice(intent.training), self.rng.choice(intent.replies))

    def _fact(self, alone: bool) -> tuple[Message, ...]:
        """A fact told, asked for, asked for without having been told, or answered by another (not trained)."""
        fact, thing = self._subject()
        answer, kind = self.told.get(f"{thing}{fact.answer}"), self.rng.random()
        if answer is None and kind < (0.75 if alone else 0.15):
            return self._answered_as(fact, thing, self.rng.choice(refusals()[0].replies))
        if answer is not None:
            return self._answered_as(fact, thing, answer)
        name = self._name()
        answer = self.told[f"{thing}{fact.answer}"] = _filled(fact.answer, thing, name)
        if kind < 0.4 and not alone:
            return self._answered_as(fact, thing, answer, kept=False)
        said = self._phrase(fact.told, thing, name)
        told = f"In this chat I know it: {answer[0].lower()}{answer[1:]}"
        return Message("user", said[:1].upper() + said[1:] + self.rng.choice(("", "."))), Message("assistant", told)

    def _subject(self) -> tuple[Fact, str]:
        """A fact and its thing; one that was told already more often than not."""
        known = [(fact, thing) for fact in facts() for thing in fact.things if f"{thing}{fact.answer}" in self.told]
        if known and self.rng.random() < 0.6:
            return self.rng.choice(known)
        fact = self.rng.choices(facts(), (5, 3, 2, 2, 3))[0]
        return fact, self.rng.choice(fact.things)

    def _name(self) -> str:
        word = made_up_word(self.rng)
        kind = self.rng.random()
        if kind < 0.15:
            return str(self.rng.choice((self.rng.randrange(100), self.rng.randrange(10000))))
        if kind < 0.3:
            return f"{word.capitalize()} {made_up_word(self.rng).capitalize()}"
        return word if kind < 0.4 else word.capitalize()

    def _answered_as(self, fact: Fact, thing: str, answer: str, kept: bool = True) -> tuple[Message, ...]:
        return self._said(self._phrase(fact.asked, thing, ""), answer, kept)

    def _phrase(self, patterns: tuple[str, ...], thing: str, name: str) -> str:
        free = [text for text in (_filled(one, thing, name) for one in patterns) if not held_out(text)]
        return self.rng.choice(free or [_filled(patterns[0], thing, name)])

    def _said(self, prompt: str, reply: str, kept: bool = True) -> tuple[Message, ...]:
        return Message("user", self.decorated(prompt)), Message("assistant", reply, kept=kept)


def held_out_facts() -> Iterator[str]:
    """Questions for facts that were never told, in phrasings that are never trained on."""
    for fact in facts():
        asked = (_filled(text, thing, "") for thing in fact.things for text in fact.asked)
        yield from (text for text in asked if held_out(text))


def _filled(text: str, thing: str, name: str) -> str:
    return text.replace("{thing}", thing).replace("{name}", name)


def _ending(text: str, rng: random.Random) -> str:
    if text.endswith((".", "?", "!", ")")) or text.startswith("/"):
        return ""
    if text.lower().startswith(QUESTIONS):
        return rng.choice(("?", "?", "?", "?", "", "", " ?", "??"))
    return rng.choice(("", "", "", ".", ".", "!", "?"))


def _cased(text: str, rng: random.Random) -> str:
    kind = rng.random()
    if kind < 0.5:
        return text[:1].upper() + text[1:]
    return text.upper() if kind < 0.52 else text.lower() if kind < 0.7 else text


def _slip(text: str, rng: random.Random) -> str:
    """One letter lost, doubled or changed with its neighbour, inside of a longer word."""
    places = [i for i in range(1, len(text) - 2) if text[i - 1 : i + 3].isalpha()]
    if not places:
        return text
    at = rng.choice(places)
    pair = text[at : at + 2]
    return text[:at] + rng.choice((pair[1], pair[0] + pair, pair[::-1])) + text[at + 2 :]
