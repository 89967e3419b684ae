"""The line REPL, scripted through a pipe."""

from __future__ import annotations

import io
import json
import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from corpora.dialog import Finish, Status, Vote
from corpora.selection import Selection
from corpora.store import ImportedDialog, ImportedTurn, dialog_key
from sessions.engine.fake import FakeEngine
from sessions.paths import Paths
from sessions.registry import Registry
from sessions.training import runs as all_runs
from tests.hosts import host_in_thread
from tests.tui import worlds
from tests.tui.calling import FAIL, FORBIDDEN, HOSTILE, Caller, Done, fake_workers, start
from tests.tui.worlds import publish, say
from tui.commands import COMMANDS

Script = Callable[..., Done]


@pytest.fixture
def script(run: Caller, monkeypatch: pytest.MonkeyPatch) -> Script:
    """Lines piped into `llama-tui repl`."""

    def play(*lines: str, words: tuple[str, ...] = ()) -> Done:
        text = "".join(f"{line}\n" for line in lines)
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
        return run("--model", "fake", *words, "repl")

    return play


def test_a_script_chats_and_keeps(run: Caller, host: FakeEngine, script: Script) -> None:
    done = script("hello there", "/keep", "", "two \\", "lines", "/reject")
    assert (done.code, done.out) == (0, "base heard: hello there\nbase heard: two \nlines\n")
    assert "1 kept in all" in done.err
    with run.store() as store:
        second, first = store.page()
    assert first.status is Status.KEPT and second.status is Status.REJECTED and second.parent_id == first.id


def test_without_a_terminal_the_line_repl_opens(run: Caller, host: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"hello\n")))
    assert run("--model", "fake").out == "base heard: hello\n"


def test_corrections_undo_versions_and_branches(run: Caller, host: FakeEngine, script: Script) -> None:
    done = script("hello", "/correct Hi!", "/undo", "/undo", "/retry", "/edit other", "/undo", "/undo")
    assert done.code == 0 and "Corrected and kept" in done.err and "nothing to take back" in done.err
    with run.store() as store:
        edited, again, first = store.page()
        assert [each.parent_id for each in (edited, again, first)] == [None, None, None]
        assert first.reply == "base heard: hello" and not first.corrected
        assert edited.prompt == "other" and len(store.versions(first.id)) == 2


def test_stars_by_a_command(run: Caller, host: FakeEngine, script: Script) -> None:
    done = script("hello", "/rate 4", "/rate seven", "/rate ★★★", "/undo", "/set temperature warm", "/set strength 9")
    assert "★★★★☆; /undo takes it back." in done.err and "A rating is 1 to 5, or 0 for none." in done.err
    assert "It is still 0.7." in done.err and "It is still 1." in done.err
    with run.store() as store:
        assert [each.rating for each in store.page()] == [4]


def test_the_whole_loop_as_a_script(run: Caller, paths: Paths, script: Script) -> None:
    engine = FakeEngine()
    with host_in_thread(paths, engine, workers=fake_workers(paths)):
        done = script(
            "what is my cat called?",
            "/correct Mouse.",
            "/train epochs=2 rank=8",
            "/adapter mine",
            "what is my cat called?",
            "/compare what is she called?",
            "/vote right",
            "/vote left",
            "/adapter rollback",
            "again",
            "/runs",
        )
    assert done.code == 0
    assert "mine/v1 heard: what is my cat called?" in done.out
    assert "── left: base ──\nbase heard: what is she called?" in done.out
    assert "── right: mine/v1 ──\nmine/v1 heard: what is she called?" in done.out
    assert "mine/v1 is published" in done.err and "base 0 : 1 mine/v1" in done.err
    assert "each is voted on once" in done.err
    assert done.out.index("base heard: again") > 0 and "finished" in done.out
    with run.store() as store:
        (verdict,) = store.verdicts()
    assert verdict.vote is Vote.RIGHT
    recipe = next(paths.runs.iterdir()) / "recipe.toml"
    assert "rank = 8" in recipe.read_text() and "epochs = 2.0" in recipe.read_text()


def test_a_version_that_failed_the_gate_needs_a_confirmation(
    run: Caller, paths: Paths, host: FakeEngine, script: Script
) -> None:
    worlds.publish(paths, gate=worlds.FAILED)
    done = script("/adapter mine/v1", "one", "/adapter mine/v1!", "two", "/adapter")
    assert "9 of 30 earlier replies were lost." in done.err and "/adapter mine/v1! uses it all the same." in done.err
    assert "base heard: one" in done.out and "mine/v1 heard: two" in done.out
    assert re.search(r"answers +mine/v1 +failed", done.out)
    assert Registry(paths).current("mine") == "mine/v1"


def test_a_version_that_cannot_be_used_is_replaced_loudly(
    run: Caller, paths: Paths, host: FakeEngine, script: Script
) -> None:
    Registry(paths).use(worlds.publish(paths))
    host.known = ()
    done = script("one", "two")
    assert done.out.count("base heard") == 2 and done.err.count("The base answers from now on") == 1


def test_prompts_are_pinned_and_run(run: Caller, host: FakeEngine, script: Script) -> None:
    first = publish(run.paths)
    host.script = lambda request, adapter: "It is Miso. She is three." if adapter == first else "A dog. Why?"
    done = script(
        "/pin",
        "/tests",
        "/adapter mine/v1",
        "/system Be brief.",
        "What is my cat called?",
        "/pin",
        "/pin",
        "/tests change 1 regex (?i)miso",
        "/pin not Miso",
        "/tests run",
        "/tests run base",
        "/tests remove 2",
        "/tests",
        "/undo",
    )
    assert done.code == 0 and done.err.count("llama-tui: ") == 1
    assert "There is no exchange yet." in done.err and "There is no pinned test yet. /pin" in done.err
    assert "Pinned as test 1: the reply contains “It is Miso”." in done.err
    assert "/tests change 1 contains TEXT" in done.err and "This is pinned test 1 already" in done.err
    assert "Test 1 now: the reply matches /(?i)miso/." in done.err
    assert "Pinned as test 2: the reply does not contain “Miso”. The reply at hand fails" in done.err
    assert "▲ Test 1 passes with mine/v1; it failed with base." in done.out
    assert "▼ Test 2 fails with mine/v1; it passed with base." in done.out
    assert "mine/v1 passes 1 of 2." in done.out and "base passes 1 of 2." in done.out
    assert "Removed: test 2." in done.err and "mine/v1 passes 1 of 1." in done.out
    assert "Taken back: removal of a pinned test." in done.err
    with run.store() as store:
        assert [test.system for test in store.pinned_tests()] == ["Be brief.", "Be brief."]
        assert len(store.pinned_results("fake")) == 4


def test_train_selects_and_says_what_is_left_out(run: Caller, paths: Paths, script: Script) -> None:
    with run.store() as store:
        store.set_status([say(store, f"question {n}", f"answer {n}") for n in range(3)], Status.KEPT)
        store.set_tags([1, 2], ["cat"])
        turn = (ImportedTurn("Imported.", "Yes."),)
        store.add_dialogs([ImportedDialog(turn, None, "alpaca.json", dialog_key(None, turn))])
    with host_in_thread(paths, FakeEngine(), workers=fake_workers(paths)):
        done = script("/train tag:dog", "/train tag:cat rank=8 sample=1", "/train imported=yes")
    assert "No kept reply is selected." in done.err
    assert "1 new reply, from the base." in done.err and "Selected: tag:cat · a sample of 1 (seed 0)" in done.err
    assert "4 kept: 1 new · 2 not matched · 1 not in the sample." in done.err
    assert "Settings: rank 8 (default 16)." in done.err
    assert "4 new replies, from the base." in done.err, "nothing was accepted, so a run starts from the base"
    last, first = (state.created for state in all_runs.states(paths))
    assert first is not None and first.selection == Selection(query="tag:cat", files=(), sample=1)
    assert last is not None and last.selection == Selection(files=("alpaca.json",))


def test_a_run_that_fails_is_told(run: Caller, paths: Paths, script: Script) -> None:
    with host_in_thread(paths, FakeEngine(), workers=fake_workers(paths, FAIL)):
        done = script("hello", "/keep", "/train")
    assert done.code == 0 and "The loss is not finite." in done.err


def test_every_error_is_words_and_the_next_line_still_works(run: Caller, host: FakeEngine, script: Script) -> None:
    done = script(
        "/keep",
        "/nonsense",
        "/vote left",
        "/compare",
        "/compare hello",
        "/train",
        "/train nonsense",
        "/train 'open",
        "/adapter nobody",
        "/history 77",
        "/read /no/such/file",
        "/save",
        "/set temperature hot",
        "/set nonsense 1",
        "/set strength 9",
        "/runs stop",
        "/runs nonsense",
        "/corpus import /no/such/file",
        "/corpus nonsense",
        "/pin",
        "/pin contains x",
        "/tests nonsense",
        "/tests remove 7",
        "/tests change 7 contains x",
        "/tests run nobody",
        "say [INST]",
        "/correct",
        "hello",
        "/correct",
        "/pin nonsense",
        "/pin regex (",
    )
    assert done.code == 0 and done.out == "base heard: hello\n"
    assert done.err.count("llama-tui: ") == 30 and "Traceback" not in done.err
    assert not (run.paths.logs / "tui.log").exists() or "Traceback" not in (run.paths.logs / "tui.log").read_text()


def test_every_command_of_the_registry_is_there(run: Caller, host: FakeEngine, script: Script) -> None:
    done = script("hello", *(f"/{each.name}" for each in COMMANDS if each.name not in ("quit", "train")))
    assert "unexpected" not in done.err and "AttributeError" not in done.err
    out = script("/help", "/help set", "/help /train").out
    assert all(f"/{each.name}" in out for each in COMMANDS) and "temperature" in out and "Also: learn" in out


def test_settings_of_a_session(run: Caller, host: FakeEngine, script: Script) -> None:
    done = script(
        "/set temperature 0", "/set seed=7", "/system Be brief.", "hello", "/set seed none", "/system clear", "x"
    )
    assert done.code == 0
    first, second = host.requests
    assert first.sampling.temperature == 0 and first.sampling.seed == 7
    assert first.dialog[0].content == "Be brief." and second.dialog[0].role == "user"
    assert second.sampling.seed is None


def test_files_in_and_out(run: Caller, host: FakeEngine, script: Script, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"instruction": "a", "input": "", "output": "b"}\n{"nothing": 1}\n')
    prompt = tmp_path / "prompt.txt"
    prompt.write_text("from a file\n")
    chat, kept = tmp_path / "chat.json", tmp_path / "kept.jsonl"
    done = script(
        f"/corpus import {rows}", f"/read {prompt}", "/keep", f"/save {chat}", f"/corpus export {kept}", "/corpus"
    )
    assert "1 new" in done.out and "1 refused" in done.out and f"{rows}:2:" in done.err
    assert "base heard: from a file" in done.out and "2 kept" in done.out
    assert json.loads(chat.read_text())["messages"][0]["content"] == "from a file"
    assert len(kept.read_text().splitlines()) == 2


def test_earlier_chats(run: Caller, host: FakeEngine, script: Script) -> None:
    script("about llamas", "/new", "about cats")
    done = script("/history llamas", "/history 1", "go on")
    assert "about llamas" in done.out and "> about llamas" in done.out
    assert [said.content for said in host.requests[-1].dialog] == ["about llamas", "base heard: about llamas", "go on"]


def test_control_codes_stay_off_the_terminal(run: Caller, host: FakeEngine, script: Script, tmp_path: Path) -> None:
    host.script = lambda request, adapter: f"{HOSTILE} end"
    bad = HOSTILE.replace("[/INST] ", "")
    done = script(
        bad, "/history", f"/adapter {bad}", f"/help {bad}", f"/read {bad}", f"/corpus import {bad}", f"/{bad}"
    )
    assert "[bold]red[/bold]" in done.out
    assert not any(code in done.out + done.err for code in FORBIDDEN)


def test_the_end_of_the_input_and_quit_leave_well(script: Script, host: FakeEngine) -> None:
    assert script().code == 0
    assert script("/quit", "not sent").out == ""


def test_ctrl_c_stops_a_scripted_reply_and_then_leaves(run: Caller, paths: Paths) -> None:
    engine = FakeEngine(script=lambda request, adapter: "word " * 5000, pause=0.002)
    with host_in_thread(paths, engine), start("--model", "fake", "repl", stdin=True) as process:
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        process.stdin.write("hello\n")
        process.stdin.flush()
        assert process.stdout.read(5) == "word "
        process.send_signal(signal.SIGINT)
        assert "stopped" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        process.wait(10)
    assert process.returncode == 130
    with run.store() as store:
        assert store.page()[0].finish is Finish.STOPPED
