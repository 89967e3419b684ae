"""Pinned tests: a prompt and a rule that the reply of every version must satisfy. No storage, no models, no screens."""

from __future__ import annotations

import re
import time
import unicodedata
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from corpora.dialog import Dialog, Message, turns
from corpora.errors import DialogError, UsageError

if TYPE_CHECKING:
    import regex

REPLY_TOKENS = 128
"""Longest reply that a test asks for; replies are greedy."""
MATCH_SECONDS = 0.25
"""CPU time that a regular expression may take on one reply."""
LONGEST_TEXT = 2000
LONGEST_PATTERN = 500


class Kind(StrEnum):
    """What a rule compares the reply with."""

    CONTAINS = "contains"
    NOT_CONTAINS = "not_contains"
    REGEX = "regex"


@dataclass(frozen=True, slots=True)
class Rule:
    """What a reply must satisfy: contain a text, not contain it, or match a regular expression.

    Case and runs of whitespace do not count for texts. Patterns are used as they are written: `(?i)` ignores case.
    """

    kind: Kind
    text: str

    def check(self) -> None:
        """Raise UsageError for an empty or overlong text and for a pattern that does not compile."""
        if not self.text.strip():
            raise UsageError("The rule of a test needs a text.", data="Nothing was saved.", remedy=_EXAMPLE)
        longest = LONGEST_PATTERN if self.kind is Kind.REGEX else LONGEST_TEXT
        if len(self.text) > longest:
            raise UsageError(
                f"The text of the rule has {len(self.text):,} characters; at most {longest:,} are allowed.",
                data="Nothing was saved.",
                remedy="Choose the part of the reply that matters.",
            )
        if self.kind is Kind.REGEX:
            _compiled(self.text)

    def passes(self, reply: str) -> bool:
        """Return True where the reply satisfies the rule; a pattern that exceeds MATCH_SECONDS does not pass."""
        return not self.failure(reply)

    def failure(self, reply: str) -> str:
        """Return why the reply does not satisfy the rule, as a sentence; empty where it does."""
        if self.kind is Kind.REGEX:
            return _mismatch(self.text, reply)
        found = _folded(self.text) in _folded(reply)
        if self.kind is Kind.CONTAINS:
            return "" if found else f"The reply does not contain “{self.text}”."
        return f"The reply contains “{self.text}”." if found else ""

    def describe(self) -> str:
        """Return the rule in words, such as `contains “Mouse”`."""
        match self.kind:
            case Kind.CONTAINS:
                return f"contains “{self.text}”"
            case Kind.NOT_CONTAINS:
                return f"does not contain “{self.text}”"
            case Kind.REGEX:
                return f"matches /{self.text}/"


@dataclass(frozen=True, slots=True)
class PinnedResult:
    """The reply of one version to one test, and whether it passed."""

    test_id: int
    reply: str
    passed: bool
    created: float = 0.0


@dataclass(frozen=True, slots=True)
class PinnedTest:
    """A dialog that ends with a prompt, and the rule for the reply to it.

    The dialog may begin with a system prompt and earlier exchanges. `id` is 0 before the test is saved.
    """

    dialog: tuple[Message, ...]
    rule: Rule
    id: int = 0
    created: float = 0.0

    @property
    def prompt(self) -> str:
        """The last message of the dialog."""
        return self.dialog[-1].content

    @property
    def system(self) -> str | None:
        """The system prompt, if any."""
        return self.dialog[0].content if self.dialog[0].role == "system" else None

    def check(self) -> None:
        """Raise DialogError or UsageError for a test that cannot be asked or judged."""
        check_dialog(self.dialog)
        self.rule.check()

    def passes(self, reply: str) -> bool:
        """Return True where the reply satisfies the rule."""
        return self.rule.passes(reply)

    def describe(self) -> str:
        """Return the rule in words."""
        return self.rule.describe()

    def judge(self, reply: str) -> PinnedResult:
        """Return the result for a reply."""
        return PinnedResult(self.id, reply, self.passes(reply), time.time())


def check_dialog(dialog: Dialog) -> None:
    """Raise DialogError unless the dialog ends with a prompt that is not empty."""
    _, exchanges = turns(dialog)
    if not exchanges or exchanges[-1][1] is not None or not exchanges[-1][0].content.strip():
        raise DialogError(
            "A test needs a prompt.", data="Nothing was saved.", remedy="Give the text that the model is asked."
        )


_EXAMPLE = "For example: contains Paris."
_ESCAPED = re.compile(r"\\.", re.DOTALL)
_RECURSION = re.compile(r"\(\?(?:R|[+-]?\d|&|P>)")


def _folded(text: str) -> str:
    folded = unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())
    return " ".join(folded.split())


def _compiled(pattern: str) -> regex.Pattern[str]:
    import regex

    # Recursion can fill hundreds of megabytes before the time limit ends it.
    if _RECURSION.search(_ESCAPED.sub("", pattern)):
        raise _invalid(pattern, "recursion is not supported")
    try:
        return regex.compile(pattern)
    except regex.error as error:
        raise _invalid(pattern, str(error)) from error
    except RecursionError as error:
        raise _invalid(pattern, "it is nested too deeply") from error


def _invalid(pattern: str, why: str) -> UsageError:
    return UsageError(
        f"The pattern {pattern!r:.80} cannot be used: {why}.",
        data="Nothing was saved.",
        remedy="Correct it; a backslash before ( ) [ ] { } . * + ? | ^ $ takes the character literally.",
    )


def _mismatch(pattern: str, reply: str) -> str:
    try:
        # Concurrent matching releases the interpreter lock, so that a slow pattern delays no other thread.
        found = _compiled(pattern).search(reply, timeout=MATCH_SECONDS, concurrent=True)
    except TimeoutError:
        return f"The pattern /{pattern}/ takes more than {MATCH_SECONDS:g} seconds on this reply: simplify it."
    except UsageError as error:
        return error.what
    return "" if found else f"The reply does not match /{pattern}/."
