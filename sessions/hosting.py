"""Find a running host or start one, detached from the terminal; end idle hosts of other models.

Knows sockets and processes; nothing of what is said over them beyond the shutdown of an idle host.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path

from sessions import protocol
from sessions.errors import HostUnreachable
from sessions.paths import Paths, private_folder, private_open
from sessions.places import HostRecord, records

START_TIMEOUT = 20.0
"""Seconds until a started host must listen (it loads nothing before that)."""

REASON = "`llama-tui host log` may have the reason; a log that ends without one means that it was killed."
"""For people whose host has ended without a word."""

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def connect_or_start(paths: Paths, model: str, *, start: bool, limit: int) -> Connection:
    """A connection to the host of this home and model. Raises HostUnreachable with the reason."""
    socket = paths.socket(model)
    try:
        return await _open(socket, limit)
    except OSError as error:
        if not start:
            raise _unreachable(paths, "No host is running for this home and model.") from error
    process = await asyncio.to_thread(_spawn, paths, model)
    return await _wait(paths, model, process, limit)


async def end_idle_hosts(paths: Paths, model: str) -> list[str]:
    """Ask hosts of this home that hold another model to end; returns the models of those that stayed."""
    stayed = []
    for record, socket in records(paths):
        if record.model != model and record.home == str(paths.home) and not await _ask_to_end(record, socket):
            stayed.append(record.model)
    return stayed


def log_path(paths: Paths) -> Path:
    """Where a host's output goes."""
    return paths.logs / "host.log"


async def _open(socket: Path, limit: int) -> Connection:
    return await asyncio.wait_for(asyncio.open_unix_connection(str(socket), limit=limit), 5)


def _spawn(paths: Paths, model: str) -> subprocess.Popen[bytes]:
    """A host of its own session. It neither holds the person's folder nor imports modules from it (-P)."""
    private_folder(paths.logs)
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-P", "-m", "sessions.host", "--home", str(paths.home), "--model", model]
    with open(log_path(paths), "ab", opener=private_open) as log:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env=environment,
            cwd=private_folder(paths.home),
        )


async def _wait(paths: Paths, model: str, process: subprocess.Popen[bytes], limit: int) -> Connection:
    """Poll until some host listens: ours, or one that another terminal started at the same moment.

    A host that found the place taken ends with 0; where the other was just leaving, it is started again.
    """
    until = time.monotonic() + START_TIMEOUT
    while time.monotonic() < until:
        try:
            return await _open(paths.socket(model), limit)
        except OSError:
            if process.poll() == 0:
                process = await asyncio.to_thread(_spawn, paths, model)
            elif process.returncode is not None:
                raise _unreachable(paths, f"The host ended at once with exit code {process.returncode}.") from None
        await asyncio.sleep(0.02)
    raise _unreachable(paths, f"The host did not listen within {START_TIMEOUT:.0f} seconds.")


async def _ask_to_end(record: HostRecord, socket: Path) -> bool:
    try:
        reader, writer = await _open(socket, 2**20)
    except OSError:
        return True
    try:
        writer.write(protocol.encode(protocol.Shutdown(id="end")))
        await writer.drain()
        return await asyncio.wait_for(_answer(reader), 10)
    except (OSError, TimeoutError):
        return False
    finally:
        writer.close()


async def _answer(reader: asyncio.StreamReader) -> bool:
    while line := await reader.readline():
        event = protocol.decode_event(line)
        if event.id == "end" and isinstance(event, protocol.ENDINGS):
            return isinstance(event, protocol.Finished)
    return True


def _unreachable(paths: Paths, what: str) -> HostUnreachable:
    return HostUnreachable(what, data="Nothing was lost.", remedy=f"The reason may stand in {log_path(paths)}.")
