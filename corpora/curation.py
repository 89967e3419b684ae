"""Looking after a corpus: checks over the whole of it, and the fixes that they propose."""

from __future__ import annotations

from collections.abc import Iterator

from corpora.checks import check_exchange
from corpora.dialog import Exchange, Status, dialog_of
from corpora.duplicates import Duplicates, text_to_compare
from corpora.errors import DialogError, StoreError
from corpora.findings import Finding, Fix, Kind
from corpora.llama2 import encode_example
from corpora.store import Filter, Store
from corpora.tokens import Tokenizer

__all__ = ["Finding", "Fix", "Kind", "apply", "check", "check_exchange"]

LOOKED_AT = Filter(statuses=(Status.KEPT, Status.PENDING, Status.DEFERRED))


def check(
    store: Store, where: Filter = LOOKED_AT, *, tokenizer: Tokenizer | None = None, max_length: int = 4096
) -> Iterator[Finding]:
    """All findings, exchange by exchange, the oldest first; with a tokenizer also what is too long.

    Lazy, and without the whole corpus in memory.
    """
    duplicates = Duplicates(lambda exchange_id: _text(store, exchange_id))
    for exchange in store.walk(where):
        yield from check_exchange(exchange)
        yield from duplicates.look(exchange)
        if tokenizer is not None:
            yield from _too_long(exchange, tokenizer, max_length)


def apply(store: Store, finding: Finding) -> bool:
    """Carry a finding's fix out; False where it is the person's to decide. Each fix can be undone."""
    if finding.fix is Fix.REJECT:
        store.set_status([finding.exchange_id], Status.REJECTED)
    elif finding.fix is Fix.REPLACE:
        if finding.prompt is not None:
            store.edit_prompt(finding.exchange_id, finding.prompt)
        if finding.reply is not None:
            store.correct(finding.exchange_id, finding.reply, keep=False, pair=False)
    return finding.fix is not Fix.LOOK


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
