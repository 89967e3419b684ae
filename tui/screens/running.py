"""What keys do to the run on the train screen: start, stop and save, cancel, resume, use, compare.

Each asks the host and reports errors; everything else comes from the events of the run.
"""

from __future__ import annotations

import asyncio
from typing import ClassVar

from textual.binding import Binding, BindingType

from corpora.errors import LlamaTuiError
from sessions import launch
from sessions.protocol import BASE
from sessions.training.runs import RunState
from tui.screens.background import background
from tui.screens.mode import ModeScreen
from tui.widgets.dialogs import Confirm
from tui.widgets.train_setup import TrainSetup


class Running(ModeScreen):
    """The train screen's actions, for the run that is shown.

    `differs` is True where a setting of the next run differs from its default.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("s", "stop", "Stop and save", id="train.stop"),
        Binding("x", "cancel", "Cancel", id="train.cancel"),
        Binding("r", "resume", "Resume", id="train.resume"),
        Binding("u", "use", "Use now", id="train.use"),
        Binding("u", "none_ready", show=False),
        Binding("c", "compare", "Compare", id="train.compare"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.shown: RunState | None = None
        self.ready: str | None = None
        self.differs = False

    def follow(self, run: str) -> None:
        """Show a run from now on."""
        raise NotImplementedError

    def list_runs(self) -> object:
        """Read the list of runs anew."""
        raise NotImplementedError

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Only what can be done with the run that is shown is in the footer."""
        state = self.shown
        made = state.published if state else None
        version = self._version
        going = state is not None and not state.over
        possible = {
            "start": state is None,
            "groups": state is None,
            "defaults": state is None and self.differs,
            "gate": state is not None and state.gate is not None,
            "form": state is not None,
            "new": state is not None,
            "stop": going,
            "cancel": going,
            "resume": state is not None and state.over and state.resumable,
            "use": version is not None and version != self.llama.adapter,
            "none_ready": state is None and version is None,
            "compare": made is not None,
        }
        return possible.get(action, True)

    @background("start")
    async def on_train_setup_start_wanted(self, message: TrainSetup.StartWanted) -> None:
        """Take a snapshot and have the host train on it."""
        try:
            run = await launch.start_run(
                self.llama.workspace,
                self.llama.client,
                adapter=message.adapter,
                recipe=message.recipe,
                parent=message.parent,
                selection=message.selection,
            )
        except LlamaTuiError:
            self.list_runs()
            raise
        self.follow(run)

    @background("stop", exclusive=False)
    async def action_stop(self) -> None:
        """End the run early and publish what was trained so far."""
        await self._stop(save=True)

    @background("stop")
    async def action_cancel(self) -> None:
        """Give the run up, after a question."""
        question = "The run ends and nothing is published. To keep what was trained so far, stop and save (s) instead."
        answer = await self.app.push_screen_wait(Confirm("Cancel the run?", question, yes="Cancel it", no="Go on"))
        if answer is True:
            await self._stop(save=False)

    async def _stop(self, *, save: bool) -> None:
        if self.shown is None:
            return
        await self.llama.client.stop_run(self.shown.id, save=save)
        self.llama.notify("Stopping after this step." if save else "Cancelling after this step.", timeout=3)

    @background("start")
    async def action_resume(self) -> None:
        """Go on from the last checkpoint."""
        if self.shown is None:
            return
        await launch.resume_run(self.llama.workspace, self.llama.client, self.shown.id)
        self.follow(self.shown.id)

    @background("use")
    async def action_use(self) -> None:
        """Answer with the new version from now on."""
        if (version := self._version) is None:
            return
        await self.llama.answering.accept(version)

    def action_none_ready(self) -> None:
        """Say why nothing can be used."""
        self.llama.notify("No version is ready that is not in use already: train one first.", severity="warning")

    @property
    def _version(self) -> str | None:
        """The one that the shown run made; on the setup the one that is ready."""
        if self.shown is None:
            return self.ready
        published = self.shown.published
        # Just after the run the addresses may not have been read again; a removed version is refused with a message.
        return self.llama.answering.addresses.get(published.digest, published.adapter) if published else None

    async def action_compare(self) -> None:
        """Ask the new version and its parent side by side."""
        state = self.shown
        version = self._version
        if state is None or version is None:
            return
        from tui.screens.compare import compare_on

        lineage = await asyncio.to_thread(self.llama.workspace.registry.stored, version)
        await compare_on(self.llama, self.llama.answering.addresses.get(lineage.parent_digest, BASE), version)
