"""Pinned tests against versions: who passes what, what flipped, and how versions are asked.

Independent of screens; asks through a client.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeAlias, cast

from corpora.errors import CorpusError, LlamaTuiError, UsageError
from corpora.pinned import REPLY_TOKENS, PinnedResult, PinnedTest
from sessions.errors import AdapterError, Cancelled, PromptTooLong
from sessions.protocol import BASE, AnyEvent, Failed, Sampling, Token
from sessions.protocol import Cancelled as GenerationCancelled

if TYPE_CHECKING:
    from corpora.store import Store
    from sessions.client import Client
    from sessions.registry import Registry

GREEDY = Sampling(temperature=0.0, top_p=1.0, top_k=0, repetition_penalty=1.0, max_new_tokens=REPLY_TOKENS)
"""How tests are asked: the same version gives the same reply every time."""
TOGETHER = 4
"""Versions in one batch."""


@dataclass(frozen=True, slots=True)
class Version:
    """One column: `base` or `NAME/vN`, its identity, the version it was trained from, and when."""

    address: str
    digest: str = BASE
    parent: str = ""
    created: float = 0.0


@dataclass(frozen=True, slots=True)
class Flip:
    """A test whose result changed from one version to the next."""

    test: PinnedTest
    before: Version
    version: Version
    passed: bool


@dataclass(frozen=True, slots=True)
class Matrix:
    """Results of tests by version; the base comes first, then versions from the oldest to the newest."""

    tests: tuple[PinnedTest, ...] = ()
    versions: tuple[Version, ...] = (Version(BASE),)
    results: Mapping[tuple[int, str], PinnedResult] = field(default_factory=dict)

    def merged(self, test: PinnedTest, results: Mapping[str, PinnedResult]) -> Matrix:
        """Return the matrix with new results of one test, by digest."""
        new = {(test.id, digest): result for digest, result in results.items()}
        return replace(self, results={**self.results, **new})

    def result(self, test: PinnedTest, version: Version) -> PinnedResult | None:
        """Return the result of a version, or None where the test did not run."""
        return self.results.get((test.id, version.digest))

    def before(self, version: Version) -> Version | None:
        """Return the version that this one is compared with: its parent where shown, else the base."""
        if version.address == BASE:
            return None
        shown = {each.address: each for each in self.versions}
        return shown.get(version.parent) or shown.get(BASE)

    def flip(self, test: PinnedTest, version: Version) -> Flip | None:
        """Return how the result differs from that of the version before, or None where it does not."""
        before = self.before(version)
        if before is None:
            return None
        old, new = self.result(test, before), self.result(test, version)
        if old is None or new is None or old.passed == new.passed:
            return None
        return Flip(test, before, version, new.passed)

    def flips(self) -> tuple[Flip, ...]:
        """Return all flips, those of the oldest version first."""
        found = (self.flip(test, version) for version in self.versions for test in self.tests)
        return tuple(flip for flip in found if flip is not None)

    def passed(self, version: Version) -> int:
        """Return how many tests a version passed."""
        found = (self.result(test, version) for test in self.tests)
        return sum(result.passed for result in found if result is not None)

    def missing(self) -> list[tuple[PinnedTest, Version]]:
        """Return the tests that did not run yet, for the base and the newest versions first."""
        order = (*self.versions[:1], *reversed(self.versions[1:]))
        return [(test, each) for each in order for test in self.tests if self.result(test, each) is None]


def versions_of(registry: Registry, model: str) -> tuple[Version, ...]:
    """Return the base and every version that was made for a model, the oldest first."""
    made = [lineage for lineage in registry.all() if lineage.base_model in ("", model)]
    found = (
        Version(each.address, each.digest or each.address, each.parent, each.created)
        for each in sorted(made, key=lambda lineage: (lineage.created, lineage.address))
    )
    return (Version(BASE), *found)


def read_matrix(store: Store, registry: Registry, model: str, named: Sequence[str] = ()) -> Matrix:
    """Return all tests with the stored results of the named versions (of all where none is named)."""
    found = versions_of(registry, model)
    if named:
        wanted = {*named}
        known = {version.address for version in found}
        found = (
            *(version for version in found if version.address in wanted),
            *(_other(registry, address) for address in dict.fromkeys(named) if address not in known),
        )
    return Matrix(store.pinned_tests(), found, store.pinned_results(model))


def _other(registry: Registry, address: str) -> Version:
    """Return a version that was made for another model: the engine refuses it where it does not fit."""
    lineage = registry.lineage(address)
    return Version(address, lineage.digest or address, lineage.parent, lineage.created)


# ── asking ──────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Asking:
    """A test is asked next: the `number`-th question of `total`."""

    test: PinnedTest
    versions: tuple[Version, ...]
    number: int
    total: int


@dataclass(frozen=True, slots=True)
class Answered:
    """A test was answered by some versions; the results are saved."""

    test: PinnedTest
    results: Mapping[str, PinnedResult]
    """By digest."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """A version that cannot be loaded, or a test that cannot be asked; the others continue."""

    error: LlamaTuiError
    test: PinnedTest | None = None
    version: Version | None = None


Step: TypeAlias = Asking | Answered | Skipped


async def ask(client: Client, store: Store, wanted: Sequence[tuple[PinnedTest, Version]]) -> AsyncGenerator[Step, None]:
    """Ask tests of versions greedily, up to four versions in one batch; save every result as it comes.

    Raises HostError, ModelError and StoreError, which concern all of them.
    """
    batches = list(_batches(wanted))
    number, total = 0, sum(len(tests) for _, tests in batches)
    for versions, tests in batches:
        loaded = []
        for version in versions:
            error = await _load(client, version)
            if error is None:
                loaded.append(version)
            else:
                yield Skipped(error, version=version)
        for test, asked in tests:
            number += 1
            able = tuple(version for version in asked if version in loaded)
            if not able:
                continue
            yield Asking(test, able, number, total)
            try:
                replies = await _replies(client, test, able)
            except (PromptTooLong, CorpusError, UsageError) as error:
                yield Skipped(error, test=test)
                continue
            yield Answered(test, await asyncio.to_thread(_save, store, client.model, test, able, replies))


def _batches(
    wanted: Sequence[tuple[PinnedTest, Version]],
) -> Iterator[tuple[list[Version], list[tuple[PinnedTest, list[Version]]]]]:
    """Yield up to four versions at a time, with each test and those of them that are asked."""
    versions = list(dict.fromkeys(version for _, version in wanted))
    tests = list(dict.fromkeys(test for test, _ in wanted))
    pairs = set(wanted)
    for start in range(0, len(versions), TOGETHER):
        some = versions[start : start + TOGETHER]
        asked = [(test, [version for version in some if (test, version) in pairs]) for test in tests]
        yield some, [(test, each) for test, each in asked if each]


async def _load(client: Client, version: Version) -> LlamaTuiError | None:
    """Make a version resident before its batch, so that a damaged one does not fail the others."""
    if version.address == BASE:
        return None
    try:
        await client.load_adapter(version.address)
    except AdapterError as error:
        return error
    return None


async def _replies(client: Client, test: PinnedTest, versions: Sequence[Version]) -> list[str]:
    replies = [""] * len(versions)
    events = client.generate(test.dialog, tuple(version.address for version in versions), GREEDY)
    async with aclosing(cast("AsyncGenerator[AnyEvent, None]", events)) as coming:
        async for event in coming:
            match event:
                case Token(text=text, column=column):
                    replies[column] += text
                case Failed(failure=failure):
                    raise failure.error()
                case GenerationCancelled():
                    raise Cancelled("The tests were stopped.", data="Results so far are saved.")
    return [reply.strip() for reply in replies]


def _save(
    store: Store, model: str, test: PinnedTest, versions: Sequence[Version], replies: Sequence[str]
) -> dict[str, PinnedResult]:
    found = {version.digest: test.judge(reply) for version, reply in zip(versions, replies, strict=True)}
    for digest, result in found.items():
        store.save_pinned_results(digest, model, [result])
    return found
