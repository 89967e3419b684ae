"""`corpus list|show|stats`: a look at what is stored. Changes nothing.

Knows nothing of files that come in or go out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from corpora.dialog import Exchange, Status, dialog_of
from corpora.store import Filter
from tui.render import line
from tui.verbs.call import Call, given_text
from tui.verbs.corpus import filter_of
from tui.verbs.runs import day

PIPED = 60
"""Characters of a cell in a list that goes into a file or a pipe; `--json` gives all."""


@dataclass(frozen=True, slots=True)
class Page:
    """What `corpus list --json` prints: one page, and how many there are in all."""

    total: int
    offset: int
    exchanges: list[Exchange]


def list_exchanges(call: Call) -> int:
    """Exchanges that the flags select."""
    given, store = call.given, call.workspace.store
    where = _where(call)
    found = store.page(where, limit=max(0, given.limit), offset=max(0, given.offset))
    total = store.count(where)
    if call.output.json:
        call.output.document(Page(total, given.offset, found))
        return 0
    if found:
        call.output.table(
            ("ID", "STATUS", "PROMPT", "REPLY", "BY", "SOURCE", "WHEN"),
            [_cells(each, whole=call.output.out.isatty()) for each in found],
            right=("ID",),
        )
    call.output.note(f"{len(found)} of {total}." if total else _nothing(where))
    return 0


def _where(call: Call) -> Filter:
    """The query, and what single flags add to it."""
    given, asked = call.given, filter_of(call.given.filter)
    return replace(
        asked,
        text=f"{asked.text} {given_text(given.search)}".strip(),
        statuses=tuple(Status(status) for status in given.status) or asked.statuses,
        tags=(*asked.tags, *given.tag),
        sources=tuple(given.source) or asked.sources,
        adapter=given.adapter or asked.adapter,
    )


def show(call: Call) -> int:
    """One exchange with the dialog above it; with `--tokens` as the model sees it."""
    path = call.workspace.store.path_to(call.given.id)
    if call.given.tokens:
        from tui.verbs.corpus_tokens import show_tokens

        return show_tokens(call, path)
    if call.output.json:
        call.output.document({"exchange": path[-1], "dialog": dialog_of(path)})
        return 0
    for said in dialog_of(path):
        call.output.say(f"{said.role}:", "bold")
        call.output.say(said.content)
        call.output.say()
    for name, value in _facts(call, path[-1]):
        if value:
            call.output.say(f"{name:<12}{value}")
    return 0


def stats(call: Call) -> int:
    """Counts over everything."""
    found = call.workspace.store.stats()
    if call.output.json:
        call.output.document(found)
        return 0
    for status in Status:
        call.output.say(f"{status.value:<14}{found.by_status.get(status, 0):>8}")
    for name in ("exchanges", "conversations", "corrected", "trained", "preferences", "verdicts"):
        call.output.say(f"{name:<14}{getattr(found, name):>8}")
    if found.by_source:
        call.output.say()
        call.output.table(("SOURCE", "EXCHANGES"), sorted(found.by_source.items()), right=("EXCHANGES",))
    return 0


def _cells(exchange: Exchange, *, whole: bool) -> tuple[object, ...]:
    """With `whole` the terminal's width decides what is cut."""
    limit = 0 if whole else PIPED
    return (
        exchange.id,
        exchange.status.value + (", corrected" if exchange.corrected else ""),
        line(exchange.prompt, limit),
        line(exchange.reply, limit),
        exchange.adapter,
        line(exchange.source, limit),
        day(exchange.created),
    )


def _nothing(where: Filter) -> str:
    return "Nothing is stored yet." if where == Filter() else "Nothing matches."


def _facts(call: Call, exchange: Exchange) -> list[tuple[str, str]]:
    trained = call.workspace.store.trained_in(exchange.id)
    return [
        ("exchange", f"{exchange.id} in conversation {exchange.conversation_id}"),
        ("status", exchange.status.value),
        ("written by", f"{exchange.model} {exchange.adapter}".strip()),
        ("finish", exchange.finish.value),
        ("original", exchange.original or ""),
        ("tags", ", ".join(exchange.tags)),
        ("note", exchange.note),
        ("rating", "" if exchange.rating is None else str(exchange.rating)),
        ("source", exchange.source),
        ("trained in", ", ".join(trained)),
        ("created", day(exchange.created)),
    ]
