"""The process that computes anchors in the background: `python -m sessions.training.anchor_worker`.

It has a low priority, waits while a reply is generated, and ends with the host, which may also end it at any time:
complete chunks are kept. It reads one assignment from stdin and writes nothing to stdout but why it failed.
"""

from __future__ import annotations

import errno
import logging
import os
import sys
import time
from pathlib import Path

import msgspec

from sessions.errors import DiskFull, Failure, HostDied, OutOfMemory
from sessions.training.assignment import AnchorAssignment, ChatFlag, decode_anchors
from sessions.training.control import Control
from sessions.training.worker import quiet, synchronize

log = logging.getLogger("llama-tui.anchors")
NICENESS = 10
KEPT = "The chat is not affected, and what is recorded so far is kept."


def main() -> int:
    """Read the assignment and carry it out; return 0 where all anchors are on disk or the host has ended."""
    os.nice(NICENESS)
    output = _reserve_stdout()
    quiet()
    assignment = decode_anchors(sys.stdin.buffer.readline())
    try:
        build(assignment)
    except HostDied:
        return 0
    except Exception as error:
        log.exception("The anchors could not be computed")
        os.write(output, msgspec.json.encode(failure_of(error)))
        return 1
    return 0


def build(assignment: AnchorAssignment) -> None:
    """Compute the missing anchors of the shared base. Raises HostDied once the host has ended."""
    from sessions.engine.share import open_shared
    from sessions.training import adapting
    from sessions.training.anchors import AnchorCache
    from sessions.training.trainer import decoder_layers

    _use_half_of_the_cores()
    base = open_shared(Path(assignment.base))
    adapting.keep_unpacked(base.model)
    with ChatFlag(Path(assignment.chat_flag)) as flag:
        control = Control(None, flag=flag, parent=assignment.host, synchronize=synchronize)
        for layer in decoder_layers(base.model):
            layer.register_forward_hook(lambda *_: control.give_way())
        cache = AnchorCache(Path(assignment.anchors), base)
        cache.build(base.model, control.check_before_training, _between_chunks)


def failure_of(error: Exception) -> Failure:
    """Return what a person needs to know about an error."""
    from sessions.engine.errors import is_memory_error

    if is_memory_error(error):
        error = OutOfMemory(
            "There was not enough memory to record how the model answers general prompts.",
            data=KEPT,
            remedy="A run records what it needs when it starts; or start the host again when more memory is free.",
        )
    elif isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        error = DiskFull(f"The disk is full: {error}.", data=KEPT, remedy="Free some space; the next run continues.")
    return Failure.of(error)


def _between_chunks(fraction: float) -> None:
    """Free memory, and let a run that waits for the cache's lock have it."""
    from sessions.engine.errors import free_memory
    from sessions.training.anchors import LOCK_POLL

    free_memory()
    time.sleep(2 * LOCK_POLL)


def _reserve_stdout() -> int:
    """Return the descriptor of stdout; what libraries print goes to stderr from now on."""
    output = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return output


def _use_half_of_the_cores() -> None:
    import torch

    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // 2))


if __name__ == "__main__":
    sys.exit(main())
