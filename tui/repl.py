"""The line REPL: read a line, do it, again; Ctrl+C stops what is under way first and leaves second.

Knows nothing of single commands.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator

from sessions.client import Client
from sessions.errors import LlamaTuiError
from sessions.version import VERSION
from tui.log import logger, open_log
from tui.repl_actions import ReplActions
from tui.repl_session import Session
from tui.repl_surface import Plain, Surface
from tui.verbs.call import Call, refuse_unusable
from tui.verbs.refusals import of_system

CANCELLED = 130


async def run(call: Call) -> int:
    """Chat until the end of the input, /quit, Ctrl+D (0), or a second Ctrl+C (130)."""
    open_log(call.workspace.paths)
    refuse_unusable(call.workspace.paths, call.model)
    client = Client(call.workspace.paths, call.model)
    session: Session | None = None

    def toolbar() -> str:
        return session.toolbar() if session is not None else ""

    surface = _surface(call, toolbar)
    session = Session(call.workspace, client, call.output, surface)
    try:
        session.start_with(getattr(call.given, "adapter", None))
        return await Repl(session).run()
    finally:
        await session.close()


class Repl:
    """The loop over one session, and what Ctrl+C does in it."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.actions = ReplActions(session)
        self._work: asyncio.Task[None] | None = None
        self._stopping = False
        self._stop_task: asyncio.Task[None] | None = None

    async def run(self) -> int:
        """Until the person leaves; returns the exit code."""
        session = self.session
        if session.surface.attended:
            where = f"{session.client.model} · {session.chat.adapter}"
            session.output.note(f"llama-tui {VERSION} · {where} · /help explains", "dim")
            if session.offered is not None:
                ready = session.offered
                session.output.note(f"{ready.address} is ready: /adapter {ready.adapter} uses it.", "green")
        with self._interrupts(), session.surface.quiet():
            opening = asyncio.create_task(self._open())
            try:
                while not session.leaving:
                    line = await session.surface.line()
                    if line is None:
                        break
                    await self._do(line)
            except KeyboardInterrupt:
                return CANCELLED
            finally:
                opening.cancel()
                await asyncio.gather(opening, return_exceptions=True)
        return 0

    async def _open(self) -> None:
        """Load the model while the person types, and pick up the runs that go on."""
        session = self.session
        if not session.surface.attended:
            return
        await session.watch.find()
        try:
            await session.client.connect()
        except LlamaTuiError as error:
            failed = error
            await session.surface.announce(lambda: session.output.problem(failed))

    async def _do(self, line: str) -> None:
        """One line to its end, whatever the end is; the prompt always comes back."""
        self._stopping = False
        self._work = asyncio.create_task(self._guarded(line))
        try:
            await self._work
        except asyncio.CancelledError:
            if (me := asyncio.current_task()) is not None and me.cancelling():
                self._work.cancel()
                await asyncio.gather(self._work, return_exceptions=True)
                raise
            self.session.output.note("Cancelled.")
        finally:
            self._work = None

    async def _guarded(self, line: str) -> None:
        """The one place where an error of a command becomes words."""
        session = self.session
        try:
            await session.look()
            await self.actions.take(line)
        except LlamaTuiError as error:
            session.output.problem(error)
        except OSError as error:
            logger.error("the system refused %r", line[:40], exc_info=error)
            session.output.problem(of_system(error))
        except Exception as error:  # noqa: BLE001 - a chat must not end for it; logged whole and told in a sentence
            logger.error("unexpected error in %r", line[:40], exc_info=error)
            log = session.workspace.paths.logs / "tui.log"
            session.output.problem(
                LlamaTuiError(f"{type(error).__name__}: {error}"[:300], remedy=f"The whole of it stands in {log}.")
            )

    # Ctrl+C

    @contextlib.contextmanager
    def _interrupts(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        try:
            loop.add_signal_handler(signal.SIGINT, self._interrupted)
        except (RuntimeError, ValueError):  # only the main thread hears signals
            yield
            return
        try:
            yield
        finally:
            loop.remove_signal_handler(signal.SIGINT)

    def _interrupted(self) -> None:
        """First stop the reply; then whatever else is under way; then leave."""
        if self._work is None:
            self.session.surface.leave()
        elif self._stopping:
            self._work.cancel()
        else:
            self._stopping = True
            self.session.surface.arm()
            self._stop_task = asyncio.create_task(self._stop(self._work))

    async def _stop(self, work: asyncio.Task[None]) -> None:
        try:
            if not await self.session.stop():
                work.cancel()
        except LlamaTuiError:
            work.cancel()


def _surface(call: Call, toolbar: Callable[[], str]) -> Surface:
    plain = getattr(call.given, "plain", False) or os.environ.get("TERM", "dumb") in ("", "dumb", "unknown")
    if plain or not (sys.stdin.isatty() and sys.stdout.isatty()):
        return Plain(call.output)
    from tui.repl_complete import CommandCompleter
    from tui.repl_prompt import Prompter

    workspace = call.workspace
    return Prompter(
        call.output,
        workspace.paths.history,
        CommandCompleter(workspace.registry),
        toolbar,
        editor=workspace.settings.editor,
    )
