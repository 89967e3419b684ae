"""`runs`: list, show, follow, stop and resume training runs.

Everything comes from the host and from the folder of the run.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from sessions.errors import HostUnreachable, UsageError
from sessions.launch import resume_run
from sessions.training import events, runs
from sessions.training.runs import RunState
from tui.verbs import progress
from tui.verbs.call import Call
from tui.verbs.following import conclude, follow_run, settled, tell_gate


@dataclass(frozen=True, slots=True)
class Line:
    """One run of `runs list --json`. Times are seconds since the epoch."""

    run: str
    phase: str
    model: str
    adapter: str
    parent: str
    new_replies: int
    replayed_replies: int
    selection: str
    step: int
    steps: int
    loss: float | None
    held_out: float | None
    published: str | None
    passed: bool | None
    gate: str
    failure: str | None
    resumable: bool
    created: float
    ended: float


def list_runs(call: Call) -> int:
    """All runs, the newest first."""
    lines = [_line(state) for state in runs.states(call.workspace.paths)]
    if call.output.json:
        call.output.document(lines)
    elif lines:
        call.output.table(
            ("RUN", "STATE", "ADAPTER", "FROM", "NEW REPLIES", "STEPS", "LOSS", "GATE", "PUBLISHED", "WHEN"),
            [_cells(line) for line in lines],
            right=("NEW REPLIES", "STEPS", "LOSS"),
        )
    else:
        call.output.note("There is no run yet. `llama-tui train` starts one.")
    return 0


def show(call: Call) -> int:
    """One run whole."""
    state = _chosen(call)
    if call.output.json:
        call.output.document(state)
        return 0
    for name, value in _facts(call, state):
        if value:
            call.output.say(f"{name:<13}{value}")
    if state.gate is not None:
        tell_gate(call.output.say, state.gate)
    for warning in state.warnings:
        call.output.note(warning, "yellow")
    return 0


async def follow(call: Call) -> int:
    """Follow a run from its first event to its end."""
    state = _chosen(call)
    if state.phase == "prepared" and not await _hosted(call, state):
        raise UsageError(
            f"The run {state.id} was prepared and never started.",
            remedy=f"`llama-tui runs resume {state.id}` starts it.",
        )
    return await follow_run(call, state.id)


async def stop(call: Call) -> int:
    """Stop a run, and wait for its last word."""
    state = _chosen(call, going=True)
    save = not call.given.cancel
    if not await _stopped_by_host(call, state, save):
        _stop_alone(call, state, save)
    async for event in runs.follow(call.workspace.paths, state.id):
        if call.output.json:
            call.output.row(event)
    after = runs.state(call.workspace.paths, state.id)
    if call.given.cancel and after.failure is None:
        call.output.say(progress.ended(after))
        return 0
    return conclude(call, after)


async def resume(call: Call) -> int:
    """Have a worker take a run up again, and follow it."""
    state = _chosen(call)
    async with call.client(model=state.created.model if state.created else None) as client:
        await call.ready(client)
        await resume_run(call.workspace, client, state.id)
        if not call.given.no_wait:
            return await follow_run(call, state.id, client)
    call.output.say(state.id)
    if call.output.json:
        call.output.document({"run": state.id})
    return 0


def _chosen(call: Call, *, going: bool = False) -> RunState:
    """The run that is named; else the one going on, else one that waits, else (unless it has to go on) the newest."""
    paths = call.workspace.paths
    if call.given.run is not None:
        return runs.state(paths, call.given.run)
    states = runs.states(paths)
    alive = sorted((state for state in states if not state.over), key=lambda state: not state.alive)
    if not alive and (going or not states):
        raise UsageError("No run is going on." if states else "There is no run yet.", data="Nothing was changed.")
    return (alive or states)[0]


async def _hosted(call: Call, state: RunState) -> bool:
    try:
        async with call.client(model=_model(state), start=False) as client:
            return state.id in (await client.status()).runs
    except HostUnreachable:
        return False


async def _stopped_by_host(call: Call, state: RunState, save: bool) -> bool:
    """Ask its host, and wait until the run's worker is gone; False where no host has it."""
    try:
        async with call.client(model=_model(state), start=False) as client:
            if state.id not in (await client.status()).runs:
                return False
            await client.stop_run(state.id, save=save)
            async for _ in runs.follow(call.workspace.paths, state.id):
                pass  # to its last word
            await settled(client, state.id)
            return True
    except HostUnreachable:
        return False


def _stop_alone(call: Call, state: RunState, save: bool) -> None:
    """No host knows the run: leave word for its worker, or close a run that nobody ever took up."""
    if state.phase == "prepared":
        events.append(call.workspace.paths.run(state.id), events.RunCancelled())
    else:
        runs.request_stop(call.workspace.paths, state.id, save)


def _model(state: RunState) -> str | None:
    return state.created.model if state.created else None


def _line(state: RunState) -> Line:
    created = state.created
    return Line(
        run=state.id,
        phase=state.phase,
        model=created.model if created else "",
        adapter=created.adapter if created else "",
        parent=created.parent if created else "",
        new_replies=created.new_replies if created else 0,
        replayed_replies=created.replayed_replies if created else 0,
        selection=str(created.selection or "") if created else "",
        step=state.steps[-1].step if state.steps else 0,
        steps=state.plan.steps if state.plan else 0,
        loss=state.steps[-1].loss if state.steps else None,
        held_out=state.held_out[-1].loss if state.held_out else None,
        published=state.published.adapter if state.published else None,
        passed=state.gate.passed if state.gate else None,
        gate=state.gate.summary if state.gate else "",
        failure=state.failure.what if state.failure else None,
        resumable=state.resumable,
        created=created.time if created else 0.0,
        ended=state.ended,
    )


def _cells(line: Line) -> tuple[object, ...]:
    return (
        line.run,
        line.phase,
        line.adapter,
        line.parent,
        f"{line.new_replies:,}" if line.new_replies else "",
        f"{line.step}/{line.steps}",
        "" if line.loss is None else f"{line.loss:.3f}",
        "" if line.passed is None else "passed" if line.passed else "failed",
        line.published,
        day(line.created),
    )


def _facts(call: Call, state: RunState) -> list[tuple[str, str]]:
    created, plan, failure = state.created, state.plan, state.failure
    return [
        ("run", state.id),
        ("state", state.phase + (", can be resumed" if state.resumable else "")),
        ("model", created.model if created else ""),
        ("adapter", f"{created.adapter}, from {created.parent}" if created else ""),
        ("trained on", progress.replies(state)),
        ("selected by", str(created.selection or "") if created else ""),
        ("plan", f"at most {plan.steps:,} steps, {plan.trained_tokens:,} trained tokens" if plan else ""),
        ("now", progress.going(state) if not state.over else ""),
        ("figures", progress.figures(state)),
        ("published", state.published.adapter if state.published else ""),
        ("worse", state.published.worse if state.published and state.gate is None else ""),
        ("failed", " ".join((failure.what, failure.data, failure.remedy)) if failure else ""),
        ("folder", str(call.workspace.paths.run(state.id))),
    ]


def day(seconds: float) -> str:
    """A time as this machine's clock shows it."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds)) if seconds else ""
