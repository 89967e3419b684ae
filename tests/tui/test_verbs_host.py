"""`host …` and `doctor` as verbs."""

from __future__ import annotations

import asyncio

from sessions.client import Client
from sessions.engine.fake import FakeEngine, loader
from sessions.errors import ModelNotFound
from sessions.hosting import log_path
from sessions.paths import Paths, private_folder
from tests.hosts import host_in_thread
from tests.tui.calling import FORBIDDEN, HOSTILE, Caller


def test_status_with_and_without_a_host(run: Caller) -> None:
    assert run("host", "status", "--json").document == []
    assert "No host is running" in run("host", "status").out
    assert run("host", "status", "--model", "fake").code == 1


def test_status_of_a_host(run: Caller, host: FakeEngine) -> None:
    (found,) = run("host", "status", "--json").document
    assert found["model"] == "fake" and found["pid"] > 0 and found["clients"] == 0
    out = run("--model", "fake", "host", "status").out
    assert "fake" in out and "NF4" in out


def test_stop(run: Caller, host: FakeEngine) -> None:
    assert run("host", "stop", "--json").document == {"stopped": ["fake"]}
    assert run("host", "stop").out.startswith("No host")


async def test_a_host_in_use_stays_and_the_way_out_is_named(run: Caller, host: FakeEngine) -> None:
    client = Client(run.paths, "fake", start=False)
    await client.connect()
    refused = await asyncio.to_thread(run, "host", "stop")
    assert refused.code == 1 and "`llama-tui host stop --force`" in refused.err
    await client.close()


def test_log(run: Caller) -> None:
    assert run("host", "log").code == 0
    private_folder(run.paths.logs)
    log_path(run.paths).write_text("".join(f"line {n} {HOSTILE}\n" for n in range(100)))
    done = run("host", "log", "--lines", "3")
    assert done.out.count("\n") == 3 and "line 99" in done.out and not any(code in done.out for code in FORBIDDEN)
    assert len(run("host", "log", "--json", "--lines", "2").document["lines"]) == 2
    assert run("host", "log", "--lines", "0").code == 2


def test_an_empty_log_says_what_that_means(run: Caller) -> None:
    private_folder(run.paths.logs)
    log_path(run.paths).touch()
    done = run("host", "log")
    assert done.code == 0 and not done.out and "is empty: a host that ended without a word there was killed" in done.err


def test_doctor_with_a_host_that_has_no_model(run: Caller, paths: Paths) -> None:
    with host_in_thread(paths, load=loader(FakeEngine(), error=ModelNotFound("There is no model."))):
        found = {each["name"]: each for each in run("doctor", "--json").document}
    assert found["host"]["judgement"] == "note" and "the model is not loaded" in found["host"]["says"]


def test_doctor_with_a_host(run: Caller, host: FakeEngine) -> None:
    done = run("doctor", "--json")
    found = {each["name"]: each for each in done.document}
    assert {"program", "libraries", "GPU", "memory", "data home", "cache", "model", "corpus", "sharing"} <= found.keys()
    assert "fake" in found["host"]["says"]
    assert done.code == int(any(each["judgement"] == "bad" for each in found.values()))
    text = run("doctor").out
    assert "→" in text and "memory" in text
