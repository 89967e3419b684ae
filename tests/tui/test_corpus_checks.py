"""Checks on the corpus screen and on the command line: one list, in one order, with one count."""

from __future__ import annotations

from pathlib import Path

from textual.widgets import OptionList

from corpora.dialog import Status
from corpora.store import Store
from tests.tui import worlds
from tests.tui.calling import Caller
from tests.tui.driving import Driven, driven, paths_in
from tui.screens.corpus import CorpusScreen
from tui.widgets.findings import Findings

LONG = "The river is long. " * 3000


def fill(store: Store) -> dict[str, int]:
    """Much that matters little first, then what matters."""
    ids = {f"script {number}": worlds.say(store, f"第{number}个是什么？", f"Thing {number}.") for number in range(3)}
    store.set_status([ids["script 0"]], Status.DEFERRED)
    store.set_status([ids["script 2"]], Status.KEPT)
    ids["long"] = worlds.say(store, "Long?", LONG)
    ids["key"] = worlds.say(store, "A key?", "It is AKIAIOSFODNN7EXAMPLE \x1b[1mhere.")
    ids["this"], ids["that"] = (worlds.say(store, "Which?", f"{word} one.") for word in ("This", "That"))
    store.set_status([ids["this"], ids["that"]], Status.KEPT)
    return ids


def prepared(folder: Path) -> dict[str, int]:
    paths = paths_in(folder)
    worlds.private_folder(paths.home)
    with Store(paths.corpus) as store:
        assert isinstance(store, Store)
        return fill(store)


async def checked(it: Driven, model: str) -> Findings:
    it.app.client.model = model
    await it.pilot.press("f3")
    await it.until(lambda: isinstance(it.app.screen, CorpusScreen) and it.app.screen.table.count)
    await it.pilot.press("h")
    await it.until(lambda: isinstance(it.app.screen, Findings) and "found" in it.shown())
    assert isinstance(it.app.screen, Findings)
    return it.app.screen


async def test_what_matters_comes_first_under_the_counts(tmp_path: Path) -> None:
    ids = prepared(tmp_path)
    async with driven(tmp_path, size=(120, 40)) as it:
        findings = await checked(it, "demo")
        wanted = ["that", "key", "key", "long", "script 2", "script 1", "script 0"]
        assert [each.exchange_id for each in findings.findings] == [ids[name] for name in wanted]
        head = "1 conflict · 1 secret · 1 control codes · 1 too long · 3 script"
        assert head in it.shown() and "Checks: 7 found" in it.shown()
        lines = it.shown().splitlines()
        assert lines.index(next(line for line in lines if head in line)) < lines.index(
            next(line for line in lines if "│ conflict       kept     Which?" in line)
        )


async def test_screen_and_command_line_agree(run: Caller, tmp_path: Path) -> None:
    with run.store() as store:
        fill(store)
    found = run("--model", "demo", "corpus", "check", "--json").document
    listed = run("--model", "demo", "corpus", "check")
    async with driven(tmp_path, size=(120, 40)) as it:
        findings = await checked(it, "demo")
        assert [each.exchange_id for each in findings.findings] == [each["exchange_id"] for each in found["findings"]]
        assert {kind.value: count for kind, count in findings.counts.items()} == found["counts"]
        assert list(found["counts"]) == ["conflict", "secret", "control codes", "too long", "script"]
    shown = [line.split()[1] for line in listed.out.splitlines()[1:]]
    assert shown == ["conflict", "secret", "control", "too", "script", "script", "script"]
    assert "7 findings in 7 exchanges: 1 conflict · 1 secret · 1 control codes · 1 too long · 3 script." in listed.err


async def test_what_is_not_checked_is_said(tmp_path: Path) -> None:
    prepared(tmp_path)
    async with driven(tmp_path) as it:
        await checked(it, "fake")
        assert "Lengths are not checked" in it.shown() and "Checks: 6 found" in it.shown()


async def test_a_second_fix_keeps_the_first_and_the_counts_follow(tmp_path: Path) -> None:
    ids = prepared(tmp_path)
    async with driven(tmp_path, size=(120, 40)) as it:
        findings = await checked(it, "demo")
        options = findings.query_one(OptionList)
        for left in (6, 5):
            options.highlighted = [each.exchange_id for each in findings.findings].index(ids["key"])
            await it.pilot.press("f")
            await it.until(lambda left=left: f"Checks: {left} found" in it.shown())
        reply = it.app.workspace.store.exchange(ids["key"]).reply
        assert "AKIA" not in reply and "\x1b" not in reply
        assert "1 conflict · 1 too long · 3 script" in it.shown()


def test_a_source_is_looked_at_as_everything_is(run: Caller) -> None:
    with run.store() as store:
        ids = fill(store)
        store.set_status([ids["script 1"]], Status.REJECTED)
        source = store.exchange(ids["key"]).source
    whole = run("--model", "demo", "corpus", "check", "--json").document
    assert run("--model", "demo", "corpus", "check", "--source", source, "--json").document == whole


def test_what_is_rejected_is_not_cleaned_first(run: Caller) -> None:
    with run.store() as store:
        same = [worlds.say(store, "Twice?", "It is \x1b[1mso.") for _ in range(2)]
    assert run("--model", "demo", "corpus", "check", "--fix", "--json").document["fixed"] == 2
    with run.store() as store:
        assert [store.exchange(each).status for each in same] == [Status.PENDING, Status.REJECTED]
        assert store.exchange(same[0]).reply == "It is so."
