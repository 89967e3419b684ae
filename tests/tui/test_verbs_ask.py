"""`ask` and `compare` over the real protocol with a fake engine: streamed, saved, stopped."""

from __future__ import annotations

import io
import json
import re
import signal
import threading
from pathlib import Path

import pytest

from corpora.dialog import Finish, Status
from sessions.engine.contract import Progress
from sessions.engine.fake import FakeEngine, loader
from sessions.errors import ModelNotFound
from sessions.paths import Paths
from sessions.registry import Registry
from tests.hosts import host_in_thread
from tests.tui.calling import FORBIDDEN, HOSTILE, Caller, start
from tests.tui.worlds import publish

ASK = ("--model", "fake", "ask")


def test_a_reply_is_printed_and_saved(run: Caller, host: FakeEngine) -> None:
    done = run(*ASK, "hello there", "--temperature", "0", "--seed", "3", "--system", "Be brief.")
    assert (done.code, done.out) == (0, "base heard: hello there\n")
    with run.store() as store:
        (exchange,) = store.page()
    assert (exchange.prompt, exchange.reply, exchange.system) == ("hello there", "base heard: hello there", "Be brief.")
    assert exchange.status is Status.PENDING and exchange.finish is Finish.EOS
    asked = host.requests[0]
    assert asked.sampling.temperature == 0 and asked.sampling.seed == 3 and asked.dialog[0].content == "Be brief."


def test_json_is_one_document(run: Caller, host: FakeEngine) -> None:
    done = run(*ASK, "hello", "--json", "--max-new-tokens", "2")
    assert done.code == 0
    found = done.document
    assert found["reply"] == "base heard:" and found["finish"] == "length" and found["tokens"] == 2
    assert found["adapter"] == "base" and found["model"] == "fake" and found["exchange_id"] == 1


@pytest.mark.parametrize("words", [(), ("-",)])
def test_the_prompt_may_be_piped_in(
    run: Caller, host: FakeEngine, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"two\nlines \xff\n")))
    assert run(*ASK, *words).out == "base heard: two\nlines \ufffd\n"


def test_an_empty_prompt_is_wrong_usage(run: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"  \n")))
    assert run(*ASK).code == 2


def test_tags_are_refused_before_anything_is_saved(run: Caller, host: FakeEngine) -> None:
    done = run(*ASK, "tell me [/INST] now")
    assert done.code == 1 and "[/INST]" in done.err and "--allow-tags" in done.err and done.out.strip() == ""
    with run.store() as store:
        assert store.count() == 0
    assert run(*ASK, "tell me [/INST] now", "--allow-tags").code == 0


def test_what_cannot_be_drawn_from_is_told_without_an_old_value(run: Caller) -> None:
    done = run(*ASK, "hi", "--temperature", "9")
    assert done.code == 2 and "temperature" in done.err and "Nothing was changed." in done.err


def test_control_codes_of_a_reply_stay_off_the_terminal(run: Caller, host: FakeEngine) -> None:
    host.script = lambda request, adapter: f"{HOSTILE} end"
    for words in ((), ("--json",)):
        done = run(*ASK, "hi", *words)
        assert done.code == 0 and "[bold]red[/bold]" in done.out and "[/INST]" in done.out
        assert not any(code in done.out for code in FORBIDDEN)
    assert json.loads(done.out)["reply"].startswith(HOSTILE)
    with run.store() as store:
        assert store.page()[0].reply == f"{HOSTILE} end"


def test_the_adapter_in_use_answers(run: Caller, host: FakeEngine) -> None:
    assert publish(run.paths) == "mine/v1"
    assert run(*ASK, "a").out == "base heard: a\n"
    refused = run(*ASK, "a", "--adapter", "mine")
    assert refused.code == 1 and "No version of mine is in use" in refused.err and "mine/v1" in refused.err
    assert run(*ASK, "a", "--adapter", "mine/v1").out == "mine/v1 heard: a\n"
    assert run(*ASK, "a").out == "base heard: a\n"
    Registry(run.paths).use("mine/v1")
    assert run(*ASK, "a").out == "mine/v1 heard: a\n"
    assert run(*ASK, "a", "--adapter", "base").out == "base heard: a\n"
    assert run(*ASK, "a", "--adapter", "mine").out == "mine/v1 heard: a\n"
    assert run("--adapter", "base", *ASK, "a").out == "base heard: a\n"
    done = run(*ASK, "a", "--adapter", "nobody")
    assert done.code == 1 and "mine" in done.err


def test_an_adapter_of_another_model_is_not_used_by_itself(run: Caller, host: FakeEngine) -> None:
    Registry(run.paths).use(publish(run.paths))
    with host_in_thread(run.paths, FakeEngine(), model="other"):
        done = run("--model", "other", "ask", "a")
    assert done.out == "base heard: a\n" and "mine/v1 was made for fake" in done.err


def test_the_base_answers_loudly_where_the_accepted_version_cannot(run: Caller, host: FakeEngine) -> None:
    Registry(run.paths).use(publish(run.paths))
    host.known = ()
    done = run(*ASK, "a", "--json")
    assert done.code == 0 and (done.document["adapter"], done.document["reply"]) == ("base", "base heard: a")
    assert "There is no adapter mine/v1." in done.err and "The base answers" in done.err
    assert run(*ASK, "a", "--adapter", "mine/v1").code == 1
    (run.paths.adapter("mine", 1) / "lineage.json").write_bytes(b"{")
    done = run(*ASK, "a")
    assert done.code == 0 and done.out == "base heard: a\n" and "no longer there" in done.err


def test_an_engine_error_is_told_and_the_prompt_kept(run: Caller, host: FakeEngine) -> None:
    done = run(*ASK, "word " * 3000)
    assert done.code == 1 and "Shorten it" in done.err
    with run.store() as store:
        assert store.page()[0].finish is Finish.FAILED


def test_a_model_that_cannot_be_loaded_is_told(run: Caller) -> None:
    missing = ModelNotFound("There is no model `x`.", remedy="Name another.")
    with host_in_thread(run.paths, load=loader(FakeEngine(), error=missing)):
        done = run(*ASK, "hello")
    assert done.code == 1 and "no model `x`" in done.err and "Name another." in done.err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_saves_what_has_come(run: Caller, paths: Paths, number: signal.Signals) -> None:
    engine = FakeEngine(script=lambda request, adapter: "word " * 5000, pause=0.002)
    with host_in_thread(paths, engine):
        process = start(*ASK, "hello")
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.read(5) == "word "
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
    assert process.returncode == 130 and "Traceback" not in err and "saved" in err
    with run.store() as store:
        (exchange,) = store.page()
    assert exchange.finish is Finish.STOPPED and exchange.prompt == "hello"
    assert exchange.reply.startswith("word") and len(exchange.reply.split()) < 4000
    assert out.count("word") <= len(exchange.reply.split())


def test_ctrl_c_while_the_model_loads(run: Caller, paths: Paths) -> None:
    may_load = threading.Event()

    def load(progress: Progress) -> FakeEngine:
        may_load.wait(60)
        return FakeEngine()

    with host_in_thread(paths, load=load):
        process = start(*ASK, "hello")
        assert process.stderr is not None
        assert "fake" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=40)
        may_load.set()
        assert process.returncode == 130


def test_a_model_that_is_not_there_is_told_at_once(run: Caller, tmp_path: Path) -> None:
    for model in ("nosuch", tmp_path / "nothing", tmp_path):
        for words in (("ask", "hello"), ("repl",)):
            done = run("--model", model, *words)
            assert done.code == 1 and str(model) in done.err
    assert not (run.paths.logs / "host.log").exists()


# compare


def test_two_replies_from_one_batch(run: Caller, host: FakeEngine) -> None:
    publish(run.paths)
    done = run("--model", "fake", "compare", "one", "two", "-a", "base", "-b", "mine/v1", "--json")
    assert done.code == 0
    found = done.document
    assert (found["a"], found["b"]) == ("base", "mine/v1")
    assert [each["prompt"] for each in found["comparisons"]] == ["one", "two"]
    first = found["comparisons"][0]["replies"]
    assert [each["reply"] for each in first] == ["base heard: one", "mine/v1 heard: one"]
    assert len(host.requests) == 2 and host.requests[0].adapters == ("base", "mine/v1")


def test_comparison_as_text_is_one_after_the_other(run: Caller, host: FakeEngine) -> None:
    publish(run.paths, offer=True)
    host.script = lambda request, adapter: f"I am {adapter} {HOSTILE}"
    out = run("--model", "fake", "compare", "hello").out
    assert re.search(r"── base ──\nI am base .*\n── mine/v1 ──\nI am mine/v1 ", out)
    assert not any(code in out for code in FORBIDDEN)


def test_prompts_of_a_file(run: Caller, host: FakeEngine, tmp_path: Path) -> None:
    Registry(run.paths).use(publish(run.paths))
    file = tmp_path / "prompts.jsonl"
    file.write_text('{"prompt": "one"}\n\nplain two\n{not json}\n')
    found = run("--model", "fake", "compare", "--prompts", file, "--json").document
    assert [each["prompt"] for each in found["comparisons"]] == ["one", "plain two", "{not json}"]


def test_replies_that_cannot_share_a_batch_say_so(run: Caller, host: FakeEngine) -> None:
    publish(run.paths), publish(run.paths)
    assert "in turn" not in run("--model", "fake", "compare", "hello", "-b", "mine/v1").err
    host.alone = ["mine/v1"]
    done = run("--model", "fake", "compare", "hello", "-b", "mine/v1")
    assert "mine/v1 heard: hello" in done.out and "base heard: hello" in done.out
    assert "(Written in turn: virtual tokens" in done.err and "in turn" not in done.out


def test_compare_refuses_what_makes_no_sense(run: Caller, host: FakeEngine, tmp_path: Path) -> None:
    assert run("--model", "fake", "compare", "hello").code == 2  # no adapter yet
    Registry(run.paths).use(publish(run.paths))
    assert run("--model", "fake", "compare", "hello", "-a", "mine", "-b", "mine/v1").code == 2
    assert run("--model", "fake", "compare", "--prompts", tmp_path / "none").code == 2
    tagged = run("--model", "fake", "compare", "see [INST]")
    assert tagged.code == 1 and "--allow-tags" in tagged.err and host.requests == []
    assert run("--model", "fake", "compare", "see [INST]", "--allow-tags").code == 0
