"""`llama-tui`: parse, do one verb, turn every ending into an exit code. Imports the front ends lazily.

Knows nothing of what the verbs do.
"""

from __future__ import annotations

import contextlib
import os
import sys
from argparse import Namespace
from collections.abc import Coroutine, Sequence
from typing import TYPE_CHECKING, Any

from corpora.errors import LlamaTuiError, UsageError
from tui.verbs import grammar

if TYPE_CHECKING:
    from tui.output import Output

CANCELLED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the arguments say; returns 0 done, 1 failed, 2 wrong usage, 130 cancelled."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        given = grammar.parse(arguments)
    except UsageError as error:
        _output("--json" in arguments).failure(error)
        return error.exit_code
    except SystemExit as leaving:
        return int(leaving.code or 0)
    return _guarded(given)


def _guarded(given: Namespace) -> int:
    """The one place where any exception of a verb becomes an exit code."""
    output = _output(given.json)
    try:
        return _do(given, output)
    except LlamaTuiError as error:
        output.failure(error)
        return error.exit_code
    except KeyboardInterrupt:
        return _cancelled(output)
    except BrokenPipeError:
        return _nobody_reads()
    except OSError as error:
        _logged(given, error)
        from tui.verbs.refusals import of_system

        output.failure(of_system(error))
        return 1
    except Exception as error:  # noqa: BLE001 - logged whole and told in one sentence
        output.failure(_unexpected(given, error))
        return 1


def _do(given: Namespace, output: Output) -> int:
    from tui.verbs.call import Call

    call = Call(given, output)
    try:
        ending = grammar.load(given.action)(call)
        code = ending if isinstance(ending, int) else _run(ending)
        call.tell_of_newer()
        return code
    finally:
        call.close()


def _run(work: Coroutine[Any, Any, int]) -> int:
    import asyncio

    try:
        return asyncio.run(_until_told(work))
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


async def _until_told(work: Coroutine[Any, Any, int]) -> int:
    """SIGTERM and a closed terminal end the work as Ctrl+C does: what is under way is saved first."""
    import asyncio
    import signal

    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    with contextlib.suppress(RuntimeError, ValueError):  # only the main thread hears signals
        for number in (signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, task.cancel)
    return await work


def _output(json: bool) -> Output:
    from tui.output import Output

    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal that is not UTF-8 is no reason to fail
    return Output(json=json)


def _cancelled(output: Output) -> int:
    from sessions.errors import Cancelled, Failure

    output.note("Cancelled.")
    if output.json:
        output.row({"error": Failure.of(Cancelled("Cancelled."))})
    return CANCELLED


def _nobody_reads() -> int:
    """`… | head` has gone: say nothing more, also not when the interpreter flushes at its end."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1


def _unexpected(given: Namespace, error: Exception) -> LlamaTuiError:
    what = f"Something went wrong that should not: {type(error).__name__}: {error}"[:500]
    return LlamaTuiError(what, data="What was saved before stays.", remedy=_logged(given, error))


def _logged(given: Namespace, error: Exception) -> str:
    """Write the whole of an error to the log; returns where it stands, in words."""
    from sessions.paths import Paths
    from tui.log import open_log

    try:
        paths = Paths.find(given.home)
        open_log(paths).error("unexpected error in %s", given.action, exc_info=error)
    except (LlamaTuiError, OSError) as second:
        return f"It could not be logged either: {second}"
    return f"The whole of it stands in {paths.logs / 'tui.log'}."


if __name__ == "__main__":
    sys.exit(main())
