"""Which version answers in the app's chat: chosen at the start, accepted by the person, followed where it moves.

Other terminals rename, remove and publish versions too, so that the folder of the adapters is looked at regularly.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from corpora.errors import LlamaTuiError
from sessions.errors import AdapterError
from sessions.protocol import BASE
from tui.messages import AdapterInUseChanged, AdaptersChanged, CorpusChanged, OfferChanged

if TYPE_CHECKING:
    from sessions.lineage import Lineage
    from tui.app import LlamaTuiApp

LOOK_SECONDS = 1.0


class Answering:
    """What the chat answers with, and what is offered instead."""

    def __init__(self, app: LlamaTuiApp) -> None:
        self.app = app
        self.offered: Lineage | None = None
        self.addresses: dict[str, str] = {}
        """Where every version is now, by identity."""
        self._seen: tuple[object, ...] = ()
        self._looking = asyncio.Lock()
        self._offering = asyncio.Lock()

    async def start(self) -> None:
        """Take what was asked for, else the accepted version; say what is wrong with it where the base answers."""
        app, workspace = self.app, self.app.workspace
        self._seen = await asyncio.to_thread(_state, workspace.paths.adapters, workspace.paths.config)
        found = await asyncio.to_thread(workspace.answering, app.asked_adapter, app.client.model)
        await asyncio.to_thread(app.chat.use, found.adapter)
        if found.problem is not None:
            app.report(found.problem)
        elif found.note:
            app.notify(found.note, severity="warning")

    def watch(self) -> None:
        """Look at the adapters from now on."""
        self.app.set_interval(LOOK_SECONDS, lambda: self.app.attempt(self.look))
        self.app.attempt(self.find_offer)

    async def use(self, adapter: str, *, strength: float | None = None, force: bool = False) -> None:
        """Answer with `base` or `NAME/vN` from now on, here and in later chats: loaded and probed first.

        Raises GateFailed for a version that failed the gate, without `force`; AdapterError, HostError. Then nothing
        changes.
        """
        if adapter != BASE:
            await self.app.client.load_adapter(adapter)
        await asyncio.to_thread(self.app.workspace.accept, adapter, force=force)
        await self._switch(adapter, strength)

    async def accept(self, adapter: str, *, force: bool = False) -> None:
        """`use`, and say so; a version that failed the gate is asked about first."""
        lineage = None if adapter == BASE else await asyncio.to_thread(self.app.workspace.registry.stored, adapter)
        failed = lineage is not None and lineage.checked == "failed"
        if lineage is not None and failed and not force and not await self._insists(lineage):
            return
        await self.use(adapter, force=failed)
        self.app.notify(f"{adapter} answers from the next reply on.{_unchecked(lineage)}", timeout=4)

    async def roll_back(self, name: str) -> None:
        """Go back to what was accepted before the current version of a name; the chat follows if it answers."""
        in_use = self.app.adapter.startswith(f"{name}/")
        before = await asyncio.to_thread(self.app.workspace.registry.rollback, name)
        if not in_use:
            self.app.tell(AdaptersChanged())
            self.app.notify(f"The accepted version of {name} is {before} now.", timeout=4)
            return
        if before != BASE:
            await self.app.client.load_adapter(before)
        await self._switch(before)
        self.app.notify(f"{before} answers from the next reply on.", timeout=4)

    async def fall_back(self, error: LlamaTuiError) -> None:
        """The base answers because the version cannot be used: say it, also after the toast is gone."""
        app = self.app
        await asyncio.to_thread(app.chat.use, BASE)
        app.report(error)
        if app.chat_screen is not None:
            app.chat_screen.say_version(f"The base answers: {error.what}")
        app.tell(AdapterInUseChanged(BASE, app.chat.strength))

    async def look(self) -> None:
        """Follow what other programs changed in the adapters, where they changed something."""
        if self._looking.locked() or not self.app.opened.is_set():
            return
        async with self._looking:
            workspace = self.app.workspace
            seen = await asyncio.to_thread(_state, workspace.paths.adapters, workspace.paths.config)
            if seen == self._seen:
                return
            self._seen = seen
            await self.follow()

    async def find_offer(self) -> None:
        """Read again what is offered; use it where it passed the gate and `auto_use` allows that."""
        app = self.app
        async with self._offering:
            unasked = await asyncio.to_thread(app.workspace.to_use_unasked, app.client.model)
            if unasked is not None:
                await self.use(unasked.address)
                app.notify(f"{unasked.address} passed the gate and answers from the next reply on (auto_use).")
            offered = await asyncio.to_thread(app.workspace.offer, app.client.model)
            known = await asyncio.to_thread(app.workspace.registry.identities)
            self.addresses = dict(reversed(known.addresses()))
            if (offered and offered.address) != (self.offered and self.offered.address):
                self.offered = offered
                app.tell(OfferChanged(offered))

    async def follow(self) -> None:
        """Take over other names, and go on with the same version under its new one."""
        app = self.app
        renamed = await asyncio.to_thread(app.workspace.look_again)
        before = app.chat.adapter
        gone = await app.chat.look()
        if gone is not None:
            await self.fall_back(gone)
        elif app.chat.adapter != before:
            app.tell(AdapterInUseChanged(app.chat.adapter, app.chat.strength))
        app.tell(AdaptersChanged())
        if renamed:
            app.tell(CorpusChanged())

    async def _switch(self, adapter: str, strength: float | None = None) -> None:
        app = self.app
        await asyncio.to_thread(app.chat.use, adapter)
        if strength is not None:
            app.chat.strength = strength
        app.tell(AdapterInUseChanged(adapter, app.chat.strength))
        app.tell(AdaptersChanged())

    async def _insists(self, lineage: Lineage) -> bool:
        from tui.widgets.dialogs import Confirm

        gate = lineage.gate
        reasons = gate.reasons if gate is not None else ()
        lines = [f"{lineage.address} failed the gate, so it is not offered.", *(f"• {reason}" for reason in reasons)]
        lines.append("You can go back with r on the Adapters screen (F5).")
        question = Confirm("Use it all the same?", "\n".join(lines), yes="Use it", no="Leave it")
        return await self.app.push_screen_wait(question) is True


async def preload(app: LlamaTuiApp, adapter: str) -> None:
    """Have the host load and probe what answers, before the first prompt needs it."""
    try:
        await app.client.load_adapter(adapter)
    except AdapterError as error:
        if app.chat.adapter == adapter:
            await app.answering.fall_back(error)


def _unchecked(lineage: Lineage | None) -> str:
    return " It was not checked by the gate." if lineage is not None and lineage.gate is None else ""


def _state(adapters: Path, config: Path) -> tuple[object, ...]:
    """What changes when a version comes, goes, is accepted or offered, or a setting is saved."""
    return tuple(_changes(adapters, config))


def _changes(adapters: Path, config: Path) -> Iterator[object]:
    folders = [path for path in adapters.iterdir() if path.is_dir()] if adapters.is_dir() else []
    for path in (config, adapters, *sorted(folders)):
        try:
            yield path.name, path.stat().st_mtime_ns
        except OSError:
            yield path.name, 0
