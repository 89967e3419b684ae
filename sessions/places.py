"""The place of a host in the runtime folder: its lock, its record and its socket, in this order.

Knows nothing of what is said over the socket. Whoever finds the socket finds the record.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from sessions.errors import HostUnreachable
from sessions.paths import Paths, write_atomic


@dataclass(frozen=True, slots=True)
class HostRecord:
    """What a host leaves beside its socket, so that others find it."""

    pid: int
    home: str
    model: str
    version: str


def records(paths: Paths) -> list[tuple[HostRecord, Path]]:
    """Hosts of this runtime folder that live, each with its socket."""
    found = []
    for file in sorted(paths.runtime.glob("*.json")):
        try:
            record = HostRecord(**json.loads(file.read_text("utf-8")))
        except (OSError, ValueError, TypeError):
            continue  # half written or of another version: its socket still decides
        if psutil.pid_exists(record.pid):
            found.append((record, file.with_suffix(".sock")))
    return found


@contextlib.contextmanager
def taken(path: Path, record: HostRecord) -> Iterator[socket.socket]:
    """Own the place of the socket `path` and yield the socket, bound; the place is empty again at the end.

    Owning is holding a lock: whoever holds it may remove what a dead host left.
    Raises HostUnreachable where another host holds it.
    """
    with path.with_suffix(".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise HostUnreachable("Another host already listens here.") from error
        path.unlink(missing_ok=True)
        try:
            write_atomic(_record_of(path), json.dumps(asdict(record)).encode())
            with _bound(path) as listening:
                yield listening
        finally:
            path.unlink(missing_ok=True)
            _record_of(path).unlink(missing_ok=True)


def _record_of(path: Path) -> Path:
    return path.with_suffix(".json")


@contextlib.contextmanager
def _bound(path: Path) -> Iterator[socket.socket]:
    """A socket that is private from the moment it has a name: bind gives the name the mode set before."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        os.fchmod(listening.fileno(), 0o600)
        listening.bind(str(path))
        yield listening
