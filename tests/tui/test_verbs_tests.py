"""`tests …` over the real protocol with a fake engine."""

from __future__ import annotations

import io

import pytest

from sessions.engine.fake import FakeEngine
from sessions.errors import OutOfMemory
from sessions.registry import Registry
from tests.tui.calling import FORBIDDEN, HOSTILE, Caller
from tests.tui.worlds import publish


def test_add_list_remove(run: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "no pinned test yet" in run("tests", "list").err and run("tests", "list", "--json").document == []
    done = run("tests", "add", "What is my cat called?", "--contains", "Miso", "--system", "Be brief.")
    assert (done.code, done.out) == (0, "Pinned as test 1: the reply contains “Miso”.\n")
    assert (
        "There is already test 1"
        in run("tests", "add", "What is my cat called?", "--contains", "Miso", "--system", "Be brief.").out
    )
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO("سلام 你好\n".encode())))
    assert run("tests", "add", "-", "--not-contains", "dog", "--json").document["prompt"] == "سلام 你好"
    assert run("tests", "add", "A number?", "--regex", r"\b4\d\b").code == 0
    found = run("tests", "list", "--json").document
    assert [(each["id"], each["kind"], each["text"]) for each in found] == [
        (1, "contains", "Miso"),
        (2, "not_contains", "dog"),
        (3, "regex", r"\b4\d\b"),
    ]
    assert found[0]["system"] == "Be brief." and found[0]["turns"] == 1
    out = run("tests", "list").out
    assert "does not contain “dog”" in out and r"matches /\b4\d\b/" in out
    removed = run("tests", "remove", 1, 3)
    assert removed.code == 0 and "Removed test 3: A number?" in removed.out
    assert run("tests", "remove", 2, "--json").document == {"removed": [2]}
    missing = run("tests", "remove", 2)
    assert missing.code == 1 and "no pinned test 2" in missing.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("x",), "required"),
        (("x", "--contains", "a", "--regex", "b"), "not allowed with"),
        (("x", "--contains", " "), "needs a text"),
        (("x", "--regex", "("), "cannot be used"),
        ((" ", "--contains", "a"), "needs a prompt"),
        (("[/INST] x", "--contains", "a"), "--allow-tags"),
    ],
)
def test_what_cannot_be_pinned_is_refused(run: Caller, words: tuple[str, ...], said: str) -> None:
    done = run("tests", "add", *words)
    assert done.code in (1, 2) and said in done.err and "Traceback" not in done.err
    assert run("tests", "list", "--json").document == []


def test_run_prints_a_matrix_and_what_flipped(run: Caller, host: FakeEngine) -> None:
    first = publish(run.paths, created=1.0)
    second = publish(run.paths, parent=first, created=2.0)
    Registry(run.paths).use(second)
    host.script = lambda request, adapter: {"base": "no idea", first: "It is Miso.", second: "A dog."}[adapter]
    run("tests", "add", "What is my cat called?", "--contains", "miso")
    run("tests", "add", "And now?", "--not-contains", "miso")
    done = run("--model", "fake", "tests", "run")
    assert done.code == 1, "the version in use fails one"
    assert "mine/v2" in done.out and "mine/v1" not in done.out and "mine/v2 passes 1 of 2." in done.out
    assert "Test 1 fails with mine/v2. The reply does not contain “miso”." in done.out and "  A dog." in done.out
    assert host.requests[0].sampling.temperature == 0 and host.requests[0].sampling.max_new_tokens == 128
    assert host.requests[0].adapters == ("base", second)

    done = run("--model", "fake", "tests", "run", "-a", "mine/v2", "-a", "base", "mine/v1", "--json")
    found = done.document
    assert done.code == 1 and not found["passed"]
    assert [(each["adapter"], each["passed"], each["total"]) for each in found["versions"]] == [
        ("base", 1, 2),
        (first, 1, 2),
        (second, 1, 2),
    ]
    row = found["tests"][0]["results"]
    assert [(each["adapter"], each["passed"], each["flipped"]) for each in row] == [
        ("base", False, False),
        (first, True, True),
        (second, False, True),
    ]
    assert row[2]["reply"] == "A dog." and row[2]["failure"] and not row[1]["failure"]
    out = run("--model", "fake", "tests", "run", "-a", "base", "mine/v1", "mine/v2").out
    assert "▲ Test 1 passes with mine/v1; it failed with base." in out
    assert "▼ Test 1 fails with mine/v2; it passed with mine/v1." in out

    run("tests", "remove", 2)
    done = run("--model", "fake", "tests", "run", "-a", "base", "mine/v1")
    assert done.code == 0 and "mine/v1 passes 1 of 1." in done.out


def test_run_without_tests_versions_or_a_model(run: Caller, host: FakeEngine) -> None:
    done = run("--model", "fake", "tests", "run")
    assert done.code == 0 and "no pinned test yet" in done.err and done.out == ""
    assert run("--model", "fake", "tests", "run", "--json").document["tests"] == []
    run("tests", "add", "hello", "--contains", "heard")
    done = run("--model", "fake", "tests", "run")
    assert done.code == 0 and "base passes 1 of 1." in done.out and not host.requests[-1].adapters[1:]
    unknown = run("--model", "fake", "tests", "run", "-a", "nobody")
    assert unknown.code == 1 and "There is no adapter 'nobody'" in unknown.err


def test_what_cannot_be_asked_is_told_and_fails(run: Caller, host: FakeEngine) -> None:
    publish(run.paths)
    run("tests", "add", "hello", "--contains", "heard")
    run("tests", "add", "word " * 3000, "--contains", "heard")
    host.known = []
    done = run("--model", "fake", "tests", "run", "-a", "base", "mine/v1")
    assert done.code == 1 and "There is no adapter mine/v1." in done.err
    assert "Test 2 was not run" in done.err and "mine/v1 passes 0 of 2; 2 not run." in done.out
    host.error = OutOfMemory("The GPU ran out of memory.", remedy="Free some.")
    done = run("--model", "fake", "tests", "run", "-a", "base")
    assert done.code == 1 and "out of memory" in done.err and done.out == ""


def test_foreign_text_stays_off_the_terminal(run: Caller, host: FakeEngine) -> None:
    host.script = lambda request, adapter: f"{HOSTILE} 你好 👩‍👩‍👧"
    assert run("tests", "add", HOSTILE, "--contains", f"{HOSTILE} سلام", "--allow-tags").code == 0
    for words in (("list",), ("list", "--json"), ("run",), ("run", "--json"), ("remove", "1")):
        done = run("--model", "fake", "tests", *words)
        assert not any(code in done.out + done.err for code in FORBIDDEN), words
        assert "[bold]red[/bold]" in done.out
