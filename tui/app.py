"""The Textual app: modes, global keys, and the state that all screens share. Thin.

The first frame waits for nothing: the store is opened and the host connected afterwards, in workers.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import gc
from collections.abc import Awaitable, Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from textual import events, work
from textual.app import App
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.notifications import Notify
from textual.widget import Widget
from textual.widgets import Input

from corpora.errors import LlamaTuiError
from sessions.protocol import BASE, ModelInfo
from tui import leaving, modes, render
from tui.answering import Answering, preload
from tui.bridge import Bridge
from tui.log import logger, open_log
from tui.messages import (
    AdapterInUseChanged,
    AdaptersChanged,
    HostLost,
    ModelLoading,
    ModelReady,
    OfferChanged,
    RunEnded,
    RunEventHappened,
    StoreOpened,
)
from tui.screens.mode import ModeScreen
from tui.theme import with_one_accent
from tui.widgets.modebar import TITLES, ModeBar

if TYPE_CHECKING:
    from textual.command import Provider
    from textual.driver import Driver

    from sessions.chat import Chat
    from sessions.client import Client
    from sessions.workspace import Workspace
    from tui.actions import AppActions
    from tui.screens.chat import ChatScreen


def _palette() -> type[Provider]:
    from tui.palette import Palette

    return Palette


OPENING = 10.0
"""Seconds that a prompt or a command waits for the store."""
_SCREENS = Binding.Group("Screens", compact=True)


TOAST_SECONDS = {"information": 3.0, "warning": 5.0, "error": 8.0}
"""Longest times that a toast stands, by its kind."""


class LlamaTuiApp(App[None]):
    """One terminal on one data home and one model.

    `chat` and `workspace.store` may be used once `opened` is set (StoreOpened).
    """

    TITLE = "llama-tui"
    CSS_PATH = "app.tcss"
    DEFAULT_MODE = "chat"
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (100, "-wide")]
    MODES = modes.MODES
    COMMANDS = {_palette}
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f1", "do('help')", "Help", id="help", priority=True),
        *(
            Binding(f"f{number}", f"mode('{name}')", name, id=f"mode.{name}", priority=True, group=_SCREENS)
            for number, name in enumerate(TITLES, start=2)
        ),
        Binding("f8", "settings", "Settings", id="settings", priority=True, show=False),
        Binding("ctrl+g", "use_offered", "Use new version", id="version.use", priority=True, show=False),
        Binding("ctrl+q", "do('quit')", "Leave", id="quit", priority=True, show=False),
        Binding("ctrl+c", "interrupt", "Stop or leave", id="interrupt", priority=True, show=False),
    ]

    def __init__(self, workspace: Workspace, model: str | None = None, adapter: str | None = None) -> None:
        super().__init__()
        self.workspace = workspace
        self.asked_model = model
        self.asked_adapter = adapter
        self.answering = Answering(self)
        self.opened = asyncio.Event()
        self.hearers: set[Widget] = set()
        self.bridge = Bridge(self)
        self._chat: Chat | None = None
        self.chat_screen: ChatScreen | None = None
        self.asked_to_leave = 0.0
        self.set_keymap(workspace.settings.keys)

    def get_driver_class(self) -> type[Driver]:
        """Textual's choice, with whole pastes on a terminal."""
        from tui.driver import driver_for

        return driver_for(super().get_driver_class())

    # what screens share

    @cached_property
    def client(self) -> Client:
        """The connection to the host; nothing is started before its first command."""
        return self.workspace.client(self.asked_model)

    @cached_property
    def actions(self) -> AppActions:
        """What the registry's commands do."""
        from tui.actions import AppActions

        return AppActions(self)

    @property
    def chat(self) -> Chat:
        """The conversation on the chat screen. Raises LlamaTuiError before the store is open."""
        if self._chat is None:
            raise LlamaTuiError("The corpus is still being opened.", remedy="Try again in a moment.")
        return self._chat

    @property
    def adapter(self) -> str:
        """What the chat answers with: `base` or `NAME/vN`."""
        return self._chat.adapter if self._chat is not None else BASE

    @property
    def model(self) -> ModelInfo | None:
        """The loaded model."""
        return self.client.ready

    @property
    def model_name(self) -> str:
        """The model's name, also before it is loaded; empty before it is known."""
        if "client" not in self.__dict__:
            return ""
        return self.client.ready.name if self.client.ready else self.client.model

    async def on_event(self, event: events.Event) -> None:
        """Pasted text reaches a one-line input clean; editors keep it as it is and draw it clean."""
        if isinstance(event, events.Paste) and isinstance(self.focused, Input):
            event.text = render.line(event.text)
        await super().on_event(event)

    def tell(self, message: Message) -> None:
        """Hand a message to the app and to every open screen."""
        for target in {self, *self.hearers, *self.screen_stack}:
            target.post_message(copy.copy(message))

    def known(self, error: BaseException) -> LlamaTuiError:
        """An error as one for the person; one that is not ours is logged whole."""
        if isinstance(error, LlamaTuiError):
            return error
        if isinstance(error, OSError):
            from tui.verbs.refusals import of_system

            return of_system(error)
        logger.error("unexpected error", exc_info=error)
        file = self.workspace.paths.logs / "tui.log"
        return LlamaTuiError(f"{type(error).__name__}: {error}"[:300], remedy=f"The details are in {file}.")

    def report(self, error: BaseException) -> None:
        """Say an error to the person."""
        told = self.known(error)
        logger.info("told: %s", told)
        body = "\n".join(part for part in (told.data, told.remedy) if part)
        self.notify(body or told.what, title=told.what if body else "", severity="error")

    @work(exit_on_error=False)
    async def attempt(self, action: Callable[..., Awaitable[object]], *given: Any, **options: Any) -> None:
        """Run what a person asked for beside everything else; its errors are reported."""
        try:
            await action(*given, **options)
        except Exception as error:  # noqa: BLE001  the boundary of every command: nothing is swallowed
            self.report(error)

    def do(self, name: str) -> None:
        """Run a command of the registry without arguments."""
        self.attempt(getattr(self.actions, name), "")

    def notify(self, message: str, **options: Any) -> None:
        """Say something, for at most its kind's seconds; never read as markup."""
        longest = TOAST_SECONDS[options.get("severity", "information")]
        options["timeout"] = min(options.get("timeout") or longest, longest)
        title = render.line(str(options.pop("title", "")))
        options.pop("markup", None)
        super().notify(render.clean(message), title=title, markup=False, **options)

    def on_notify(self, message: Notify) -> None:
        """A toast takes the place of the one of its kind before."""
        for known in list(self._notifications):
            if known.severity == message.notification.severity:
                self._unnotify(known, refresh=False)

    async def use_adapter(self, adapter: str, *, strength: float | None = None) -> None:
        """Answer with `base` or `NAME/vN` from now on (`Answering.use`)."""
        await self.answering.use(adapter, strength=strength)

    def set_strength(self, strength: float) -> None:
        """Scale the effect of the version that answers; 0 is the base, 1 as it was trained."""
        self.chat.strength = strength
        self.tell(AdapterInUseChanged(self.adapter, strength))

    # opening

    def on_mount(self) -> None:
        """Paint first, then open the rest."""
        try:
            open_log(self.workspace.paths)
        except OSError as error:
            self.report(error)
        leaving.watch(self)
        self.apply_settings()
        self.call_after_refresh(self._painted)

    def _painted(self) -> None:
        if not gc.isenabled():
            gc.freeze()
            gc.enable()
        self.attempt(self._open)

    async def _open(self) -> None:
        await self._open_store()
        if self.workspace.settings.keys:
            self.attempt(self._check_keys)
        self.bridge.attach()
        try:
            await self.bridge.find_runs()
        except Exception as error:  # noqa: BLE001  whatever stands in a run's files, the host is reached
            self.report(error)
        await self.client.connect()

    async def _open_store(self) -> None:
        store = await asyncio.to_thread(lambda: self.workspace.store)
        if store.newer is not None:
            self.report(store.newer)
        await asyncio.to_thread(lambda: self.client)
        from sessions.chat import Chat

        self._chat = Chat(store, self.client)
        self._chat.sampling = self.workspace.settings.sampling
        self._chat.system = self.workspace.settings.system or None
        try:
            await self.answering.start()
        except LlamaTuiError as error:
            self.report(error)
        self.opened.set()
        self.tell(StoreOpened())
        self.answering.watch()

    async def until_open(self) -> None:
        """Wait for the store a while; where it cannot be opened, what needs it then says so."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.opened.wait(), OPENING)

    def action_use_offered(self) -> None:
        """Accept the version that is offered, from any main screen."""
        if not isinstance(self.screen, ModeScreen):
            return
        offered = self.answering.offered
        if offered is None:
            self.notify("No new version is ready.", severity="warning")
        else:
            self.attempt(self.answering.accept, offered.address)

    def action_do(self, name: str) -> None:
        """Run a command of the registry."""
        self.do(name)

    async def _check_keys(self) -> None:
        from tui import keys

        await asyncio.to_thread(keys.check, self.workspace.settings.keys)

    async def action_mode(self, mode: str) -> None:
        """Go to a main screen."""
        await self.switch_mode(mode)

    async def on_unmount(self) -> None:
        """Let the host know that this terminal is gone."""
        if "client" in self.__dict__:
            await self.client.close()

    async def action_interrupt(self) -> None:
        """Ctrl+C."""
        await leaving.interrupt(self)

    async def leave(self) -> None:
        """Leave, after asking where a run is going on."""
        await leaving.leave(self)

    def action_settings(self) -> None:
        """Open the settings."""
        self.attempt(self.show_settings)

    async def show_settings(self) -> None:
        """Show and change every setting."""
        from tui.screens.settings import SettingsScreen

        await self.push_screen(SettingsScreen())

    async def change_setting(self, key: str, value: Any) -> bool:
        """Check, save and use a setting; True where only the next host uses it. Raises SettingsError."""
        from tui.screens.settings import change

        return await change(self, key, value)

    def apply_settings(self) -> None:
        """Use the settings as they are now: theme and keys."""
        settings = self.workspace.settings
        if settings.theme in self.available_themes:
            self.theme = settings.theme
        self.set_keymap(settings.keys)

    def watch_theme(self, theme: str) -> None:
        """A theme that was chosen stays chosen."""
        if self.is_running and theme != self.workspace.settings.theme:
            self.attempt(self.change_setting, "theme", theme)

    def get_css_variables(self) -> dict[str, str]:
        """The theme's colours, with its accent as the only one."""
        self.theme_variables = with_one_accent(super().get_css_variables())
        return self.theme_variables

    # the bar tells what has changed

    def on_model_loading(self, message: ModelLoading) -> None:
        """Progress of the load."""
        self.refresh_bar()

    def on_model_ready(self, message: ModelReady) -> None:
        """The model can answer; the adapter is made ready before it is needed."""
        self.refresh_bar()
        if self.adapter != BASE:
            self.attempt(preload, self, self.adapter)

    def on_host_lost(self, message: HostLost) -> None:
        """The host has ended."""
        self.refresh_bar()

    def on_adapter_in_use_changed(self, message: AdapterInUseChanged) -> None:
        """The chat answers with another version, or at another strength."""
        self.refresh_bar()

    def on_adapters_changed(self, message: AdaptersChanged) -> None:
        """Another version may be offered."""
        if self.opened.is_set():
            self.attempt(self.answering.find_offer)

    def on_offer_changed(self, message: OfferChanged) -> None:
        """A new version is ready, or none any more."""
        self.refresh_bar()

    def on_run_event_happened(self, message: RunEventHappened) -> None:
        """A run goes on."""
        self.refresh_bar()

    def on_run_ended(self, message: RunEnded) -> None:
        """A run has ended; the Train screen shows a failure itself."""
        self.refresh_bar()
        if message.state.failure is not None and self.current_mode != "train":
            self.report(message.state.failure.error())

    def refresh_bar(self) -> None:
        """Update the top line of the open screen."""
        for bar in self.screen.query(ModeBar):
            bar.show()


def run(workspace: Workspace, model: str | None = None, adapter: str | None = None) -> int:
    """Open the app until the person leaves; returns the exit code. Raises AdapterNotFound."""
    if adapter is not None:
        workspace.registry.resolve(adapter)
    app = LlamaTuiApp(workspace, model, adapter)
    app.run()
    return app.return_code or 0
