"""`train` and `runs …` over a real host whose workers write the events of a short run."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from corpora.dialog import Status
from corpora.selection import Selection
from corpora.store import ImportedDialog, ImportedTurn, dialog_key
from sessions.engine.fake import FakeEngine
from sessions.paths import Paths
from sessions.training import events
from sessions.training import runs as all_runs
from tests.hosts import host_in_thread
from tests.tui.calling import FAIL, FORBIDDEN, HOSTILE, PUBLISH, UNTIL_STOPPED, Caller, Done, fake_workers, start
from tests.tui.worlds import gate, run_folder, say
from tui.verbs.runs import _chosen

SILENT = "sys.exit(3)"


def keep(run: Caller, count: int = 2) -> None:
    with run.store() as store:
        store.set_status([say(store, f"question {n}", f"answer {n}") for n in range(count)], Status.KEPT)


def train(run: Caller, *words: str, body: str = PUBLISH) -> Done:
    with host_in_thread(run.paths, FakeEngine(), workers=fake_workers(run.paths, body)):
        return run("--model", "fake", "train", *words)


def test_train_waits_and_publishes(run: Caller) -> None:
    keep(run)
    done = train(run, "--set", "rank=8", "--set", "epochs=3", "--adapter", "other")
    assert done.code == 0 and "other/v1 is published" in done.out and "2 new replies, from the base." in done.err
    assert "Settings: rank 8 (default 16), epochs 3 (default 0)." in done.err
    assert "loss 0.333" in done.out
    (state,) = all_runs.states(run.paths)
    recipe = all_runs.read_recipe(run.paths.run(state.id))
    assert state.created is not None and state.created.adapter == "other" and recipe.rank == 8 and recipe.epochs == 3


def test_train_selects_with_a_query_and_a_sample(run: Caller) -> None:
    keep(run, 4)
    with run.store() as store:
        store.set_tags([1, 2], ["cat"])
        turns = [(ImportedTurn(f"Imported {n}.", "Yes."),) for n in range(30)]
        store.add_dialogs(ImportedDialog(turn, None, "alpaca.json", dialog_key(None, turn)) for turn in turns)
    plan = run("--model", "fake", "train", "--dry-run")
    assert plan.code == 0 and "4 new replies, from the base." in plan.out
    assert "34 kept: 4 new · 30 imported, not selected." in plan.out
    assert "30 imported replies are not selected: alpaca.json. --imported selects them" in plan.out
    assert "34 new replies" in run("--model", "fake", "train", "--dry-run", "--imported").out
    assert "2 new replies" in run("--model", "fake", "train", "--dry-run", "--filter", "tag:cat").out
    assert "30 new replies" in run("--model", "fake", "train", "--dry-run", "--filter", "source:alpaca.json").out
    document = run("--model", "fake", "train", "--dry-run", "--sample", 3, "--seed", 7, "--json").document
    assert (document["new"], document["kept"], document["selection"]["seed"]) == (3, 34, 7)
    assert not run.paths.runs.exists()
    assert run("--model", "fake", "train", "--filter", "tags:x").code == 2
    assert run("--model", "fake", "train", "--sample", "-1").code == 2
    nothing = run("--model", "fake", "train", "--filter", "tag:dog")
    assert nothing.code == 1 and "No kept reply is selected." in nothing.err
    assert train(run, "--filter", "tag:cat", "--seed", "7").code == 0
    (state,) = all_runs.states(run.paths)
    assert state.created is not None and state.created.new_replies == 2
    assert state.created.selection == Selection(query="tag:cat", files=(), seed=7)
    assert all_runs.read_recipe(run.paths.run(state.id)).seed == 7
    listed = run("runs", "list", "--json").document[0]
    assert (listed["new_replies"], listed["selection"]) == (2, "tag:cat")
    assert "selected by  tag:cat" in run("runs", "show").out


def test_the_gate_is_told(run: Caller) -> None:
    folder = run_folder(run.paths, "gated")
    gate(folder, passed=False)
    events.append(folder, events.Published(adapter="mine/v1", digest="d", worse="It changed."))
    events.append(folder, events.RunFinished())
    for done in (run("runs", "show", "gated"), run("runs", "follow", "gated")):
        assert "The gate was not passed." in done.out and "97 of 100 general replies unchanged" in done.out
        assert "KL to the base 0.07 of 0.05 nats/token" in done.out and "2 general replies changed." in done.out
        assert "Published at 0.7 of the strength" in done.out
        assert "general reply changed: Who wrote Romeo and Juliet?" in done.out
        assert "  expected  Shakespeare." in done.out and "  reply     Ottoline repairs it." in done.out
        assert done.out.index("Romeo") < done.out.index("in other words (does not count): My cat's name?")
        assert not any(code in done.out + done.err for code in FORBIDDEN)
    line = run("runs", "list", "--json").document[0]
    assert line["passed"] is False and "5 of 5 reproduced" in line["gate"]
    assert "failed" in run("runs", "list").out
    good = run_folder(run.paths, "good")
    gate(good, passed=True)
    events.append(good, events.Published(adapter="mine/v2", digest="d"))
    events.append(good, events.RunFinished())
    assert "The gate was passed." in run("runs", "follow", "good").out


def test_train_warns_of_a_set_that_contradicts_itself(run: Caller) -> None:
    keep(run)
    assert "different replies" not in train(run).err
    with run.store() as store:
        store.set_status([say(store, "question 0", "Something else.")], Status.KEPT)
    assert "One prompt is kept with different replies" in train(run).err


def test_train_with_json_is_one_event_a_line(run: Caller) -> None:
    keep(run)
    done = train(run, "--json")
    kinds = [row["type"] for row in done.rows]
    assert done.code == 0 and kinds[0] == "RunCreated" and kinds[-2:] == ["Published", "RunFinished"]
    assert kinds.count("Stepped") == 3


def test_nothing_to_train_is_said_before_a_model_is_loaded(run: Caller, paths: Paths) -> None:
    done = run("--model", "demo", "train")
    assert done.code == 1 and "Keep or correct" in done.err
    assert not paths.logs.exists() or not (paths.logs / "host.log").exists()


@pytest.mark.parametrize(
    ("body", "said"), [(FAIL, "The loss is not finite."), (SILENT, "exit code 3")], ids=["failed", "died"]
)
def test_a_failed_run_is_not_0(run: Caller, body: str, said: str) -> None:
    keep(run)
    done = train(run, "--json", body=body)
    assert done.code == 1 and said in done.err and "Traceback" not in done.err
    assert said in done.rows[-1]["error"]["what"]


def test_train_without_waiting_then_stop(run: Caller) -> None:
    keep(run)
    with host_in_thread(run.paths, FakeEngine(), workers=fake_workers(run.paths, UNTIL_STOPPED)):
        begun = run("--model", "fake", "train", "--no-wait")
        assert begun.code == 0
        name = begun.out.strip()
        assert run("runs", "list", "--json").document[0]["run"] == name
        stopped = run("runs", "stop")
        assert stopped.code == 0 and "stopped" in stopped.out
        assert run("runs", "follow").code == 0
        second = run("--model", "fake", "train", "--no-wait", "--json").document["run"]
        given_up = run("runs", "stop", second, "--cancel")
        assert given_up.code == 0 and "Nothing was published" in given_up.out
    assert run("runs", "stop").code == 2


def test_a_second_run_is_refused_and_leaves_nothing(run: Caller) -> None:
    keep(run)
    with host_in_thread(run.paths, FakeEngine(), workers=fake_workers(run.paths, UNTIL_STOPPED)):
        assert run("--model", "fake", "train", "--no-wait").code == 0
        done = run("--model", "fake", "train")
        assert done.code == 1 and "going on already" in done.err and "runs stop" in done.err
        assert len(all_runs.states(run.paths)) == 1
        assert run("runs", "stop").code == 0


def test_ctrl_c_leaves_the_run_alone(run: Caller) -> None:
    keep(run)
    with host_in_thread(run.paths, FakeEngine(), workers=fake_workers(run.paths, UNTIL_STOPPED)):
        with start("--model", "fake", "train", "--json") as process:
            assert process.stdout is not None
            while '"step":3' not in process.stdout.readline():
                pass
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=20)
        assert process.returncode == 130 and "The run goes on" in err and "Traceback" not in err
        assert '"Cancelled"' in out.splitlines()[-1]
        (state,) = all_runs.states(run.paths)
        assert state.alive
        assert run("runs", "stop", state.id).code == 0


def test_resume_starts_a_prepared_run(run: Caller) -> None:
    keep(run)
    name = all_runs.prepare(run.paths, run.store(), model="fake", adapter="mine", recipe=all_runs.recipes.Recipe())
    waiting = run("runs", "follow")
    assert waiting.code == 2 and f"runs resume {name}" in waiting.err
    with host_in_thread(run.paths, FakeEngine(), workers=fake_workers(run.paths)):
        done = run("runs", "resume")
        assert done.code == 0 and "mine/v1 is published" in done.out
        assert run("runs", "resume", name).code == 1


def test_a_prepared_run_can_be_given_up_without_a_host(run: Caller) -> None:
    run_folder(run.paths, "waiting")
    assert run("runs", "stop", "waiting", "--cancel").code == 0
    assert all_runs.state(run.paths, "waiting").phase == "cancelled"


def test_list_and_show(run: Caller) -> None:
    assert "no run yet" in run("runs", "list").err and run("runs", "show").code == 2
    folder = run_folder(run.paths, "old")
    events.append(folder, events.Warned(text=f"Beware {HOSTILE}"))
    events.append(folder, events.RunCancelled())
    time.sleep(0.002)
    run_folder(run.paths, "new")
    assert [each["run"] for each in run("runs", "list", "--json").document] == ["new", "old"]
    listed = run("runs", "list").out
    assert "cancelled" in listed and "RUN" in listed
    shown = run("runs", "show", "old")
    assert "12 new replies, 4 of earlier runs" in shown.out and "Beware" in shown.err
    assert not any(code in shown.err for code in FORBIDDEN)
    assert run("runs", "show", "old", "--json").document["phase"] == "cancelled"
    assert run("runs", "show", "../../etc").code == 2


def test_samples_of_a_run_are_cleaned(run: Caller, tmp_path: Path) -> None:
    folder = run_folder(run.paths, "samples")
    events.append(folder, events.Sampled(step=1, prompt=HOSTILE, reply=HOSTILE))
    events.append(folder, events.Published(adapter="mine/v1", digest="", worse=HOSTILE))
    events.append(folder, events.RunFinished())
    for words in ((), ("--json",)):
        done = run("runs", "follow", "samples", *words)
        assert done.code == 0 and "is not offered" in done.err
        assert not any(code in done.out + done.err for code in FORBIDDEN)


def test_the_run_that_is_going_on_is_stopped_not_one_that_waits(run: Caller) -> None:
    going = run_folder(run.paths, "going")
    events.append(going, events.WorkerStarted(pid=os.getpid()))
    time.sleep(0.002)
    run_folder(run.paths, "waiting")
    events.append(going, events.Stage(name="training"))
    assert run("runs", "show", "--json").document["id"] == "going"
    call = SimpleNamespace(workspace=SimpleNamespace(paths=run.paths), given=SimpleNamespace(run=None))
    assert _chosen(call, going=True).id == "going"  # type: ignore[arg-type]
