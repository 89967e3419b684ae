"""`host`: what the process that holds the model is doing; end it; the end of its log.

Starts nothing.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import deque
from pathlib import Path

from msgspec import structs

from sessions.errors import HostIsOther, HostUnreachable, UsageError
from sessions.hosting import log_path
from sessions.places import records
from sessions.protocol import HostState
from tui.glance import anchors_in_words, size
from tui.verbs.call import Call
from tui.verbs.progress import duration

LOOK, LOOKS = 0.02, 750
"""Seconds between two looks at whether a host has ended, and how often it is looked."""


async def status(call: Call) -> int:
    """All hosts of this home, or with `--model` that one."""
    states = []
    for model in _models(call):
        async with call.client(model=model, start=False) as client:
            state = await client.status()
            states.append(structs.replace(state, clients=state.clients - 1))  # this call is no terminal
    if call.output.json:
        call.output.document(states)
        return 0
    if not states:
        call.output.say("No host is running for this home; the next chat starts one.")
    for state in states:
        for name, value in _facts(state):
            if value:
                call.output.say(f"{name:<10}{value}")
    return 0


async def stop(call: Call) -> int:
    """End the hosts of this home, or with `--model` that one."""
    models = _models(call)
    for model in models:
        await _end(call, model)
    if call.output.json:
        call.output.document({"stopped": models})
    call.output.say(f"Ended: {', '.join(models)}." if models else "No host is running for this home.")
    return 0


async def _end(call: Call, model: str) -> None:
    """Ask it to end; one of another version, which may not understand, is told so by a signal if forced."""
    socket = call.workspace.paths.socket(model)
    try:
        async with call.client(model=model, start=False) as client:
            await client.shutdown(force=call.given.force)
            await _until_gone(socket)
    except HostIsOther:
        if not call.given.force:
            raise
        for record, _ in records(call.workspace.paths):
            if record.model == model and record.home == str(call.workspace.paths.home):
                os.kill(record.pid, signal.SIGTERM)


async def _until_gone(socket: Path) -> None:
    """A host takes its socket away last."""
    for _ in range(LOOKS):
        if not await asyncio.to_thread(socket.exists):
            return
        await asyncio.sleep(LOOK)


def log(call: Call) -> int:
    """The last lines of the host's log."""
    path = log_path(call.workspace.paths)
    if call.given.lines < 1:
        raise UsageError("--lines is 1 or more.")
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            lines = list(deque((line.rstrip("\n") for line in file), call.given.lines))
    except FileNotFoundError:
        lines = []
        call.output.note(f"There is no log yet at {path}.")
    else:
        if not lines:
            call.output.note(f"{path} is empty: a host that ended without a word there was killed.")
    if call.output.json:
        call.output.document({"path": str(path), "lines": lines})
    for line in lines:
        call.output.say(line)
    return 0


def _models(call: Call) -> list[str]:
    paths = call.workspace.paths
    running = [record.model for record, _ in records(paths) if record.home == str(paths.home)]
    if call.given.model is None:
        return running
    if call.given.model not in running:
        raise HostUnreachable(
            f"No host of {call.given.model} is running for this home.",
            remedy=f"Running: {', '.join(running) or 'none'}.",
        )
    return [call.given.model]


def _facts(state: HostState) -> list[tuple[str, str]]:
    model = state.ready
    about = f"{model.quantization} on {model.device}, {size(model.memory)}" if model else "not loaded"
    since = time.strftime("%H:%M:%S", time.localtime(time.time() - state.uptime))
    return [
        ("host", f"process {state.pid}, version {state.version}, up {duration(state.uptime)} (since {since})"),
        ("model", f"{state.model}: {about}"),
        ("adapters", ", ".join(state.resident)),
        ("terminals", str(state.clients)),
        ("runs", ", ".join(state.runs)),
        ("anchors", anchors_in_words(state.preparing)),
        ("memory", size(state.memory) + (f", GPU {size(state.gpu_memory)}" if state.gpu_memory else "")),
        ("base", state.sharing),
    ]
