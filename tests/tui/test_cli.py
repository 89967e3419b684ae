"""The command line's frame: what can be typed, exit codes, what is imported, what an error looks like."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sessions.engine.fake import FakeEngine
from sessions.paths import Paths
from sessions.version import VERSION
from tests.tui.calling import FORBIDDEN, HOSTILE, Caller
from tests.tui.worlds import publish
from tui.verbs import grammar

HEAVY = {"torch", "transformers", "peft", "trl", "bitsandbytes", "accelerate", "datasets"}


def loaded_after(*words: str) -> tuple[int, set[str]]:
    """The exit code of a call in a fresh process, and the top-level modules that it left imported."""
    code = (
        "import sys\nfrom tui.cli import main\n"
        f"code = main({list(words)!r})\n"
        "print('\\n' + ' '.join({n.partition('.')[0] for n in sys.modules} | {str(code)}), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        check=False,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env=os.environ,
    )
    found = set(done.stderr.splitlines()[-1].split())
    return done.returncode, found


def test_help_is_light(paths: Paths) -> None:
    _, loaded = loaded_after("--help")
    assert loaded.isdisjoint({*HEAVY, "textual", "prompt_toolkit", "rich", "msgspec", "asyncio", "sqlite3"})


@pytest.mark.parametrize(
    "words",
    [
        ("corpus", "stats"),
        ("corpus", "list", "--json"),
        ("runs", "list"),
        ("adapters", "list"),
        ("host", "status"),
        ("doctor",),
        ("train", "--model", "demo"),
        ("repl", "--model", "demo"),
    ],
)
def test_a_verb_leaves_torch_alone(paths: Paths, words: tuple[str, ...]) -> None:
    _, loaded = loaded_after(*words)
    assert loaded.isdisjoint(HEAVY)
    assert "0" in loaded or words[0] in ("train", "doctor")  # train has nothing to train here


@pytest.mark.parametrize(
    "words", [("ask", "hello"), ("compare", "hello"), ("eval", "mine"), ("corpus", "check"), ("train",)]
)
def test_a_verb_that_talks_to_the_host_leaves_torch_alone(
    paths: Paths, host: FakeEngine, words: tuple[str, ...]
) -> None:
    publish(paths)
    _, loaded = loaded_after("--model", "fake", *words)
    assert loaded.isdisjoint(HEAVY)


def test_every_verb_has_its_function() -> None:
    def actions(parser) -> set[str]:  # noqa: ANN001
        found = {parser.get_default("action")} - {"", None}
        for action in parser._actions:
            if isinstance(action.choices, dict):
                found |= {name for child in action.choices.values() for name in actions(child)}
        return found

    named = actions(grammar.build())
    assert len(named) > 20
    assert all(callable(grammar.load(name)) for name in named if name != "opening:app")


def test_home_and_model_stand_on_either_side() -> None:
    before = grammar.parse(["--home", "h", "--model", "m", "--adapter", "a", "ask", "hello"])
    after = grammar.parse(["ask", "hello", "--home", "h", "--model", "m", "--adapter", "a"])
    assert (before.home, before.model, before.adapter) == ("h", "m", "a") == (after.home, after.model, after.adapter)
    assert grammar.parse(["--home", "h", "corpus", "list", "--home", "i"]).home == "i"
    assert not before.json and grammar.parse(["corpus", "stats", "--json"]).json


def test_version_and_help_end_well(run: Caller) -> None:
    assert run("--version").out == f"llama-tui {VERSION}\n"
    for words in ((), ("ask",), ("corpus",), ("corpus", "import"), ("adapters",), ("runs",), ("host",)):
        done = run(*words, "--help")
        assert done.code == 0 and done.out.startswith("usage: llama-tui")


@pytest.mark.parametrize(
    "words",
    [
        ("nonsense",),
        ("corpus",),
        ("corpus", "nonsense"),
        ("ask", "x", "--nonsense"),
        ("ask", "x", "--temperature", "warm"),
        ("ask", "x", "--temperature", "-1"),
        ("train", "--set", "nonsense"),
        ("train", "--set", "no_such_field=1"),
        ("train", "--recipe", "/no/such/file.toml"),
        ("runs", "show", "nothing"),
        ("runs", "stop"),
    ],
)
def test_wrong_usage_is_2_and_says_what_to_do(run: Caller, words: tuple[str, ...]) -> None:
    done = run("--model", "fake", *words)
    assert done.code == 2
    assert done.out == "" and done.err.startswith("llama-tui: ") and "Traceback" not in done.err


def test_an_error_with_json_is_one_document(run: Caller) -> None:
    done = run("adapters", "show", "nobody", "--json")
    assert done.code == 1
    assert done.document["error"]["kind"] == "AdapterNotFound"
    assert "There is no adapter" in done.err
    assert run("corpus", "list", "--json", "--nonsense").document["error"]["kind"] == "UsageError"


def test_what_was_typed_cannot_reach_the_terminal_as_codes(run: Caller) -> None:
    for words in (("corpus", HOSTILE), (HOSTILE,), ("adapters", "show", HOSTILE), ("corpus", "stats", f"--{HOSTILE}")):
        done = run(*words)
        assert done.code in (1, 2)
        assert not any(code in done.err + done.out for code in FORBIDDEN)


def test_the_unexpected_is_one_sentence_and_the_log_has_all(run: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(call: object) -> int:
        raise RuntimeError("the roof fell in")

    monkeypatch.setattr("tui.verbs.corpus_look.stats", broken)
    done = run("corpus", "stats")
    log = run.paths.logs / "tui.log"
    assert done.code == 1
    assert "the roof fell in" in done.err and str(log) in done.err and "Traceback" not in done.err
    assert "Traceback" in log.read_text()


def test_ctrl_c_in_any_verb_is_130(run: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(call: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("tui.verbs.corpus_look.stats", interrupted)
    assert run("corpus", "stats").code == 130
    assert run("corpus", "stats", "--json").document["error"]["kind"] == "Cancelled"


def test_a_reader_that_leaves_early_is_no_traceback(paths: Paths) -> None:
    command = f"{sys.executable} -m tui.cli doctor --json | head -c 5"
    done = subprocess.run(["bash", "-c", command], check=False, capture_output=True, text=True)
    assert done.stderr == "" and len(done.stdout) == 5


def test_a_broken_config_is_told_and_doctor_still_works(run: Caller) -> None:
    run.paths.config.parent.mkdir(parents=True, exist_ok=True)
    run.paths.config.write_text("no_such_key = 1\n")
    done = run("corpus", "stats")
    assert done.code == 2 and "config.toml" in done.err and "no_such_key" in done.err
    found = json.loads(run("doctor", "--json").out)
    assert any(each["judgement"] == "bad" and "no_such_key" in each["says"] for each in found)


def test_a_home_that_cannot_be_made_is_told(run: Caller, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = run("--home", str(tmp_path / "file" / "home"), "corpus", "stats")
    assert done.code == 1 and "should not" not in done.err and str(tmp_path / "file") in done.err


def test_a_full_disk_is_told(run: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(call: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device", "/data/corpus.db")

    monkeypatch.setattr("tui.verbs.corpus_look.stats", full)
    done = run("corpus", "stats", "--json")
    assert done.code == 1 and done.document["error"]["kind"] == "DiskFull" and "Make room" in done.err
