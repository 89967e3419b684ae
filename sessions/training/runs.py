"""Runs as a terminal sees them: prepared, listed, followed, stopped. Torch-free.

Owns the run's folder before the worker does, and the fold of its events into one state.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import secrets
import shutil
import time
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec

from corpora.dataset import Row, Snapshot, snapshot_of, take_rows, write_snapshot
from corpora.files import sync_folder
from corpora.selection import Selection, choose
from corpora.store import Store
from sessions import adapter_folder
from sessions.catalog import Identities
from sessions.errors import (
    AdapterMismatch,
    DiskFull,
    Failure,
    LlamaTuiError,
    NothingToTrain,
    RunError,
    UsageError,
)
from sessions.paths import Paths, private_folder, write_atomic
from sessions.protocol import BASE
from sessions.registry import Registry, checked_adapter
from sessions.training import events
from sessions.training import recipe as recipes
from sessions.training.events import AnyRunEvent, RunCreated, RunResumed
from sessions.training.preview import Preview, preview_of
from sessions.training.recipe import Recipe
from sessions.training.state import Phase, RunState, death, gone
from sessions.training.unfit import unfit

__all__ = [
    "Phase",
    "RunState",
    "follow",
    "prepare",
    "preview",
    "request_stop",
    "resume",
    "selection_for",
    "state",
    "states",
]

RECIPE, SNAPSHOT, STOP, LOG = "recipe.toml", "snapshot.jsonl", "stop", "worker.log"
LEAST_SPACE = 64 << 20
POLL, LIVENESS = 0.1, 1.0


def preview(
    paths: Paths,
    store: Store,
    *,
    model: str,
    adapter: str,
    recipe: Recipe,
    parent: str | None = None,
    selection: Selection | None = None,
) -> Preview:
    """What `prepare` would take. Raises AdapterMismatch, AdapterNotFound, UsageError for a query, StoreError."""
    return _taken(paths, store, model=model, adapter=adapter, recipe=recipe, parent=parent, selection=selection)[0]


def prepare(
    paths: Paths,
    store: Store,
    *,
    model: str,
    adapter: str,
    recipe: Recipe,
    parent: str | None = None,
    selection: Selection | None = None,
) -> str:
    """Fix what is to be trained: write `runs/ID/` (recipe, snapshot, RunCreated) and return the ID.

    The run continues `parent` (default: the current version of `adapter`, else the base) on what
    `selection` selects (default: that of the adapter's last run). Raises what `preview` raises, and
    NothingToTrain where no selected reply is new, DiskFull.
    """
    found, rows = _taken(paths, store, model=model, adapter=adapter, recipe=recipe, parent=parent, selection=selection)
    if found.nothing:
        raise NothingToTrain(found.nothing, data="No run was started.")
    private_folder(paths.runs)
    if shutil.disk_usage(paths.runs).free < LEAST_SPACE:
        raise _disk_full(paths)
    run = f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{secrets.token_hex(2)}"
    snapshot = snapshot_of(rows)
    created = RunCreated(
        run=run,
        model=model,
        adapter=adapter,
        parent=found.parent,
        parent_digest="" if found.parent == BASE else Registry(paths).identity(found.parent),
        snapshot=snapshot.sha256,
        new_replies=found.new,
        replayed_replies=found.replayed,
        selection=found.selection,
    )
    try:
        _write(paths, created, snapshot, recipe)
    except OSError as error:
        raise _disk_full(paths) if error.errno in (errno.ENOSPC, errno.EDQUOT) else error from error
    return run


def selection_for(paths: Paths, adapter: str, parent: str = BASE) -> Selection:
    """The selection of an adapter's newest version, else that of the version it continues, else the empty one."""
    registry = Registry(paths)
    versions = registry.versions(checked_adapter(adapter))
    found = next((each.selection for each in reversed(versions) if each.selection is not None), None)
    if found is None and parent != BASE:
        found = registry.lineage(parent).selection
    return found or Selection()


def state(paths: Paths, run: str) -> RunState:
    """The state of one run, its versions called as they are now. Raises UsageError where it is unknown.

    A run whose worker is gone without a word counts as failed.
    """
    return _named(_state(paths, run), Registry(paths).identities())


def _state(paths: Paths, run: str) -> RunState:
    folder = _folder(paths, run)
    found = RunState(run)
    offset = _fold(found, folder, 0)
    if found.alive and gone(found.worker, folder):
        _fold(found, folder, offset)
        if found.alive:
            found.apply(death(found))
    if found.created is None:
        found.phase, found.failure = "failed", _unreadable(folder)
    return found


def states(paths: Paths) -> list[RunState]:
    """All runs, the newest first; a damaged one is listed as failed."""
    if not paths.runs.is_dir():
        return []
    names = [path.name for path in paths.runs.iterdir() if path.is_dir() and not path.name.startswith(".")]
    found, known = [], Registry(paths).identities()
    for name in names:
        with contextlib.suppress(UsageError):
            found.append(_named(_state(paths, name), known))
    return sorted(found, key=lambda one: (one.created.time if one.created else 0.0, one.id), reverse=True)


def _named(found: RunState, known: Identities) -> RunState:
    """With the names that versions have now, whatever they were called during the run."""
    if (made := found.published) is not None:
        found.published = msgspec.structs.replace(made, adapter=known.name(made.digest, made.adapter))
    if (created := found.created) is not None and created.parent_digest:
        parent = known.name(created.parent_digest, created.parent)
        found.created = msgspec.structs.replace(created, parent=parent)
    return found


async def follow(paths: Paths, run: str) -> AsyncIterator[AnyRunEvent]:
    """Every event of a run from its first, then live, until its ending.

    Where the worker dies without a word, the ending is a RunFailed that says so.
    """
    folder, found = _folder(paths, run), RunState(run)
    offset, looked = 0, time.monotonic()
    while True:
        before = offset
        for event, after in _news(folder, before):
            offset = after
            found.apply(event)
            yield event
        if found.over:
            return
        if time.monotonic() - looked >= LIVENESS and offset == before:
            looked = time.monotonic()
            if found.alive and gone(found.worker, folder) and not _news(folder, offset):
                yield death(found)
                return
        await asyncio.sleep(POLL)


def request_stop(paths: Paths, run: str, save: bool = True) -> None:
    """Ask a run's worker to stop: with `save` the adapter so far is published, without it the run is cancelled.

    The worker looks between micro-steps. Raises RunError where the run is not under way.
    """
    found = state(paths, run)
    if found.over:
        raise RunError(f"The run {run} is {found.phase} already.", data="Nothing was changed.")
    write_atomic(paths.run(run) / STOP, b"save\n" if save else b"cancel\n")


def stop_requested(folder: Path) -> bool | None:
    """None where nobody asked the run in this folder to stop; else whether to save."""
    try:
        return (folder / STOP).read_bytes().strip() != b"cancel"
    except FileNotFoundError:
        return None


def resume(paths: Paths, run: str) -> None:
    """Mark a run that ended (or never began) as one that goes on, before a worker is given it.

    Raises RunError where it cannot.
    """
    found = state(paths, run)
    if found.alive or (found.over and not found.resumable):
        why = "is under way" if found.alive else f"is {found.phase} and has no checkpoint to go on from"
        raise RunError(f"The run {run} {why}.", data="Nothing was changed.", remedy="Start a new run.")
    (paths.run(run) / STOP).unlink(missing_ok=True)
    events.append(paths.run(run), RunResumed())


def read_recipe(folder: Path) -> Recipe:
    """The recipe that a run was prepared with. Raises SettingsError."""
    return recipes.load(folder / RECIPE)


def _taken(
    paths: Paths,
    store: Store,
    *,
    model: str,
    adapter: str,
    recipe: Recipe,
    parent: str | None,
    selection: Selection | None,
) -> tuple[Preview, tuple[Row, ...]]:
    """What a run would train on, counted, and its rows."""
    registry = Registry(paths)
    start = accepted(registry, adapter, model) if parent is None else registry.resolve(parent)
    _check_continuable(registry, start)
    chosen = choose(store, selection_for(paths, adapter, start) if selection is None else selection)
    taken = take_rows(store, chosen.wanted, seen=registry.seen(start), seed=chosen.selection.seed)
    new = (row for row in taken.rows if not row.replay)
    return preview_of(start, chosen, taken, list(unfit(new, model, recipe.max_length))), taken.rows


def accepted(registry: Registry, adapter: str, model: str) -> str:
    """The current version of an adapter; `base` where there is none, or it was made for another model."""
    current = registry.current(checked_adapter(adapter))
    fits = current == BASE or registry.lineage(current).base_model in ("", model)
    return current if fits else BASE


def _check_continuable(registry: Registry, start: str) -> None:
    if start == BASE:
        return
    method = adapter_folder.read_config(registry.folder(start)).method
    if method not in adapter_folder.CONTINUED:
        raise AdapterMismatch(
            f"{start} was made by {method}, which a run cannot continue.",
            data="No run was started; the adapter is as it was.",
            remedy="Train under another name: it starts from the base.",
        )


def _write(paths: Paths, created: RunCreated, snapshot: Snapshot, recipe: Recipe) -> None:
    """The folder is filled under a hidden name and then renamed: a run is there whole or not at all."""
    beside = private_folder(paths.runs / f".{created.run}")
    try:
        recipes.save(recipe, beside / RECIPE)
        write_snapshot(snapshot, beside / SNAPSHOT)
        events.append(beside, created)
        beside.rename(paths.run(created.run))
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise
    sync_folder(paths.runs)


def _folder(paths: Paths, run: str) -> Path:
    folder = paths.run(run)
    if not folder.is_dir():
        raise UsageError(f"There is no run {run!r}.", remedy="`llama-tui runs list` shows them.")
    return folder


def _fold(found: RunState, folder: Path, offset: int) -> int:
    for event, after in _news(folder, offset):
        offset = after
        found.apply(event)
    return offset


def _news(folder: Path, offset: int) -> list[tuple[AnyRunEvent, int]]:
    return list(events.read(folder, offset))


def _unreadable(folder: Path) -> Failure:
    return Failure("RunError", f"{folder} has no readable first event.", "Its files are left as they are.", "")


def _disk_full(paths: Paths) -> LlamaTuiError:
    free = shutil.disk_usage(paths.runs).free >> 20
    return DiskFull(
        f"Only {free} MB are free where {paths.home} lies; a run needs at least {LEAST_SPACE >> 20} MB to start.",
        data="No run was started; your exchanges are untouched.",
        remedy="Free some space, or remove old runs and adapter versions.",
    )
