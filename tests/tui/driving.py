"""Drives the app against a real host with a fake engine, without a terminal."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

from textual.message import Message
from textual.pilot import Pilot

from corpora.dialog import Exchange
from sessions.engine.fake import FakeEngine
from sessions.paths import Paths
from sessions.settings import Settings
from sessions.workspace import Workspace
from tests.hosts import MODEL, Served, running_host
from tui.app import LlamaTuiApp
from tui.screens.chat import ChatScreen


def paths_in(folder: Path) -> Paths:
    """A home of its own; the socket's folder is kept short, as Unix sockets must be."""
    return Paths(folder / "home", folder / "cache", folder / "home" / "config.toml", folder)


@dataclass
class Driven:
    """The app under test, its keys, its host."""

    app: LlamaTuiApp
    pilot: Pilot[None]
    served: Served
    messages: list[Message] = field(default_factory=list)
    """The app's own messages as they were handled, in order."""

    @property
    def last(self) -> Exchange:
        """The exchange that commands act on."""
        assert self.app.chat.last is not None
        return self.app.chat.last

    @property
    def chat(self) -> ChatScreen:
        """The chat screen."""
        assert self.app.chat_screen is not None
        return self.app.chat_screen

    async def until(self, holds: Callable[[], object], what: str = "", seconds: float = 10.0) -> None:
        """Wait for a condition, with the app running on."""
        ends = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < ends, f"{what or 'waited in vain'}; on the screen:\n{self.shown()}"
            await self.pilot.pause(0.01)
        await self.pilot.pause()

    async def say(self, text: str) -> None:
        """Put a text into the prompt and send it."""
        self.chat.prompt.put(text)
        await self.pilot.pause()
        await self.pilot.press("enter")

    async def ask(self, text: str) -> None:
        """Send a prompt and wait for the whole reply."""
        count = len(self.app.chat.branch)
        await self.say(text)
        await self.until(lambda: len(self.app.chat.branch) > count and not self.app.chat.busy, f"no reply to {text}")
        await self.until(lambda: self.chat.live is None, "the reply was not shown whole")

    def shown(self) -> str:
        """All that is on the screen, as text."""
        width, height = self.app.size
        lines = self.app.screen._compositor.render_strips()
        return "\n".join(strip.text for strip in lines)


@contextlib.asynccontextmanager
async def driven(
    folder: Path,
    engine: FakeEngine | None = None,
    *,
    size: tuple[int, int] = (80, 24),
    settings: Settings | None = None,
    **options: object,
) -> AsyncIterator[Driven]:
    """The app on its chat screen, the model loaded."""
    paths = paths_in(folder)
    paths.home.mkdir(parents=True, exist_ok=True)
    workspace = Workspace(paths, settings or Settings())
    async with running_host(paths, engine, **options) as served:
        app = LlamaTuiApp(workspace, MODEL)
        seen: list[Message] = []

        def note(message: Message) -> None:
            if type(message).__module__.startswith("tui.") and not any(message is known for known in seen):
                seen.append(message)

        async with app.run_test(size=size, notifications=True, message_hook=note) as pilot:
            driving = Driven(app, pilot, served, seen)
            await driving.until(app.opened.is_set, "the store was not opened")
            await driving.until(lambda: app.client.connected, "the host was not reached")
            yield driving
        await app.client.close()
    workspace.close()
    await asyncio.sleep(0)
