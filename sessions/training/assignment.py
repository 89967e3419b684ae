"""What a host assigns to a worker process, as one JSON line on its stdin. Torch-free.

Knows nothing of how a process is started or of what it does with the assignment.
"""

from __future__ import annotations

import mmap
import os
from pathlib import Path
from types import TracebackType
from typing import Annotated

import msgspec

from sessions.paths import private_open


class Assignment(msgspec.Struct, frozen=True, kw_only=True):
    """One run for one worker. Paths are absolute.

    `base` is the manifest of a shared base, or None where the worker loads the model itself. Byte 0 of the
    file `chat_flag` is 1 while a reply is being generated; `chat_share` is the share of that time which
    training leaves to chat (1: it waits until the reply is done; 0: it never waits).
    """

    run: str
    home: str
    cache: str
    base: str | None = None
    resume: bool = False
    chat_flag: str | None = None
    chat_share: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.8
    quantization: str = "nf4"


class AnchorAssignment(msgspec.Struct, frozen=True, kw_only=True):
    """The anchors of one base for one process. Paths are absolute.

    `anchors` is the folder of all bases' anchors, `base` the manifest of the shared base, `chat_flag` as above,
    `host` the process that the assigned one must not outlive.
    """

    anchors: str
    base: str
    chat_flag: str
    host: int


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Assignment)
_anchor_decoder = msgspec.json.Decoder(AnchorAssignment)


def encode(assignment: Assignment | AnchorAssignment) -> bytes:
    """Return one line, newline included."""
    return _encoder.encode(assignment) + b"\n"


def decode(line: bytes) -> Assignment:
    """Return the assignment of a run. Raises msgspec.MsgspecError on a line that is none."""
    return _decoder.decode(line)


def decode_anchors(line: bytes) -> AnchorAssignment:
    """Return the assignment of a base's anchors. Raises msgspec.MsgspecError on a line that is none."""
    return _anchor_decoder.decode(line)


class ChatFlag:
    """One byte that the host sets while a reply is being generated and workers read; no system call in either.

    The host makes it with `create=True`; a worker opens it for reading.
    """

    def __init__(self, path: Path, *, create: bool = False) -> None:
        """Raises OSError where the file cannot be made or opened."""
        flags = os.O_RDWR | os.O_CREAT if create else os.O_RDONLY
        descriptor = private_open(str(path), flags)
        try:
            if create:
                os.ftruncate(descriptor, 1)
            access = mmap.ACCESS_WRITE if create else mmap.ACCESS_READ
            self._byte = mmap.mmap(descriptor, 1, access=access)
            if create:
                self._byte[0] = 0
        finally:
            os.close(descriptor)

    @property
    def busy(self) -> bool:
        """True while a reply is being generated."""
        return self._byte[0] == 1

    def set(self, busy: bool) -> None:
        """Only for who made it."""
        self._byte[0] = int(busy)

    def close(self) -> None:
        """Let go of the mapping; the file stays."""
        self._byte.close()

    def __enter__(self) -> ChatFlag:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
