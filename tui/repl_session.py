"""What the line REPL's commands share: chat, client, surface, runs; how a reply reaches the screen.

Knows nothing of single commands.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from typing import cast

from corpora.dialog import Finish
from corpora.errors import UsageError
from sessions.chat import Chat, ChatEvent, FellBack, Saved
from sessions.client import Client
from sessions.comparing import Comparison
from sessions.errors import AdapterError, SettingsError
from sessions.lineage import Lineage
from sessions.protocol import (
    BASE,
    AnyEvent,
    Closing,
    ColumnEnded,
    LoadFailed,
    Loading,
    Prefilled,
    Ready,
    RunChanged,
    Token,
)
from sessions.training.runs import RunState
from sessions.workspace import Workspace
from tui.glance import anchors_share, answers
from tui.output import Output
from tui.pace import Pace
from tui.render import Stream
from tui.repl_runs import RunWatch
from tui.repl_surface import Surface
from tui.verbs import progress
from tui.verbs.call import chosen_adapter, loading_text
from tui.verbs.following import tell_gate


class Session:
    """One line REPL on one data home and one model."""

    def __init__(self, workspace: Workspace, client: Client, output: Output, surface: Surface) -> None:
        self.workspace = workspace
        self.client = client
        self.output = output
        self.surface = surface
        self.chat = Chat(workspace.store, client)
        self.chat.sampling = workspace.settings.sampling
        self.chat.system = workspace.settings.system or None
        self.comparison: Comparison | None = None
        self.comparing = ""
        self.leaving = False
        self.offered: Lineage | None = None
        self.watch = RunWatch(workspace.paths, self._run_changed, self._warn, self._run_ended)
        self.context = Prefilled(prompt_tokens=0)
        self.pace = Pace()
        self.used = 0
        self.rate = 0.0
        self._waits = False
        self._lost = False
        self._telling: set[asyncio.Task[None]] = set()
        client.listeners.append(self._heard)

    # what is shown beside the input

    def toolbar(self) -> str:
        """Model · adapter · context · speed · run."""
        ready, loading = self.client.ready, self.client.loading
        model = self.client.model
        if ready is None and loading is not None:
            model = loading_text(model, loading)
        context = self.context.context or (ready.context if ready else 0)
        run = self.watch.active
        parts = [
            model,
            answers(self.chat.adapter, self.chat.strength),
            f"context {self.used}/{context}" if context else "",
            f"{self.rate:.0f} tokens/s" if self.rate else "",
            progress.short(run) if run is not None else "",
            anchors_share(self.client.preparing),
            f"{self.offered.address} is ready: /adapter {self.offered.adapter}" if self.offered is not None else "",
        ]
        return " · ".join(part for part in parts if part)

    # adapters

    def start_with(self, asked: str | None) -> None:
        """Answer with what was asked for, or with the accepted version. Raises AdapterError for what was asked for."""
        self.chat.use(chosen_adapter(self.workspace, asked, self.client.model, self.output))
        self.offered = self.workspace.offer(self.client.model)

    async def use_adapter(self, adapter: str, *, force: bool = False) -> None:
        """Answer with `base` or `NAME/vN` from now on, here and in later chats: loaded and probed first.

        Raises GateFailed for a version that failed the gate, without `force`; AdapterError. Then nothing changes.
        """
        if adapter != BASE:
            await self.client.load_adapter(adapter)
        await asyncio.to_thread(self.workspace.accept, adapter, force=force)
        await self.switch(adapter)

    async def switch(self, adapter: str) -> None:
        """Answer with what was accepted already."""
        await asyncio.to_thread(self.chat.use, adapter)
        self.offered = await asyncio.to_thread(self.workspace.offer, self.client.model)
        self.surface.refresh()

    async def look(self) -> None:
        """Follow what other programs changed in the adapters."""
        before = self.chat.adapter
        try:
            await asyncio.to_thread(self.workspace.look_again)
        except SettingsError as error:
            self.output.problem(error)
        gone = await self.chat.look()
        if gone is not None:
            self.output.problem(gone)
        elif self.chat.adapter != before:
            self.output.note(f"{before} is called {self.chat.adapter} now.")
        self.offered = await asyncio.to_thread(self.workspace.offer, self.client.model)

    # replies

    async def answer(self, events: AsyncIterator[ChatEvent]) -> None:
        """Print a reply as it comes; say how it ended where it did not end by itself."""
        stream, saved = Stream(), None
        self._waits = True
        self.pace.begin()
        try:
            async with aclosing(cast("AsyncGenerator[ChatEvent, None]", events)) as coming:
                async for event in coming:
                    self._show(event, stream)
                    saved = event if isinstance(event, Saved) else saved
        finally:
            self._waits = False
            if self.chat.last is not None:
                self.output.reply(stream.flush())
                self.output.end_reply()
        if saved is not None:
            self._conclude(saved)

    def _show(self, event: ChatEvent, stream: Stream) -> None:
        self.pace.hear(event)
        match event:
            case FellBack(error=error):
                self.output.problem(error)
            case Prefilled():
                self._waits = False
                self.context, self.used = event, event.prompt_tokens
                self._say_dropped(event.dropped_exchanges)
            case Token(text=text, tokens=tokens):
                self.used += tokens
                self.output.reply(stream.feed(text))
            case ColumnEnded(tokens=tokens, seconds=seconds):
                self.rate = tokens / seconds if seconds else 0.0

    def _say_dropped(self, dropped: int) -> None:
        if dropped:
            self.output.note(f"({dropped} of the oldest exchanges no longer fit the context and are not sent.)")

    def _conclude(self, saved: Saved) -> None:
        if saved.failure is not None:
            raise saved.failure.error()
        if saved.exchange.finish is Finish.STOPPED:
            self.output.note("(stopped; what has come is saved)")
        elif saved.exchange.finish is Finish.LENGTH:
            self.output.note("(cut at max_new_tokens; /set max_new_tokens N makes room)")

    async def stop(self) -> bool:
        """Stop the reply or comparison under way; False where there is none."""
        if self.chat.busy:
            await self.chat.stop()
        elif self.comparing:
            await self.client.cancel(self.comparing)
        else:
            return False
        return True

    async def close(self) -> None:
        """Leave; runs and the host go on."""
        self.leaving = True
        await self.watch.close()
        await self.client.close()

    def last(self) -> int:
        """The exchange that commands act on. Raises UsageError where there is none."""
        if self.chat.last is None:
            raise UsageError("There is no exchange yet.", remedy="Ask something first.")
        return self.chat.last.id

    # what is heard

    def _heard(self, event: AnyEvent) -> None:
        match event:
            case Loading() if self._waits:
                self.output.progress(loading_text(self.client.model, event))
            case RunChanged(run=run, alive=True):
                self.watch.follow(run)
            case Loading(stage=stage) if self.client.parked:
                self._later(lambda: self.output.note(f"{stage}. Prompts wait for it.", "yellow"))
            case LoadFailed(failure=failure) if not self._waits:
                error = failure.error()
                self._later(lambda: self.output.problem(error))
            case Loading() | Ready():
                self._lost = False
            case Closing(reason=reason) if not (self.chat.busy or self.leaving or self._lost):
                self._lost = True  # the end of the connection, which follows, is no news
                self._later(lambda: self.output.note(f"{reason} The next prompt starts it again.", "yellow"))
        self.surface.refresh()

    def _later(self, tell: Callable[[], None]) -> None:
        task = asyncio.create_task(self.surface.announce(tell))
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    def _run_changed(self, state: RunState) -> None:
        self.surface.refresh()
        if not self.surface.attended and not state.over:
            self.output.progress(progress.going(state))

    async def _warn(self, text: str) -> None:
        await self.surface.announce(lambda: self.output.note(text, "yellow"))

    async def _run_ended(self, state: RunState) -> None:
        """Say how it ended; offer the version, or use it where it passed the gate and the settings say so."""
        self.offered = await asyncio.to_thread(self.workspace.offer, self.client.model)
        await self.surface.announce(lambda: self._tell_end(state))
        unasked = await asyncio.to_thread(self.workspace.to_use_unasked, self.client.model)
        if unasked is not None:
            await self._use_unasked(unasked.address)
        self.surface.refresh()

    async def _use_unasked(self, adapter: str) -> None:
        try:
            await self.use_adapter(adapter)
        except AdapterError as error:
            failed = error
            await self.surface.announce(lambda: self.output.problem(failed))
        else:
            await self.surface.announce(lambda: self.output.note(f"{adapter} answers from now on.", "green"))

    def _tell_end(self, state: RunState) -> None:
        if state.failure is not None:
            self.output.problem(state.failure.error())
            return
        self.output.note(" ".join(part for part in (progress.ended(state), progress.figures(state)) if part), "green")
        if state.published is None:
            return
        if state.gate is not None:
            tell_gate(self.output.note, state.gate)
        elif state.published.worse:
            self.output.note(f"It is not offered: {state.published.worse}", "yellow")
        if self.offered is not None:
            self.output.note(f"/adapter {self.offered.address} uses it; /compare asks both.")
