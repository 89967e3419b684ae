"""A run followed to its end: progress on stderr, with `--json` its events on stdout; the exit code.

Whatever happens here, the run continues.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from itertools import chain

from sessions.client import Client
from sessions.errors import HostError, RunError
from sessions.training import runs
from sessions.training.events import AnyRunEvent, Gated, Published, Sampled, Scored, Warned
from sessions.training.report import GateReport
from sessions.training.runs import RunState
from tui import gate_text
from tui.verbs import progress
from tui.verbs.call import Call

COLOURS = {"": "", "good": "green", "bad": "yellow", "dim": "dim"}
LOOK, LOOKS = 0.05, 400
"""Seconds between two questions to the host, and how often it is asked."""


async def follow_run(call: Call, run: str, client: Client | None = None) -> int:
    """Follow to the end, and with a client until its host is free again; 0 where a version was published."""
    state = RunState(run)
    try:
        async for event in runs.follow(call.workspace.paths, run):
            state.apply(event)
            _tell(call, state, event)
    except asyncio.CancelledError:
        call.output.note(
            f"The run goes on. `llama-tui runs follow {run}` shows it again, `llama-tui runs stop {run}` ends it."
        )
        raise
    if client is not None:
        await settled(client, run)
    return conclude(call, state)


async def until_free(client: Client) -> None:
    """Until the host can start a run. Raises RunError where another one goes on."""
    for run in (await client.status()).runs:
        if not (await asyncio.to_thread(runs.state, client.paths, run)).over:
            raise RunError(
                f"A run is going on already: {run}.",
                data="Nothing was started.",
                remedy=f"Wait for it, or end it with `llama-tui runs stop {run}`.",
            )
        await settled(client, run)


async def settled(client: Client, run: str) -> None:
    """Until the host has let a run go that said its last word: then the next one can start."""
    with contextlib.suppress(HostError):
        for _ in range(LOOKS):
            if run not in (await client.status()).runs:
                return
            await asyncio.sleep(LOOK)


def conclude(call: Call, state: RunState) -> int:
    """Say how it came out. Raises what it failed with."""
    if state.failure is not None:
        raise state.failure.error()
    call.output.say(progress.ended(state))
    if found := progress.figures(state):
        call.output.say(found)
    if state.gate is not None:
        tell_gate(call.output.say, state.gate)
    elif state.published is not None and state.published.worse:
        call.output.note(f"{state.published.adapter} is not offered: {state.published.worse}", "yellow")
    if state.published is not None:
        _tell_offer(call, state.published)
    return 0 if state.published is not None else 1


def _tell_offer(call: Call, published: Published) -> None:
    """Use the version where it passed and the settings say so, else say how it is used."""
    unasked, offered = call.workspace.to_use_unasked(call.model), call.workspace.offer(call.model)
    if unasked is not None and unasked.digest == published.digest:
        call.workspace.accept(unasked.address)
        call.output.note(f"{unasked.address} passed the gate and is in use from the next chat on (auto_use).", "green")
    elif offered is not None and offered.digest == published.digest:
        call.output.note(f"`llama-tui adapters use {offered.address}` uses it.")


def tell_gate(tell: Callable[[str, str], None], report: GateReport) -> None:
    """The result of the gate, and the prompts that failed."""
    lines = [
        *gate_text.result_of(report),
        *chain.from_iterable(map(gate_text.answer_lines, gate_text.failed_in(report))),
    ]
    for text, style in lines:
        tell(text, COLOURS[style])


def _tell(call: Call, state: RunState, event: AnyRunEvent) -> None:
    if call.output.json:
        call.output.row(event)
    match event:
        case Warned(text=text):
            call.output.note(text, "yellow")
        case Sampled(prompt=prompt, reply=reply):
            call.output.note(f"{prompt} → {reply}", "dim")
        case Scored() | Gated():
            pass
        case _ if not state.over:
            call.output.progress(progress.going(state))
