"""Checks of one exchange by itself. Each gives findings with a reason and a fix; none changes anything."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from corpora.dialog import Exchange, Finish
from corpora.findings import Finding, Fix, Kind
from corpora.llama2 import TAGS
from corpora.scripts import script_of
from corpora.secrets import found_secrets, masked

_OTHER_TAGS = ("<s>", "</s>", "<|im_start|>", "<|im_end|>", "<|endoftext|>", "### Human:", "### Assistant:")
_CONTROLS = re.compile("[\x00-\x08\x0b-\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufffd]")
_ESCAPES = re.compile("\x1b(?:\\[[0-?]*[ -/]*[@-~]|\\][^\x07\x1b]*(?:\x07|\x1b\\\\)|[@-Z\\\\-_])")
_REFUSALS = re.compile(
    r"^\W*(?:as an? (?:ai|artificial intelligence)\b|i(?:'|’)?m (?:sorry|afraid),? (?:but )?i (?:can|am|do)"
    r"|i(?:'m| am) (?:unable|not able) to|i (?:cannot|can't|can’t) (?:help|assist|provide|fulfil|do that|answer|comply)"
    r"|sorry,? (?:but )?i can|i apologi[sz]e,? but|作为(?:一个|一名)?(?:人工智能|ai)"
    r"|(?:很)?抱歉，?(?:但)?我(?:无法|不能)|对不起，?(?:但)?我(?:无法|不能)|متأ?سفم|به عنوان یک (?:مدل|هوش))",
    re.IGNORECASE,
)
_UNFINISHED = re.compile(
    r"(?:[,，、;:(\[{—–]|\b(?:and|or|but|the|a|an|of|to|in|with|for|that|which|because))\s*$", re.IGNORECASE
)
_TRANSLATES = re.compile(r"translat|翻译|翻譯|译成|ترجمه|перевед|traduc|traduis|übersetz", re.IGNORECASE)
_CUT = {
    Finish.LENGTH: "the reply was cut at the limit of tokens",
    Finish.PARTIAL: "the reply was never finished",
    Finish.STOPPED: "the reply was stopped",
    Finish.FAILED: "the reply ended with an error",
}


def check_exchange(exchange: Exchange) -> Iterator[Finding]:
    """All findings on one exchange."""
    for check in CHECKS:
        yield from check(exchange)


def _empty(exchange: Exchange) -> Iterator[Finding]:
    for name, text in (("prompt", exchange.prompt), ("reply", exchange.reply)):
        if not text.strip():
            yield Finding(exchange.id, Kind.EMPTY, f"the {name} is empty", Fix.REJECT)


def _cut_off(exchange: Exchange) -> Iterator[Finding]:
    reply = exchange.reply.rstrip()
    if not reply:
        return
    if exchange.finish in _CUT and not exchange.corrected:
        yield Finding(exchange.id, Kind.CUT_OFF, _CUT[exchange.finish])
    elif reply.count("```") % 2:
        yield Finding(exchange.id, Kind.CUT_OFF, "a block of code in the reply does not end")
    elif _UNFINISHED.search(reply[-20:]):
        yield Finding(exchange.id, Kind.CUT_OFF, f"the reply ends with {reply.split()[-1][-20:]!r}")


def _refusal(exchange: Exchange) -> Iterator[Finding]:
    match = _REFUSALS.search(exchange.reply[:200])
    if match:
        yield Finding(exchange.id, Kind.REFUSAL, f"the reply begins like a refusal: {match.group()!r}", Fix.REJECT)


def _tags(exchange: Exchange) -> Iterator[Finding]:
    tags = TAGS + _OTHER_TAGS if not exchange.tags_allowed else ()
    both = f"{exchange.system or ''}\0{exchange.prompt}\0{exchange.reply}"
    found = [tag for tag in tags if tag in both]
    if not found:
        return
    reason = f"it holds {' and '.join(found)}, which a chat format reads as its own"
    yield _replacement(exchange, Kind.TAGS, reason, lambda text: _without(text, found))


def _control_codes(exchange: Exchange) -> Iterator[Finding]:
    codes = sorted({f"U+{ord(code):04X}" for code in _CONTROLS.findall(exchange.prompt + exchange.reply)})
    if codes:
        yield _replacement(exchange, Kind.CONTROL_CODES, f"it holds control codes: {', '.join(codes[:8])}", _visible)


def _secrets(exchange: Exchange) -> Iterator[Finding]:
    kinds = [secret.kind for text in (exchange.prompt, exchange.reply) for secret in found_secrets(text)]
    if kinds:
        reason = f"it holds what looks like {', '.join(dict.fromkeys(kinds))}"
        yield _replacement(exchange, Kind.SECRET, reason, masked)


def _script(exchange: Exchange) -> Iterator[Finding]:
    asked, answered = script_of(exchange.prompt), script_of(exchange.reply)
    if asked and answered and asked != answered and not _TRANSLATES.search(exchange.prompt):
        yield Finding(exchange.id, Kind.SCRIPT, f"the prompt is in {asked} script, the reply in {answered}")


def _replacement(exchange: Exchange, kind: Kind, reason: str, cleaned: Callable[[str], str]) -> Finding:
    prompt, reply = cleaned(exchange.prompt), cleaned(exchange.reply)
    changed = (prompt if prompt != exchange.prompt else None, reply if reply != exchange.reply else None)
    fix = Fix.REPLACE if any(text is not None for text in changed) else Fix.LOOK
    return Finding(exchange.id, kind, reason, fix, *changed)


def _without(text: str, tags: list[str]) -> str:
    for tag in tags:
        text = text.replace(tag, "")
    return text


def _visible(text: str) -> str:
    return _CONTROLS.sub("", _ESCAPES.sub("", text))


CHECKS: tuple[Callable[[Exchange], Iterator[Finding]], ...] = (
    _empty,
    _cut_off,
    _refusal,
    _tags,
    _control_codes,
    _secrets,
    _script,
)
