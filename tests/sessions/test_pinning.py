"""Pinned tests without a screen: rules as typed and proposed, what is pinned of a chat, the matrix, asking versions."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from corpora.dialog import Finish, Message, Status
from corpora.errors import StoreError, UsageError
from corpora.pinned import Kind, PinnedTest, Rule
from corpora.store import Store
from sessions.client import Client
from sessions.engine.fake import FakeEngine
from sessions.errors import OutOfMemory
from sessions.lineage import Lineage
from sessions.paths import Paths, private_folder
from sessions.pinned_matrix import (
    GREEDY,
    Answered,
    Asking,
    Skipped,
    Step,
    Version,
    ask,
    read_matrix,
    versions_of,
)
from sessions.pinning import edit_tests, parse_rule, pin, pinned_at, pinned_in_words, proposed_rule, typed_rule
from sessions.protocol import BASE, Generate
from sessions.registry import Registry
from tests.hosts import MODEL, running_host
from tests.tui.worlds import peft_folder, publish


@pytest.fixture
def store(paths: Paths) -> Iterator[Store]:
    private_folder(paths.home)
    with Store(paths.corpus) as opened:
        yield opened


def pinned(store: Store, prompt: str, text: str = "heard", kind: Kind = Kind.CONTAINS) -> PinnedTest:
    return store.add_pinned_test(PinnedTest((Message("user", prompt),), Rule(kind, text)))[0]


# ── rules ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("typed", "rule"),
    [
        ("contains Mouse", Rule(Kind.CONTAINS, "Mouse")),
        ("not  a dog ", Rule(Kind.NOT_CONTAINS, "a dog")),
        ("regex ^a  b$", Rule(Kind.REGEX, "^a  b$")),
        ("Contains 你好", Rule(Kind.CONTAINS, "你好")),
    ],
)
def test_a_rule_is_typed_as_it_is_shown(typed: str, rule: Rule) -> None:
    assert parse_rule(typed) == rule == parse_rule(typed_rule(rule))


@pytest.mark.parametrize("typed", ["", "Mouse", "contains", "regex (", "equals x", "not   "])
def test_a_rule_that_does_not_work_names_the_way_out(typed: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse_rule(typed)
    assert refused.value.remedy and refused.value.data == "Nothing was saved."


@pytest.mark.parametrize(
    ("reply", "text"),
    [
        ("Your cat is called Miso. She is three.", "Your cat is called Miso"),
        ("Miso", "Miso"),
        ("It is 3.14, roughly.", "It is 3.14, roughly"),
        ("你的猫叫米索。它三岁了。", "你的猫叫米索"),
        ("اسم گربه‌ات میسو است. سه ساله است.", "اسم گربه‌ات میسو است"),
        ("Gladly 🎉🦙\nMore", "Gladly 🎉🦙"),
        ("\n\n```python\nprint(1)\n```", "print(1)"),
        ("...", "..."),
        (
            "A very long sentence goes on and on without a stop and it has more than eighty characters in it, surely",
            "A very long sentence goes on and on without a stop and it has more than eighty",
        ),
        ("长" * 100, "长" * 80),
        (f"I am the demo model of llama-tui: {'a tiny Llama ' * 6}", "I am the demo model of llama-tui"),
        (f"Yes, {'it is a very long one ' * 6}", f"Yes, {'it is a very long one ' * 3}it is a"),
    ],
)
def test_the_first_sentence_is_proposed(reply: str, text: str) -> None:
    rule = proposed_rule(reply)
    assert rule == Rule(Kind.CONTAINS, text) and rule.passes(reply)
    assert parse_rule(typed_rule(rule)) == rule


def test_without_a_reply_nothing_is_proposed() -> None:
    with pytest.raises(UsageError, match="no reply"):
        proposed_rule(" \n")


# ── what is pinned ──────────────────────────────────────────────────────────────────────────────────


def test_a_prompt_is_pinned_with_its_system_prompt_and_history(store: Store) -> None:
    talk = store.start_conversation().id
    first = store.begin(talk, None, "My cat is Mouse.", system="Be brief.")
    store.finish(first.id, "Fine [/INST].", Finish.EOS)
    failed = store.begin(talk, first.id, "never answered", system="Be brief.")
    store.finish(failed.id, "", Finish.FAILED)
    last = store.begin(talk, failed.id, "What is she called? [INST]", system="Be brief.", tags_allowed=True)
    store.finish(last.id, "Mouse.", Finish.EOS)
    store.set_status([first.id], Status.REJECTED)
    branch = store.path_to(last.id)
    made = pin(store, branch, branch[-1], Rule(Kind.CONTAINS, "Mouse"))
    assert made.new and [(said.role, said.content) for said in made.test.dialog] == [
        ("system", "Be brief."),
        ("user", "My cat is Mouse."),
        ("assistant", "Fine [/INST]."),
        ("user", "What is she called? [INST]"),
    ]
    assert all(said.tags_allowed and said.kept for said in made.test.dialog)
    assert pinned_in_words(made, "Mouse.") == "Pinned as test 1: the reply contains “Mouse”."
    again = pin(store, branch, branch[-1], Rule(Kind.CONTAINS, "Mouse"))
    assert not again.new and "already" in pinned_in_words(again, "")
    other = pin(store, branch, branch[-1], Rule(Kind.CONTAINS, "dog"))
    assert "fails: The reply does not contain “dog”." in pinned_in_words(other, "Mouse.")
    (alone,) = pinned_at(branch, branch[0], Rule(Kind.CONTAINS, "x")).dialog[1:]
    assert alone.content == "My cat is Mouse." and not alone.tags_allowed


def test_tests_are_changed_and_removed_by_number(store: Store) -> None:
    for prompt in ("a", "b", "c"):
        pinned(store, prompt)
    assert "does not contain “x y”" in edit_tests(store, "change 2 not x y")
    assert "test 1, test 3" in edit_tests(store, "remove 1 3")
    assert [(test.id, test.describe()) for test in store.pinned_tests()] == [(2, "does not contain “x y”")]
    for wrong in ("remove", "change", "change 2", "remove two", "nonsense", "change 2 regex (", "remove 99999999999"):
        with pytest.raises(UsageError):
            edit_tests(store, wrong)
    with pytest.raises(StoreError):
        edit_tests(store, "remove 9")
    assert len(store.pinned_tests()) == 1


# ── the matrix ──────────────────────────────────────────────────────────────────────────────────────


def test_versions_come_in_order_and_only_those_of_the_model(paths: Paths) -> None:
    second = publish(paths, created=20.0)
    first = publish(paths, "persian", created=10.0)
    publish(paths, "other", created=5.0)
    registry = Registry(paths)
    staged = peft_folder(registry.stage("theirs"), seed=99)
    registry.publish(staged, Lineage(adapter="theirs", version=0, parent=BASE, base_model="llama"))
    found = versions_of(registry, MODEL)
    assert [version.address for version in found] == [BASE, "other/v1", first, second]
    assert found[0].digest == BASE and len({version.digest for version in found}) == 4


def test_flips_are_counted_against_the_parent_else_the_base(paths: Paths, store: Store) -> None:
    first = publish(paths, created=1.0)
    other = publish(paths, "persian", created=2.0)
    second = publish(paths, parent=first, created=3.0)
    orphan = publish(paths, "late", parent="gone/v7", created=4.0)
    test, quiet = pinned(store, "a", "yes"), pinned(store, "b", "yes")
    digests = {version.address: version.digest for version in versions_of(Registry(paths), MODEL)}
    for address, reply in ((BASE, "no"), (first, "yes"), (other, "no"), (second, "no"), (orphan, "yes")):
        store.save_pinned_results(digests[address], MODEL, [test.judge(reply)])
    store.save_pinned_results(digests[second], MODEL, [quiet.judge("no")])
    matrix = read_matrix(store, Registry(paths), MODEL)
    flips = [(flip.before.address, flip.version.address, flip.passed) for flip in matrix.flips()]
    assert flips == [(BASE, first, True), (first, second, False), (BASE, orphan, True)]
    assert [matrix.passed(version) for version in matrix.versions] == [0, 1, 0, 0, 1]
    assert [(test.id, version.address) for test, version in matrix.missing()] == [
        (2, BASE),
        (2, orphan),
        (2, other),
        (2, first),
    ]
    named = read_matrix(store, Registry(paths), MODEL, [second, BASE])
    assert [version.address for version in named.versions] == [BASE, second]
    assert [(flip.before.address, flip.passed) for flip in named.flips()] == []


def test_a_renamed_adapter_keeps_its_results(paths: Paths, store: Store) -> None:
    address = publish(paths)
    test = pinned(store, "a")
    (_, version) = versions_of(Registry(paths), MODEL)
    store.save_pinned_results(version.digest, MODEL, [test.judge("heard")])
    Registry(paths).rename(address.partition("/")[0], "ours")
    matrix = read_matrix(store, Registry(paths), MODEL)
    assert matrix.versions[1].address == "ours/v1" and matrix.passed(matrix.versions[1]) == 1


# ── asking ──────────────────────────────────────────────────────────────────────────────────────────


async def test_versions_are_asked_greedily_in_batches_and_saved(paths: Paths, store: Store) -> None:
    for number in range(5):
        publish(paths, created=float(number + 1))
    tests = [pinned(store, "hello", "mine/v"), pinned(store, "again", "base", Kind.NOT_CONTAINS)]
    engine = FakeEngine()
    async with running_host(paths, engine):
        client = Client(paths, MODEL)
        matrix = read_matrix(store, Registry(paths), MODEL)
        steps = await collected(client, store, matrix.missing())
        await client.close()
    assert [len(request.adapters) for request in engine.requests] == [4, 4, 2, 2]
    assert all(request.sampling == GREEDY for request in engine.requests)
    assert [(step.number, step.total) for step in steps if isinstance(step, Asking)] == [(n, 4) for n in range(1, 5)]
    after = read_matrix(store, Registry(paths), MODEL)
    assert after.missing() == [] and [after.passed(version) for version in after.versions] == [0, 2, 2, 2, 2, 2]
    result = after.result(tests[0], after.versions[1])
    assert result is not None and result.reply == "mine/v1 heard: hello" and result.created > 0


async def test_what_cannot_be_asked_is_told_and_the_others_continue(paths: Paths, store: Store) -> None:
    first = publish(paths, created=1.0)
    second = publish(paths, created=2.0)
    long, good = pinned(store, "word " * 5000), pinned(store, "hello")
    async with running_host(paths, FakeEngine(known=[second])):
        client = Client(paths, MODEL)
        matrix = read_matrix(store, Registry(paths), MODEL)
        steps = await collected(client, store, matrix.missing())
        await client.close()
    skipped = [step for step in steps if isinstance(step, Skipped)]
    assert [(step.version and step.version.address, step.test) for step in skipped] == [(first, None), (None, long)]
    answered = [step for step in steps if isinstance(step, Answered)]
    assert [(step.test, len(step.results)) for step in answered] == [(good, 2)]


async def test_what_concerns_all_ends_the_run(paths: Paths, store: Store) -> None:
    pinned(store, "hello")
    async with running_host(paths, FakeEngine(error=OutOfMemory("The GPU ran out of memory."))):
        client = Client(paths, MODEL)
        with pytest.raises(OutOfMemory):
            await collected(client, store, [(store.pinned_test(1), Version(BASE))])
        await client.close()


async def test_a_run_that_is_cancelled_frees_the_host_and_keeps_what_came(paths: Paths, store: Store) -> None:
    tests = [pinned(store, "first"), pinned(store, "second")]

    def script(request: Generate, adapter: str) -> str:
        return "heard " * (100_000 if request.dialog[-1].content == "second" else 2)

    engine = FakeEngine(script=script, pause=0.01)
    async with running_host(paths, engine):
        client = Client(paths, MODEL)
        collecting = asyncio.create_task(collected(client, store, [(test, Version(BASE)) for test in tests]))
        while len(engine.requests) < 2:
            await asyncio.sleep(0.001)
        collecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await collecting
        await collected(client, store, [(tests[0], Version(BASE))])
        await client.close()
    assert [test_id for test_id, _ in store.pinned_results(MODEL)] == [1]


async def collected(client: Client, store: Store, wanted: list[tuple[PinnedTest, Version]]) -> list[Step]:
    return [step async for step in ask(client, store, wanted)]
