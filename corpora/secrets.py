"""Keys, tokens, addresses and card numbers in texts: found, and masked. Knows nothing of exchanges."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_KEYS = {
    "a private key": r"-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]{0,8000}?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)",
    "an AWS key": r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
    "a GitHub token": r"\b(?:gh[pousr]_[A-Za-z0-9]{36,255}|github_pat_[A-Za-z0-9_]{22,255})\b",
    "a Hugging Face token": r"\bhf_[A-Za-z0-9]{30,100}\b",
    "an API key": r"\bsk-(?:[A-Za-z0-9]+-)*[A-Za-z0-9_-]{20,200}",
    "a Google key": r"\bAIza[0-9A-Za-z_-]{35}\b",
    "a Slack token": r"\bxox[abeprs]-[0-9A-Za-z-]{10,250}",
    "a signed token": r"\beyJ[A-Za-z0-9_-]{10,2000}\.[A-Za-z0-9_-]{10,4000}\.[A-Za-z0-9_-]{10,1000}",
    "a password": r"(?i)\b(?:password|passwd|api[_ -]?key|secret[_ -]?key|access[_ -]?token)\b\"?\s*[:=]\s*"
    r"(?=[^\s,;]*[0-9])[^\s,;]{8,200}",
    "an e-mail address": r"\b[A-Za-z0-9._%+-]{1,64}@(?!(?:[A-Za-z0-9-]{1,63}\.)?example\.)"
    r"(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}\b",
}
_PATTERNS = [(kind, re.compile(pattern)) for kind, pattern in _KEYS.items()]
_DIGITS = re.compile(r"(?<![\d.])(?:\d[ -]?){12,18}\d(?![\d.])")


@dataclass(frozen=True, slots=True)
class Secret:
    """What was found, and where in the text."""

    kind: str
    start: int
    end: int


def found_secrets(text: str) -> list[Secret]:
    """Secrets in a text, in their order; they do not overlap."""
    found = sorted(_matches(text), key=lambda secret: (secret.start, -secret.end))
    kept: list[Secret] = []
    for secret in found:
        if not kept or secret.start >= kept[-1].end:
            kept.append(secret)
    return kept


def masked(text: str) -> str:
    """The text with each secret replaced by its kind in brackets."""
    for secret in reversed(found_secrets(text)):
        name = secret.kind.split(" ", 1)[1]
        text = f"{text[: secret.start]}[{name}]{text[secret.end :]}"
    return text


def luhn(digits: str) -> bool:
    """Whether a number has the check digit of a payment card."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (1 + place % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def _matches(text: str) -> Iterator[Secret]:
    for kind, pattern in _PATTERNS:
        for match in pattern.finditer(text):
            yield Secret(kind, match.start(), match.end())
    for match in _DIGITS.finditer(text):
        digits = re.sub(r"\D", "", match.group())
        if digits[0] in "23456" and luhn(digits) and len(set(digits)) > 1:
            yield Secret("a card number", match.start(), match.end())
