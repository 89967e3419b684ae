"""`corpus check`: what is worth a look in the corpus, each with a reason and a fix.

Knows no check: `corpora.curation` does.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from corpora import curation
from corpora.curation import Finding, Fix, Survey
from corpora.store import Filter, Store
from corpora.tokens import Tokenizer
from sessions.errors import LlamaTuiError
from sessions.model_words import tokenizer_of
from tui.verbs.call import Call
from tui.verbs.corpus import filter_of

MOST_FIXES = 10
"""Of one exchange."""
TOLD_EVERY = 500
"""Findings between two lines of progress."""


@dataclass(frozen=True, slots=True)
class Checked:
    """What `corpus check --json` prints; `fixed` counts what `--fix` changed."""

    exchanges: int
    fixed: int
    counts: dict[str, int]
    findings: list[Finding]


def check(call: Call) -> int:
    """List the findings; with `--fix` carry out those that need no decision, each of which can be undone."""
    store = call.workspace.store
    survey = _survey(call, store)
    found = survey.findings
    fixed = sum(_fix(store, finding) for finding in _fixable(found)) if call.given.fix else 0
    if call.output.json:
        counts = {kind.value: count for kind, count in survey.counts.items()}
        call.output.document(Checked(store.count(), fixed, counts, found))
        return 0
    if found:
        rows = [(each.exchange_id, each.kind.value, each.reason, each.advice) for each in found]
        call.output.table(("ID", "WHAT", "WHY", "FIX"), rows, right=("ID",))
    summary = curation.counted(survey.counts)
    call.output.note(f"{len(found):,} findings in {store.count():,} exchanges{f': {summary}' if summary else ''}.")
    if fixed:
        call.output.note(f"{fixed:,} fixed; /undo in the chat takes the last ones back.")
    elif _fixable(found):
        call.output.note(f"{len(_fixable(found)):,} of them can be fixed by themselves: --fix")
    return 0


def _survey(call: Call, store: Store) -> Survey:
    def progress(found: int) -> None:
        if found % TOLD_EVERY == 0:
            call.output.progress(f"{found:,} findings so far")

    longest = call.given.max_length
    return curation.survey(store, _where(call), tokenizer=_tokenizer(call), max_length=longest, progress=progress)


def _where(call: Call) -> Filter:
    """What the screen looks at too: what was rejected is not trained, and only a query brings it in."""
    asked = filter_of(call.given.filter, *curation.LOOKED_AT.statuses) if call.given.filter else curation.LOOKED_AT
    return replace(asked, sources=tuple(call.given.source) or asked.sources)


def _fixable(found: list[Finding]) -> list[Finding]:
    """One fix for each exchange: a second would be made for a text that is gone. To reject it spares the others."""
    chosen: dict[int, Finding] = {}
    for finding in found:
        before = chosen.get(finding.exchange_id)
        if finding.fix is Fix.REJECT or (finding.fix is Fix.REPLACE and before is None):
            chosen[finding.exchange_id] = finding
    return list(chosen.values())


def _fix(store: Store, finding: Finding) -> int:
    """Fix one exchange until a look at it finds nothing more to fix; returns how often."""
    for count in range(1, MOST_FIXES + 1):
        curation.apply(store, finding)
        left = _fixable(list(curation.check_exchange(store.exchange(finding.exchange_id))))
        if finding.fix is Fix.REJECT or not left:
            return count
        finding = left[0]
    return MOST_FIXES


def _tokenizer(call: Call) -> Tokenizer | None:
    """Lengths are looked at where the model's tokenizer is at hand; a check needs no download."""
    try:
        return tokenizer_of(call.model)
    except LlamaTuiError as error:
        call.output.note(f"Lengths are not checked: {error.what}")
        return None
