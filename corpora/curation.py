"""Looking after a corpus: checks over the whole of it, and the fixes that they propose."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from corpora.checks import check_exchange
from corpora.dialog import Exchange, Status, dialog_of
from corpora.duplicates import Duplicates, text_to_compare
from corpora.errors import DialogError, StoreError
from corpora.findings import Finding, Fix, Kind
from corpora.llama2 import encode_example
from corpora.store import Filter, Store
from corpora.tokens import Tokenizer

__all__ = ["Finding", "Fix", "Kind", "Survey", "apply", "check_exchange", "counted", "survey"]

LOOKED_AT = Filter(statuses=(Status.KEPT, Status.PENDING, Status.DEFERRED))
MAX_LENGTH = 2048
"""Tokens; what a run reads of a row unless its recipe says otherwise."""
PLURALS = {
    Kind.CONFLICT: "conflicts",
    Kind.SECRET: "secrets",
    Kind.TAGS: "tags",
    Kind.CONTROL_CODES: "control codes",
    Kind.CUT_OFF: "cut off",
    Kind.EMPTY: "empty",
    Kind.TOO_LONG: "too long",
    Kind.REFUSAL: "refusals",
    Kind.DUPLICATE: "duplicates",
    Kind.NEAR_DUPLICATE: "near duplicates",
    Kind.SCRIPT: "script",
}
"""All kinds, what matters most first: what harms somebody, what spoils a training, what only takes up room."""
_WEIGHT = {kind: place for place, kind in enumerate(PLURALS)}
_STANDING = {status: place for place, status in enumerate((Status.KEPT, Status.PENDING, Status.DEFERRED))}


@dataclass(frozen=True, slots=True)
class Survey:
    """All findings and how many there are of each kind, what matters most first."""

    findings: list[Finding]
    counts: dict[Kind, int]


def survey(
    store: Store,
    where: Filter = LOOKED_AT,
    *,
    tokenizer: Tokenizer | None = None,
    max_length: int = MAX_LENGTH,
    progress: Callable[[int], None] = lambda found: None,
) -> Survey:
    """Check all, then put it in order: by kind, what is kept before what is not, then as it was said.

    With a tokenizer also what is too long. Holds findings, never the whole corpus.
    """
    found: list[tuple[int, int, Finding]] = []
    for exchange, finding in _walk(store, where, tokenizer, max_length):
        found.append((_WEIGHT[finding.kind], _STANDING.get(exchange.status, len(_STANDING)), finding))
        progress(len(found))
    # The walk goes by id, and sorting leaves equals as they were.
    findings = [finding for _, _, finding in sorted(found, key=lambda each: each[:2])]
    return Survey(findings, dict(Counter(finding.kind for finding in findings)))


def counted(counts: dict[Kind, int]) -> str:
    """In words, what matters most first: `2 conflicts · 1 secret · 40 script`."""
    return " · ".join(
        f"{counts[kind]:,} {kind.value if counts[kind] == 1 else plural}"
        for kind, plural in PLURALS.items()
        if counts.get(kind)
    )


def apply(store: Store, finding: Finding) -> bool:
    """Carry a finding's fix out; False where it is the person's to decide. Each fix can be undone."""
    if finding.fix is Fix.REJECT:
        store.set_status([finding.exchange_id], Status.REJECTED)
    elif finding.fix is Fix.REPLACE:
        _replace(store, finding)
    return finding.fix is not Fix.LOOK


def _replace(store: Store, finding: Finding) -> None:
    """Clean the texts as they are now: another fix may have changed them since they were looked at."""
    for now in check_exchange(store.exchange(finding.exchange_id)):
        if now.kind is finding.kind:
            if now.prompt is not None:
                store.edit_prompt(now.exchange_id, now.prompt)
            if now.reply is not None:
                store.correct(now.exchange_id, now.reply, keep=False, pair=False)


def _walk(
    store: Store, where: Filter, tokenizer: Tokenizer | None, max_length: int
) -> Iterator[tuple[Exchange, Finding]]:
    duplicates = Duplicates(lambda exchange_id: _text(store, exchange_id))
    for exchange in store.walk(where):
        for finding in _findings(exchange, duplicates, tokenizer, max_length):
            yield exchange, finding


def _findings(
    exchange: Exchange, duplicates: Duplicates, tokenizer: Tokenizer | None, max_length: int
) -> Iterator[Finding]:
    yield from check_exchange(exchange)
    yield from duplicates.look(exchange)
    if tokenizer is not None:
        yield from _too_long(exchange, tokenizer, max_length)


def _text(store: Store, exchange_id: int) -> str | None:
    try:
        return text_to_compare(store.exchange(exchange_id))
    except StoreError:
        return None


def _too_long(exchange: Exchange, tokenizer: Tokenizer, max_length: int) -> Iterator[Finding]:
    """Whether the exchange fits by itself; a token is at least one byte, so short ones need no encoding."""
    texts = (exchange.system or "", exchange.prompt, exchange.reply)
    if sum(len(text.encode()) for text in texts) + 64 <= max_length:
        return
    try:
        length = len(encode_example(dialog_of([exchange]), tokenizer).ids)
    except DialogError:
        return
    if length > max_length:
        yield Finding(exchange.id, Kind.TOO_LONG, f"it takes {length} tokens, and a run reads {max_length}")
