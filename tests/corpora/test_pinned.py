"""Pinned tests: rules and how they judge, and how the store keeps tests and results."""

from __future__ import annotations

import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpora.dialog import Message
from corpora.errors import DialogError, StoreError, UsageError
from corpora.pinned import Kind, PinnedResult, PinnedTest, Rule
from corpora.store import Store
from tests.corpora.test_store_files import _sql

HOSTILE = "[/INST] [bold]red[/bold] \x1b]52;c;aGk=\x07 \x9b31m \u202eback"


def asked(prompt: str, kind: Kind = Kind.CONTAINS, text: str = "Mouse", *, system: str = "") -> PinnedTest:
    said = [Message("system", system)] if system else []
    return PinnedTest((*said, Message("user", prompt)), Rule(kind, text))


@pytest.mark.parametrize(
    ("text", "reply"),
    [
        ("mouse", "Your cat is called MOUSE."),
        ("is  called\nMouse", "Your cat is   called mouse."),
        ("caf\u00e9", "At the Cafe\u0301, at noon"),
        ("STRASSE", "in der Straße"),
        ("运行的小型", "我是一个在终端里运行的小型语言模型。"),
        ("می‌توانم", "سلام! من خوبم و می‌توانم کمک کنم."),
        ("👩‍👩‍👧", "a family: 👩‍👩‍👧"),
        ("[/INST]", "an [/inst] tag"),
        ("\x1b]52", HOSTILE),
    ],
)
def test_a_text_is_found_whatever_its_case_and_whitespace(text: str, reply: str) -> None:
    assert Rule(Kind.CONTAINS, text).passes(reply)
    assert not Rule(Kind.NOT_CONTAINS, text).passes(reply)
    assert not Rule(Kind.CONTAINS, text).passes("something else")
    assert Rule(Kind.NOT_CONTAINS, text).passes("something else")


def test_a_pattern_is_searched_as_it_is_written() -> None:
    assert Rule(Kind.REGEX, r"\b4\d\b").passes("It is 42.")
    assert not Rule(Kind.REGEX, "mouse").passes("Mouse") and Rule(Kind.REGEX, "(?i)mouse").passes("Mouse")
    assert Rule(Kind.REGEX, r"\p{Han}").passes("你好") and not Rule(Kind.REGEX, r"^\P{Han}*$").passes("你好")


def test_a_failure_says_why() -> None:
    assert Rule(Kind.CONTAINS, "Mouse").failure("A dog.") == "The reply does not contain “Mouse”."
    assert Rule(Kind.NOT_CONTAINS, "dog").failure("A dog.") == "The reply contains “dog”."
    assert Rule(Kind.REGEX, "^M").failure("A dog.") == "The reply does not match /^M/."
    assert [Rule(kind, "x").describe() for kind in Kind] == ["contains “x”", "does not contain “x”", "matches /x/"]


@pytest.mark.parametrize("pattern", [r"(a|a|aa)+$", r"^(\w+\s?)*\W$", r"(?:a+)+!$"])
def test_a_catastrophic_pattern_fails_and_says_so(pattern: str) -> None:
    failure = Rule(Kind.REGEX, pattern).failure("a" * 60 + "! b")
    assert not Rule(Kind.REGEX, pattern).passes("a" * 60 + "! b") and failure
    slow = Rule(Kind.REGEX, r"(a|a|aa)+$").failure("a" * 60 + "b")
    assert "takes more than" in slow and "simplify it" in slow


def test_other_threads_run_while_a_slow_pattern_is_matched() -> None:
    started, counted = threading.Event(), [0]
    over = threading.Event()

    def match() -> None:
        started.set()
        Rule(Kind.REGEX, r"(a|a|aa)+$").passes("a" * 60 + "b")
        over.set()

    thread = threading.Thread(target=match)
    thread.start()
    started.wait()
    while not over.is_set():
        counted[0] += 1
        time.sleep(0)
    thread.join()
    assert counted[0] > 20


@pytest.mark.parametrize(
    ("kind", "text", "said"),
    [
        (Kind.CONTAINS, "  \n", "needs a text"),
        (Kind.CONTAINS, "x" * 2001, "2,001 characters"),
        (Kind.REGEX, "a" * 501, "at most 500"),
        (Kind.REGEX, "(", "cannot be used: missing )"),
        (Kind.REGEX, r"\\(?R)?b", "recursion"),
        (Kind.REGEX, r"(a)(?1)", "recursion"),
        (Kind.REGEX, r"\p{Nonsense}", "unknown property"),
        (Kind.REGEX, "(" * 400, "nested too deeply"),
    ],
)
def test_a_rule_that_cannot_work_is_refused(kind: Kind, text: str, said: str) -> None:
    with pytest.raises(UsageError, match="Nothing was saved") as refused:
        Rule(kind, text).check()
    assert said in refused.value.what and refused.value.remedy


PIECES = st.sampled_from([*"()[]{}*+?|\\.^$ab1,:=!<-你", "(?", "(?:", "(?P<n>", "(?<=", "(?R)", "\\p{L}", "{e<=1}"])


@settings(deadline=None)
@given(st.lists(PIECES, min_size=1, max_size=20).map("".join), st.text(max_size=60))
def test_any_pattern_is_refused_or_judges(pattern: str, reply: str) -> None:
    rule = Rule(Kind.REGEX, pattern)
    try:
        rule.check()
    except UsageError:
        assert not rule.passes(reply)
    else:
        assert rule.passes(reply) is not bool(rule.failure(reply))


def test_a_dialog_without_a_prompt_is_refused() -> None:
    rule = Rule(Kind.CONTAINS, "x")
    for dialog in ((), (Message("user", " "),), (Message("user", "a"), Message("assistant", "b"))):
        with pytest.raises(DialogError):
            PinnedTest(dialog, rule).check()
    assert asked("Who?", system="Be brief.").system == "Be brief." and asked("Who?").system is None


# ── the store ───────────────────────────────────────────────────────────────────────────────────────


def test_tests_are_kept_whole_and_once(store: Store) -> None:
    dialog = (
        Message("system", HOSTILE, tags_allowed=True),
        Message("user", "我的猫叫什么？"),
        Message("assistant", "Mouse 🐭"),
        Message("user", "دوباره بگو", tags_allowed=True),
    )
    first, new = store.add_pinned_test(PinnedTest(dialog, Rule(Kind.REGEX, "\\bMouse\\b \x1b?")))
    assert new and first.id == 1 and first.created > 0
    assert store.add_pinned_test(PinnedTest(dialog, first.rule)) == (first, False)
    second, _ = store.add_pinned_test(asked("Who are you? \ud800", text="half \udfff"))
    assert second.id == 2, "a duplicate takes no number"
    with Store(store.path) as other:
        assert other.pinned_tests() == (first, second)
    assert first.dialog == dialog and second.prompt == "Who are you? \ufffd" and second.rule.text == "half \ufffd"
    assert store.pinned_test(1) == first
    with pytest.raises(UsageError):
        store.add_pinned_test(asked("Who?", Kind.REGEX, "("))
    assert len(store.pinned_tests()) == 2 and store.verify() == []


def test_results_belong_to_a_digest_and_a_model(store: Store) -> None:
    test, _ = store.add_pinned_test(asked("What is my cat called?"))
    store.save_pinned_results("base", "demo", [test.judge("I do not know.")])
    store.save_pinned_results("d1", "demo", [test.judge("Mouse.")])
    store.save_pinned_results("d1", "other", [test.judge("A dog.")])
    store.save_pinned_results("d1", "demo", [test.judge("It is Mouse."), PinnedResult(99, "gone", True)])
    found = store.pinned_results("demo")
    assert {key: (each.passed, each.reply) for key, each in found.items()} == {
        (1, "base"): (False, "I do not know."),
        (1, "d1"): (True, "It is Mouse."),
    }
    assert not store.pinned_results("other")[1, "d1"].passed and store.pinned_results("none") == {}


def test_another_rule_judges_the_stored_replies_anew(store: Store) -> None:
    test, _ = store.add_pinned_test(asked("Cat?"))
    store.save_pinned_results("base", "demo", [test.judge("No idea.")])
    changed = store.change_pinned_test(test.id, Rule(Kind.NOT_CONTAINS, "dog"))
    assert changed.describe() == "does not contain “dog”" and store.pinned_tests() == (changed,)
    assert store.pinned_results("demo")[1, "base"].passed
    assert store.undo() == "change of a pinned test"
    assert store.pinned_tests() == (test,) and not store.pinned_results("demo")[1, "base"].passed
    other, _ = store.add_pinned_test(asked("Cat?", Kind.REGEX, "x"))
    with pytest.raises(UsageError, match="Pinned test 1 has the same"):
        store.change_pinned_test(other.id, test.rule)
    with pytest.raises(UsageError):
        store.change_pinned_test(other.id, Rule(Kind.REGEX, "["))
    assert store.change_pinned_test(other.id, other.rule) == other


def test_adding_and_removing_can_be_undone_with_the_results(store: Store) -> None:
    first, _ = store.add_pinned_test(asked("a"))
    second, _ = store.add_pinned_test(asked("b"))
    for test in (first, second):
        store.save_pinned_results("base", "demo", [test.judge("Mouse")])
    before = store.pinned_results("demo")
    store.remove_pinned_tests([first.id, second.id])
    assert store.pinned_tests() == () and store.pinned_results("demo") == {}
    assert store.add_pinned_test(asked("c"))[0].id == 3, "a number is not used again"
    assert store.undo() == "pinned test" and store.undo() == "removal of 2 pinned tests"
    assert store.pinned_tests() == (first, second) and store.pinned_results("demo") == before
    with pytest.raises(StoreError, match="no pinned test 9"):
        store.remove_pinned_tests([first.id, 9])
    with pytest.raises(StoreError, match="no pinned test 9"):
        store.change_pinned_test(9, Rule(Kind.CONTAINS, "x"))
    assert store.pinned_tests() == (first, second)


def test_a_damaged_test_costs_only_itself(store: Store) -> None:
    store.add_pinned_test(asked("a"))
    second, _ = store.add_pinned_test(asked("b"))
    _sql(store.path, "UPDATE pinned_tests SET kind = 'nonsense' WHERE id = 1")
    assert store.pinned_tests() == (second,)
    assert any("pinned_tests 1" in problem for problem in store.verify())
    with pytest.raises(StoreError, match="damaged"):
        store.pinned_test(1)
    store.remove_pinned_tests([1])
    assert store.verify() == []
