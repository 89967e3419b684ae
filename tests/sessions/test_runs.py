"""Runs without a worker: prepared, previewed, folded, followed, stopped, taken up again. No torch."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time

import pytest

from corpora.dataset import read_snapshot, row_key
from corpora.dialog import Finish, Status
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
from tests.sessions.training_help import FACTS, keep, opened, prepared


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
    seen = tuple(row.key for row in read_snapshot(paths.run(run) / runs.SNAPSHOT).rows)
    lineage = Lineage(adapter="mine", version=0, parent="base", base_model="demo", seen=seen)
    return registry.use(registry.publish(fill_folder(registry.stage("mine")), lineage))


def test_a_prepared_run_is_whole_and_private(paths: Paths, run: str) -> None:
    folder = paths.run(run)
    assert {path.name for path in folder.iterdir()} == {"recipe.toml", "snapshot.jsonl", "events.jsonl"}
    assert folder.stat().st_mode & 0o777 == 0o700
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in folder.iterdir())
    found = runs.state(paths, run)
    assert found.created is not None
    assert (found.phase, found.created.new_rows, found.created.parent) == ("prepared", 5, "base")
    assert read_snapshot(folder / "snapshot.jsonl").sha256 == found.created.snapshot
    assert runs.read_recipe(folder) == Recipe()


def test_preview_and_prepare_agree(paths: Paths) -> None:
    with opened(paths) as store:
        keep(store)
        shown = runs.preview(paths, store, model="demo", adapter="mine", recipe=Recipe())
    assert (shown.new_rows, shown.replayed_rows, shown.parent, shown.problems) == (5, 0, "base", ())
    assert shown.characters == sum(len(prompt) + len(reply) for prompt, reply in FACTS)
    assert shown.longest == max(len(prompt) + len(reply) for prompt, reply in FACTS)


def test_a_set_that_contradicts_itself_is_warned_of(paths: Paths) -> None:
    with opened(paths) as store:
        keep(store)
        assert runs.preview(paths, store, model="demo", adapter="mine", recipe=Recipe()).warning == ""
        keep(store, [(FACTS[0][0], "I do not know.")])
        shown = runs.preview(paths, store, model="demo", adapter="mine", recipe=Recipe())
    assert (shown.contradictions, shown.warning.split(":")[0]) == (1, "One prompt is kept with different replies")


def test_what_was_taught_is_replayed_and_what_is_new_is_new(paths: Paths, run: str) -> None:
    assert publish_all_rows(paths, run) == "mine/v1"
    with opened(paths) as store:
        with pytest.raises(NothingToTrain, match="taught to mine/v1 already"):
            runs.prepare(paths, store, model="demo", adapter="mine", recipe=Recipe())
        again = runs.prepare(paths, store, model="demo", adapter="mine", recipe=Recipe(), parent="base")
        keep(store, [("What is new?", "This one."), ("And this?", "That too.")])
        shown = runs.preview(paths, store, model="demo", adapter="mine", recipe=Recipe())
        second = runs.prepare(paths, store, model="demo", adapter="mine", recipe=Recipe(replay=10.0))
    assert (shown.new_rows, shown.replayed_rows, shown.parent) == (2, 2, "mine/v1")
    assert len(read_snapshot(paths.run(second) / runs.SNAPSHOT).rows) == 7
    assert runs.state(paths, again).created.parent == "base"


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
        with pytest.raises(NothingToTrain, match="No exchange is kept"):
            runs.prepare(paths, store, model="demo", adapter="mine", recipe=Recipe())
    assert runs.states(paths) == []


def test_rows_that_cannot_be_trained_are_shown_before(paths: Paths) -> None:
    with opened(paths) as store:
        asked = store.begin(store.start_conversation().id, None, "What is [INST]?", tags_allowed=False)
        store.finish(asked.id, "A tag.", Finish.EOS)
        store.set_status([asked.id], Status.KEPT)
        shown = runs.preview(paths, store, model="demo", adapter="mine", recipe=Recipe())
        assert len(shown.problems) == 1 and "[INST]" in shown.problems[0]
        with pytest.raises(NothingToTrain, match="can be trained"):
            runs.prepare(paths, store, model="demo", adapter="mine", recipe=Recipe())


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
    assert len({row_key(row.dialog) for row in rows} & {row.key for row in rows}) == 5


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
