"""What the checks say about an exchange: the kind, the reason, and a fix that can be applied at a key."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What is wrong with an exchange."""

    DUPLICATE = "duplicate"
    NEAR_DUPLICATE = "near duplicate"
    CONFLICT = "conflict"
    EMPTY = "empty"
    CUT_OFF = "cut off"
    REFUSAL = "refusal"
    TAGS = "tags"
    CONTROL_CODES = "control codes"
    TOO_LONG = "too long"
    SECRET = "secret"
    SCRIPT = "script"


class Fix(StrEnum):
    """What applying a finding does; LOOK leaves it to the person."""

    REJECT = "reject"
    REPLACE = "replace"
    LOOK = "look"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a check found.

    With the fix REPLACE, `prompt` and `reply` are the new texts (None leaves one as it is). `other` is the
    exchange that it is a duplicate of, or in conflict with.
    """

    exchange_id: int
    kind: Kind
    reason: str
    fix: Fix = Fix.LOOK
    prompt: str | None = None
    reply: str | None = None
    other: int | None = None

    @property
    def advice(self) -> str:
        """The fix in words."""
        if self.fix is Fix.REJECT:
            return "reject it"
        if self.fix is Fix.REPLACE:
            changed = [name for name, text in (("prompt", self.prompt), ("reply", self.reply)) if text is not None]
            return f"clean the {' and the '.join(changed)}"
        return "look at it"
