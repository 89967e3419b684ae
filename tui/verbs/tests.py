"""`tests …`: pinned tests listed, added, removed, and run against versions.

Independent of how a reply is judged.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from corpora.dialog import Message
from corpora.llama2 import render
from corpora.pinned import Kind, PinnedTest, Rule
from corpora.store import Store
from sessions.client import Client
from sessions.pinned_matrix import Asking, Matrix, Skipped, Version, ask, read_matrix
from sessions.protocol import BASE
from tui.output import Output
from tui.verbs.call import Call, given_text, naming_the_flag, piped_text
from tui.verbs.runs import day

NONE_YET = (
    "There is no pinned test yet. `llama-tui tests add PROMPT --contains TEXT` adds one; so does /pin in the chat."
)
SHOWN_REPLY = 200
"""Characters of a reply in the list of failures."""


@dataclass(frozen=True, slots=True)
class Listed:
    """One test of `tests list --json`."""

    id: int
    prompt: str
    system: str | None
    turns: int
    kind: str
    text: str
    created: float


@dataclass(frozen=True, slots=True)
class Result:
    """One version's reply to one test; `flipped` where its parent (else the base) had the other result."""

    adapter: str
    passed: bool
    flipped: bool
    reply: str
    failure: str


@dataclass(frozen=True, slots=True)
class Row:
    """One test of `tests run --json`."""

    test: Listed
    results: tuple[Result, ...]


@dataclass(frozen=True, slots=True)
class Column:
    """One version of `tests run --json`."""

    adapter: str
    digest: str
    passed: int
    total: int


@dataclass(frozen=True, slots=True)
class Ran:
    """What `tests run --json` prints. `passed` speaks of the last of `versions`, the newest."""

    model: str
    passed: bool
    versions: tuple[Column, ...]
    tests: tuple[Row, ...]


def list_tests(call: Call) -> int:
    """Print every test, the oldest first."""
    found = call.workspace.store.pinned_tests()
    if call.output.json:
        call.output.document([_listed(test) for test in found])
    elif found:
        call.output.table(
            ("TEST", "PROMPT", "THE REPLY", "WHEN"),
            [(test.id, test.prompt, test.describe(), day(test.created)) for test in found],
            right=("TEST",),
            wrapped=("PROMPT", "THE REPLY"),
        )
    else:
        call.output.note(NONE_YET)
    return 0


def add(call: Call) -> int:
    """Save a prompt with a rule."""
    test = _given_test(call)
    with naming_the_flag():
        render(test.dialog)  # refuses tags before anything is saved
    saved, new = call.workspace.store.add_pinned_test(test)
    if call.output.json:
        call.output.document(_listed(saved))
    call.output.say(f"{'Pinned as' if new else 'There is already'} test {saved.id}: the reply {saved.describe()}.")
    return 0


def remove(call: Call) -> int:
    """Remove tests by their numbers."""
    store, ids = call.workspace.store, list(dict.fromkeys(call.given.test))
    removed = [store.pinned_test(each) for each in ids]
    store.remove_pinned_tests(ids)
    if call.output.json:
        call.output.document({"removed": ids})
    for test in removed:
        call.output.say(f"Removed test {test.id}: {test.prompt} ({test.describe()}).")
    call.output.note("/undo in the chat restores what was removed last.")
    return 0


async def run(call: Call) -> int:
    """Ask versions for every test; return 1 where the newest of them does not pass all."""
    store, registry = call.workspace.store, call.workspace.registry
    named = [registry.resolve(given_text(each)) for each in call.given.adapters or ()] or [BASE, call.adapter]
    if not store.pinned_tests():
        call.output.note(NONE_YET)
    else:
        async with call.client() as client:
            await call.ready(client)
            matrix = read_matrix(store, registry, call.model, named)
            wanted = [(test, version) for version in matrix.versions for test in matrix.tests]
            refused = await asked(call.output, client, store, wanted)
    matrix = read_matrix(store, registry, call.model, named)
    passed = matrix.passed(matrix.versions[-1]) == len(matrix.tests) and not (matrix.tests and refused)
    if call.output.json:
        call.output.document(_ran(call.model, matrix, passed))
    elif matrix.tests:
        show_matrix(call.output, matrix)
    return 0 if passed else 1


async def asked(output: Output, client: Client, store: Store, wanted: Sequence[tuple[PinnedTest, Version]]) -> bool:
    """Ask with progress and report what cannot be asked; return True where there was any."""
    refused = False
    async with aclosing(ask(client, store, wanted)) as steps:
        async for step in steps:
            match step:
                case Asking(number=number, total=total):
                    output.progress(f"question {number} of {total}")
                case Skipped(error=error, test=test):
                    refused = True
                    if test is not None:
                        output.note(f"Test {test.id} was not run:", "yellow")
                    output.problem(error)
    return refused


def show_matrix(output: Output, matrix: Matrix) -> None:
    """Print tests by versions, what flipped, why the newest version fails, and how many it passes."""
    addresses = [version.address for version in matrix.versions]
    output.table(
        ("TEST", "PROMPT", "THE REPLY", *addresses),
        [
            (test.id, test.prompt, test.describe(), *(_cell(matrix, test, version) for version in matrix.versions))
            for test in matrix.tests
        ],
        right=("TEST",),
        wrapped=("PROMPT", "THE REPLY"),
    )
    for line, style in _told(matrix):
        output.say(line, style)


def _told(matrix: Matrix) -> Iterable[tuple[str, str]]:
    for flip in matrix.flips():
        new, old = ("passes", "failed") if flip.passed else ("fails", "passed")
        sign, style = ("▲", "green") if flip.passed else ("▼", "red")
        yield (
            f"{sign} Test {flip.test.id} {new} with {flip.version.address}; it {old} with {flip.before.address}.",
            style,
        )
    newest = matrix.versions[-1]
    for test in matrix.tests:
        result = matrix.result(test, newest)
        if result is not None and not result.passed:
            reply = result.reply if len(result.reply) <= SHOWN_REPLY else f"{result.reply[:SHOWN_REPLY]}…"
            yield f"Test {test.id} fails with {newest.address}. {test.rule.failure(result.reply)}", ""
            yield f"  {' '.join(reply.split()) or '(an empty reply)'}", "dim"
    run = sum(matrix.result(test, newest) is not None for test in matrix.tests)
    not_run = f"; {len(matrix.tests) - run} not run" if run < len(matrix.tests) else ""
    passed = matrix.passed(newest)
    style = "green" if passed == len(matrix.tests) else "red"
    yield f"{newest.address} passes {passed} of {len(matrix.tests)}{not_run}.", style


def _cell(matrix: Matrix, test: PinnedTest, version: Version) -> str:
    result, flip = matrix.result(test, version), matrix.flip(test, version)
    if result is None:
        return "–"
    sign = "" if flip is None else " ▲" if flip.passed else " ▼"
    return ("pass" if result.passed else "FAIL") + sign


def _given_test(call: Call) -> PinnedTest:
    given = call.given
    prompt = piped_text("prompt") if given.prompt == "-" else given_text(given.prompt)
    kind, text = next(
        (kind, given_text(value))
        for kind, value in (
            (Kind.CONTAINS, given.contains),
            (Kind.NOT_CONTAINS, given.not_contains),
            (Kind.REGEX, given.regex),
        )
        if value is not None
    )
    system = given_text(given.system).strip() if given.system else ""
    said = [Message("system", system, tags_allowed=given.allow_tags)] if system else []
    return PinnedTest((*said, Message("user", prompt.strip(), tags_allowed=given.allow_tags)), Rule(kind, text.strip()))


def _listed(test: PinnedTest) -> Listed:
    turns = sum(said.role == "user" for said in test.dialog)
    return Listed(test.id, test.prompt, test.system, turns, str(test.rule.kind), test.rule.text, test.created)


def _ran(model: str, matrix: Matrix, passed: bool) -> Ran:
    versions = tuple(
        Column(version.address, version.digest, matrix.passed(version), len(matrix.tests))
        for version in matrix.versions
    )
    rows = tuple(Row(_listed(test), tuple(_results(matrix, test))) for test in matrix.tests)
    return Ran(model, passed, versions, rows)


def _results(matrix: Matrix, test: PinnedTest) -> Iterable[Result]:
    for version in matrix.versions:
        result = matrix.result(test, version)
        if result is not None:
            failure = "" if result.passed else test.rule.failure(result.reply)
            flipped = matrix.flip(test, version) is not None
            yield Result(version.address, result.passed, flipped, result.reply, failure)
