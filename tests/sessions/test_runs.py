"""Runs without a worker: prepared, previewed, folded, followed, stopped, taken up again. No torch."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from corpora.dataset import read_snapshot, row_key
from corpora.dialog import Finish
from corpora.selection import Group, Selection
from corpora.store import ImportedDialog, ImportedTurn, dialog_key
from sessions.errors import AdapterMismatch, Failure, NothingToTrain, RunError, UsageError
from sessions.paths import Paths
from sessions.registry import Lineage, Registry
from sessions.training import events, runs
from sessions.training.events import (
    CheckpointWritten,
    HeldOut,
    Published,
    RunCancelled,
    RunFailed,
    RunFinished,
    RunResumed,
    RunStopped,
    Stage,
    Stepped,
    Warned,
    WorkerStarted,
)
from sessions.training.recipe import RECIPES, Recipe
from tests.sessions.test_registry import fill as fill_folder
from tests.sessions.training_help import FACTS, fill, keep, opened, prepared


@pytest.fixture
def run(paths: Paths) -> str:
    with opened(paths) as store:
        keep(store)
    return prepared(paths, "demo")


def stepped(step: int) -> Stepped:
    return Stepped(
        step=step, epoch=0.1, loss=2.0, learning_rate=1e-3, grad_norm=1.0, tokens=10, tokens_per_second=5.0, eta=1.0
    )


def tell(paths: Paths, run: str, *told: events.RunEvent) -> None:
    for event in told:
        events.append(paths.run(run), event)


def publish_all_rows(paths: Paths, run: str) -> str:
    """A version that has seen everything in the run."""
    registry = Registry(paths)
    seen = tuple(key for row in read_snapshot(paths.run(run) / runs.SNAPSHOT).rows for key in row.reply_keys)
    lineage = Lineage(adapter="mine", version=0, parent="base", base_model="demo", seen=seen)
    return registry.use(registry.publish(fill_folder(registry.stage("mine")), lineage))


def test_a_prepared_run_is_whole_and_private(paths: Paths, run: str) -> None:
    folder = paths.run(run)
    assert {path.name for path in folder.iterdir()} == {"recipe.toml", "snapshot.jsonl", "events.jsonl"}
    assert folder.stat().st_mode & 0o777 == 0o700
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in folder.iterdir())
    found = runs.state(paths, run)
    assert found.created is not None
    assert (found.phase, found.created.new_replies, found.created.parent) == ("prepared", 5, "base")
    assert read_snapshot(folder / "snapshot.jsonl").sha256 == found.created.snapshot
    assert runs.read_recipe(folder) == Recipe()


def test_preview_and_prepare_agree(paths: Paths) -> None:
    with opened(paths) as store:
        keep(store)
        shown = runs.preview(paths, store, model="demo", adapter="mine", recipe=Recipe())
    assert (shown.kept, shown.new, shown.replayed, shown.parent, shown.left_out) == (5, 5, 0, "base", ())
    assert shown.size.characters == sum(len(prompt) + len(reply) for prompt, reply in FACTS)
    assert shown.size.longest == max(len(prompt) + len(reply) for prompt, reply in FACTS)
    assert (shown.headline, shown.account) == ("5 new replies, from the base.", "")


def test_a_set_that_contradicts_itself_is_warned_of(paths: Paths) -> None:
    with opened(paths) as store:
        keep(store)
        assert runs.preview(paths, store, model="demo", adapter="mine", recipe=Recipe()).warning == ""
        keep(store, [(FACTS[0][0], "I do not know.")])
        shown = runs.preview(paths, store, model="demo", adapter="mine", recipe=Recipe())
    assert (shown.contradictions, shown.warning.split(":")[0]) == (1, "One prompt is kept with different replies")


def test_what_was_trained_is_replayed_and_what_is_new_is_new(paths: Paths, run: str) -> None:
    assert publish_all_rows(paths, run) == "mine/v1"
    with opened(paths) as store:
        with pytest.raises(NothingToTrain, match="trained in mine/v1 already"):
            runs.prepare(paths, store, model="demo", adapter="mine", recipe=Recipe(), parent="mine/v1")
        again = runs.prepare(paths, store, model="demo", adapter="mine", recipe=Recipe(), parent="base")
        keep(store, [("What is new?", "This one."), ("And this?", "That too.")])
        given = {"model": "demo", "adapter": "mine", "recipe": Recipe(), "parent": "mine/v1"}
        shown = runs.preview(paths, store, **given)
        second = runs.prepare(paths, store, **given)
    assert (shown.kept, shown.new, shown.trained, shown.replayed, shown.parent) == (7, 2, 5, 5, "mine/v1")
    assert shown.headline == "2 new replies, with 5 replies of earlier runs mixed in, on top of mine/v1."
    assert shown.account == "7 kept: 2 new · 5 trained in mine/v1 already."
    assert [row.replay for row in read_snapshot(paths.run(second) / runs.SNAPSHOT).rows] == [True] * 5 + [False] * 2
    created = runs.state(paths, second).created
    assert created is not None and (created.new_replies, created.replayed_replies) == (2, 5)
    assert runs.state(paths, again).created.parent == "base"


def test_every_kept_reply_is_accounted_for(paths: Paths, run: str) -> None:
    """1,005 kept, 986 new: the other 19 are explained."""
    publish_all_rows(paths, run)
    with opened(paths) as store:
        facts = [(ImportedTurn(f"Fact {n}?", f"It is {n}."),) for n in range(986)]
        store.add_dialogs(ImportedDialog(fact, None, "facts", dialog_key(None, fact)) for fact in facts)
        keep(store, [("Fact 1?", "It is 1."), ("Fact 2?", "It is 2.")])
        fill(store, 8)
        (odd,) = keep(store, [("What is [INST]?", "A tag.")])
        (tagged, wrong) = keep(store, [("Secret?", "Yes."), ("Who?", "[bold]")])
        store.set_tags([tagged], ["private"])
        begun = store.exchange(wrong)
        off = (Group("tag", "private"), Group("chat", str(begun.conversation_id)))
        chosen = Selection(off=off, files=("facts",))
        shown = runs.preview(
            paths, store, model="demo", adapter="mine", recipe=Recipe(), parent="mine/v1", selection=chosen
        )
    assert odd and (shown.kept, shown.new, shown.trained) == (1004, 986, 5)
    assert shown.kept == shown.new + shown.trained + sum(each.replies for each in shown.left_out)
    assert [str(each) for each in shown.left_out][:3] == [
        "8 imported replies are not selected: test.",
        "2 replies are in groups that are switched off.",
        "2 replies repeat others.",
    ]
    assert str(shown.left_out[3]).startswith("1 reply cannot be trained: 'A tag.': The user message holds [INST]")
    assert shown.account == (
        "1,004 kept: 986 new · 5 trained in mine/v1 already · 8 imported, not selected · 2 switched off · "
        "2 duplicates · 1 cannot be trained."
    )


def test_a_selection_is_kept_with_the_run_and_is_the_default_of_the_next(paths: Paths) -> None:
    chosen = Selection(query="tag:cat", seed=4)
    with opened(paths) as store:
        cat, dog = keep(store, [("My cat?", "Mouse."), ("My dog?", "Rex.")])
        fill(store, 3)
        store.set_tags([cat], ["cat"])
        name = runs.prepare(paths, store, model="demo", adapter="mine", recipe=Recipe(), selection=chosen)
        created = runs.state(paths, name).created
        assert created is not None and created.selection == replace(chosen, files=()) and created.new_replies == 1
        registry = Registry(paths)
        (row,) = read_snapshot(paths.run(name) / runs.SNAPSHOT).rows
        lineage = Lineage(
            adapter="mine",
            version=0,
            parent="base",
            base_model="demo",
            seen=row.reply_keys,
            selection=created.selection,
        )
        version = registry.publish(fill_folder(registry.stage("mine")), lineage)
        assert runs.selection_for(paths, "mine") == created.selection == registry.lineage(version).selection
        assert runs.selection_for(paths, "other", version) == created.selection, "the version that it continues"
        assert runs.selection_for(paths, "other") == Selection()
        given = {"model": "demo", "adapter": "mine", "recipe": Recipe(), "parent": version}
        shown = runs.preview(paths, store, **given)
        assert (str(shown.left("query")), shown.new) == ("4 replies do not match the query.", 0)
        shown = runs.preview(paths, store, **given, selection=Selection())
        assert (shown.new, shown.trained, shown.left("import").replies) == (1, 1, 3)
        store.set_tags([dog], ["cat"])
        shown = runs.preview(paths, store, **given)
        assert (shown.new, shown.replayed) == (1, 1)
        outside = runs.preview(paths, store, **given, selection=Selection(query="rex"))
        assert (outside.new, outside.trained, outside.replayed) == (1, 0, 0), "replay stays inside the selection"


def test_a_run_of_an_earlier_version_is_listed(paths: Paths, run: str) -> None:
    file = paths.run(run) / events.FILE
    line = json.loads(file.read_text())
    old = {key: value for key, value in line.items() if key not in ("selection", "new_replies", "replayed_replies")}
    file.write_text(json.dumps({**old, "new_rows": 5, "replayed_rows": 0}) + "\n")
    (found,) = runs.states(paths)
    assert found.created is not None and found.created.selection is None and found.phase == "prepared"


def test_what_no_run_can_continue_is_told_before(paths: Paths) -> None:
    registry = Registry(paths)
    staged = fill_folder(registry.stage("soft"))
    (staged / "adapter_config.json").write_text('{"peft_type": "PREFIX_TUNING", "num_virtual_tokens": 4}')
    assert registry.publish(staged, Lineage(adapter="soft", version=0, parent="base", base_model="demo")) == "soft/v1"
    card = (registry.folder("soft/v1") / "README.md").read_text("utf-8")
    assert "- prefix-tuning\n" in card and "- lora\n" not in card
    (registry.folder("soft/v1") / "lineage.json").write_text(
        '{"adapter": "soft", "version": 1, "parent": "base", "base_model": ""}'
    )
    registry.use("soft/v1")
    with opened(paths) as store:
        keep(store)
        with pytest.raises(AdapterMismatch, match="made by prefix tuning"):
            runs.prepare(paths, store, model="demo", adapter="soft", recipe=Recipe())
        assert runs.prepare(paths, store, model="demo", adapter="mine", recipe=Recipe())
    assert [state.created.adapter for state in runs.states(paths) if state.created] == ["mine"]


def test_nothing_kept_is_told_and_leaves_no_run(paths: Paths) -> None:
    with opened(paths) as store:
        asked = store.begin(store.start_conversation().id, None, "Hello?")
        store.finish(asked.id, "Hello.", Finish.EOS)
        with pytest.raises(NothingToTrain, match="No reply is kept"):
            runs.prepare(paths, store, model="demo", adapter="mine", recipe=Recipe())
    assert runs.states(paths) == []


def test_replies_that_cannot_be_trained_are_shown_before(paths: Paths) -> None:
    with opened(paths) as store:
        keep(store, [("What is [INST]?", "A tag."), ("Tell me all.", "word " * 300)])
        recipe = Recipe(max_length=100)
        shown = runs.preview(paths, store, model="demo", adapter="mine", recipe=recipe)
        assert shown.new == 0 and shown.left("unfit").replies == 2
        assert "[INST]" in shown.left("unfit").details[0] and "100 are left" in shown.left("unfit").details[1]
        with pytest.raises(NothingToTrain, match="cannot be trained"):
            runs.prepare(paths, store, model="demo", adapter="mine", recipe=recipe)
        assert runs.preview(paths, store, model="demo", adapter="mine", recipe=Recipe()).new == 1
        assert runs.preview(paths, store, model="no/such-model", adapter="mine", recipe=recipe).new == 1


def test_a_recipe_is_kept_with_the_run(paths: Paths) -> None:
    with opened(paths) as store:
        keep(store)
    run = prepared(paths, "demo", RECIPES["guanaco"])
    assert runs.read_recipe(paths.run(run)) == RECIPES["guanaco"]


def test_ids_are_sorted_by_time_and_listed_newest_first(paths: Paths, run: str) -> None:
    time.sleep(0.02)
    second = prepared(paths, "demo", adapter="other")
    assert [found.id for found in runs.states(paths)] == [second, run]


def test_unknown_and_hostile_names(paths: Paths) -> None:
    for name in ("nothing", "../..", ""):
        with pytest.raises(UsageError):
            runs.state(paths, name)


def test_the_fold_of_a_whole_run(paths: Paths, run: str) -> None:
    tell(
        paths,
        run,
        WorkerStarted(pid=os.getpid(), device="cpu"),
        Stage(name="Training"),
        stepped(1),
        stepped(2),
        HeldOut(step=2, loss=1.5),
        CheckpointWritten(step=2, folder="checkpoint-2"),
        Warned(text="something"),
        Published(adapter="mine/v1", digest="d"),
    )
    found = runs.state(paths, run)
    assert found.alive and found.stage == "Training" and [step.step for step in found.steps] == [1, 2]
    tell(paths, run, RunFinished())
    found = runs.state(paths, run)
    assert (found.phase, found.resumable, found.checkpoint_step) == ("finished", False, 2)
    assert found.published is not None and found.warnings == ["something"] and found.held_out[0].loss == 1.5


def test_a_resumed_run_forgets_the_steps_it_makes_again(paths: Paths, run: str) -> None:
    started = WorkerStarted(pid=os.getpid())
    written = CheckpointWritten(step=2, folder="checkpoint-2")
    tell(paths, run, started, stepped(1), stepped(2), written, stepped(3), RunStopped(step=3))
    assert runs.state(paths, run).resumable
    runs.resume(paths, run)
    assert runs.state(paths, run).phase == "prepared"
    tell(paths, run, WorkerStarted(pid=os.getpid(), resumed_step=2), stepped(3))
    found = runs.state(paths, run)
    assert found.alive and [step.step for step in found.steps] == [1, 2, 3]


def dead_pid() -> int:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    return ended.pid


def test_a_worker_that_is_gone_counts_as_failed(paths: Paths, run: str) -> None:
    tell(paths, run, WorkerStarted(pid=dead_pid()), stepped(1))
    found = runs.state(paths, run)
    assert found.phase == "failed" and found.failure is not None
    assert (found.failure.kind, found.resumable) == ("WorkerDied", False)
    tell(paths, run, CheckpointWritten(step=1, folder="checkpoint-1"))
    assert runs.state(paths, run).resumable


def test_a_process_number_used_again_is_no_worker(paths: Paths, run: str) -> None:
    long_ago = time.time() - 10 * 365 * 86400
    tell(paths, run, WorkerStarted(pid=os.getpid(), time=long_ago))
    assert runs.state(paths, run).phase == "failed"


def test_a_worker_on_another_machine_is_believed(paths: Paths, run: str) -> None:
    tell(paths, run, WorkerStarted(pid=dead_pid(), node="elsewhere"))
    assert runs.state(paths, run).alive


def test_a_damaged_run_is_listed_as_failed(paths: Paths, run: str) -> None:
    (paths.run(run) / events.FILE).write_bytes(b"\x00nonsense\n{")
    (paths.runs / "empty").mkdir()
    assert [found.phase for found in runs.states(paths)] == ["failed", "failed"]


def test_a_torn_line_spoils_no_other(paths: Paths, run: str) -> None:
    with (paths.run(run) / events.FILE).open("ab") as file:
        file.write(b'{"type":"Stepped","st')
    tell(paths, run, WorkerStarted(pid=os.getpid()))
    found = runs.state(paths, run)
    assert found.alive and len(found.warnings) == 1


def test_stopping(paths: Paths, run: str) -> None:
    assert runs.stop_requested(paths.run(run)) is None
    runs.request_stop(paths, run, save=True)
    assert runs.stop_requested(paths.run(run)) is True
    runs.request_stop(paths, run, save=False)
    assert runs.stop_requested(paths.run(run)) is False
    tell(paths, run, WorkerStarted(pid=os.getpid()), RunCancelled())
    with pytest.raises(RunError, match="cancelled already"):
        runs.request_stop(paths, run)
    with pytest.raises(RunError, match="no checkpoint"):
        runs.resume(paths, run)


async def collected(paths: Paths, run: str) -> list[str]:
    return [type(event).__name__ async for event in runs.follow(paths, run)]


async def test_following_goes_from_the_first_event_to_the_ending(paths: Paths, run: str) -> None:
    following = asyncio.create_task(collected(paths, run))
    await asyncio.sleep(0.05)
    tell(paths, run, WorkerStarted(pid=os.getpid()), stepped(1))
    await asyncio.sleep(0.25)
    assert not following.done()
    tell(paths, run, RunFinished())
    assert await asyncio.wait_for(following, 5) == ["RunCreated", "WorkerStarted", "Stepped", "RunFinished"]


async def test_following_a_run_that_was_taken_up_again(paths: Paths, run: str) -> None:
    failed = RunFailed(failure=Failure("HostDied", "gone"), resumable=True)
    tell(paths, run, WorkerStarted(pid=os.getpid()), CheckpointWritten(step=1, folder="c"), failed)
    runs.resume(paths, run)
    following = asyncio.create_task(collected(paths, run))
    await asyncio.sleep(0.3)
    assert not following.done()
    tell(paths, run, WorkerStarted(pid=os.getpid(), resumed_step=1), RunFinished())
    assert (await asyncio.wait_for(following, 5))[-3:] == [RunResumed.__name__, "WorkerStarted", "RunFinished"]


async def test_following_ends_when_the_worker_dies(paths: Paths, run: str) -> None:
    worker = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    tell(paths, run, WorkerStarted(pid=worker.pid))
    following = asyncio.create_task(collected(paths, run))
    await asyncio.sleep(0.2)
    worker.kill()
    worker.communicate()
    assert (await asyncio.wait_for(following, 5))[-1] == "RunFailed"


def test_row_keys_are_what_the_lineage_remembers(paths: Paths, run: str) -> None:
    rows = read_snapshot(paths.run(run) / runs.SNAPSHOT).rows
    assert [row_key(row.dialog) for row in rows] == [row.key for row in rows]
    assert [row.reply_keys for row in rows] == [(row.key,) for row in rows]


def test_runs_and_registry_import_no_torch() -> None:
    code = (
        "import sys, sessions.registry, sessions.training.runs, sessions.training.assignment, "
        "sessions.training.schedule, sessions.training.control, sessions.training.preflight; "
        "bad = {'torch', 'transformers', 'peft', 'trl', 'numpy'} & set(sys.modules); sys.exit(str(bad) if bad else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_worker_on_another_machine_that_fell_silent_is_gone(paths: Paths, run: str) -> None:
    tell(paths, run, WorkerStarted(pid=dead_pid(), node="elsewhere"))
    silent = time.time() - 11 * 60
    os.utime(paths.run(run) / events.FILE, (silent, silent))
    assert runs.state(paths, run).phase == "failed"
