"""Training: what would be trained and how; then the panels of a run; the runs before it.

Events of runs come as messages of the bridge; panels are drawn a few times a second from one `RunState`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, ClassVar

import psutil
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.widgets import ContentSwitcher, Input, OptionList, Select
from textual.widgets.option_list import Option

from corpora.errors import LlamaTuiError
from sessions.protocol import ModelInfo
from sessions.training import preflight, runs
from sessions.training.events import WorkerStarted
from sessions.training.preflight import Estimate
from sessions.training.preview import Preview
from sessions.training.recipe import Recipe
from sessions.training.runs import RunState
from sessions.workspace import Workspace
from tui.messages import (
    AdapterInUseChanged,
    AdaptersChanged,
    CorpusChanged,
    ModelReady,
    OfferChanged,
    RunEnded,
    RunEventHappened,
    StoreOpened,
)
from tui.screens.background import background
from tui.screens.running import Running
from tui.widgets.group_panel import GroupPanel
from tui.widgets.run_panels import entry_of
from tui.widgets.run_view import RunView
from tui.widgets.train_setup import Choice, TrainSetup

if TYPE_CHECKING:
    from tui.app import LlamaTuiApp

REDRAW = 0.2
PAUSE = 0.25
NARROW = 100
NEW = "new"


class TrainScreen(Running):
    """Runs at the left; at the right the setup of a new one, or the panels of the chosen one."""

    MODE: ClassVar[str] = "train"
    CSS_PATH = "train.tcss"
    AUTO_FOCUS = "#runs"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+s", "start", "Start", priority=True, id="train.start"),
        Binding("ctrl+s", "form", priority=True, show=False),
        Binding("n", "new", "New run", id="train.new"),
        Binding("l", "list", "Runs", id="train.list"),
        Binding("g", "groups", "Groups", id="train.groups"),
        Binding("g", "gate", "Gate", id="train.gate"),
        Binding("d", "defaults", "Reset all", id="train.defaults"),
        Binding("escape", "leave_field", "Leave a field", show=False, id="train.leave"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._states: dict[str, RunState] = {}
        self._dirty = False
        self._stale = True
        self._written = 0
        self._previewed: tuple[Choice, Preview] | None = None

    def body(self) -> ComposeResult:
        """The list and the two faces of the right side."""
        with Horizontal(id="train-panes"):
            yield OptionList(id="runs", markup=False, compact=True)
            with ContentSwitcher(initial="setup", id="face"):
                yield TrainSetup(self.llama.workspace.settings.adapter, Recipe(), id="setup")
                yield RunView(id="run")

    @property
    def setup(self) -> TrainSetup:
        """The face for a new run."""
        return self.query_one(TrainSetup)

    @property
    def runs_list(self) -> OptionList:
        """New run, then all runs, the newest first."""
        return self.query_one("#runs", OptionList)

    # messages

    def on_mount(self) -> None:
        """Draw what has changed, a few times a second."""
        self.set_interval(REDRAW, self._draw_if_dirty)
        if self.llama.opened.is_set():
            self.refresh_all()

    def on_store_opened(self, message: StoreOpened) -> None:
        """The first look."""
        self.refresh_all()

    def on_screen_resume(self) -> None:
        """Count again what was changed meanwhile, here or by another program."""
        if self.llama.opened.is_set() and (self._stale or self._written != _written(self.llama)):
            self.refresh_all()

    def on_corpus_changed(self, message: CorpusChanged) -> None:
        """Something else would be trained."""
        self._stale, self._previewed = True, None
        self.setup.count_anew()
        if self.is_current:
            self.read_preview()

    def on_adapters_changed(self, message: AdaptersChanged) -> None:
        """Another version may be the one to start from."""
        self.on_corpus_changed(CorpusChanged())

    def on_adapter_in_use_changed(self, message: AdapterInUseChanged) -> None:
        """The outcome says what to do next; the next run starts from the version that answers."""
        self._dirty = True
        self._show_ready()
        self.read_preview()

    def on_offer_changed(self, message: OfferChanged) -> None:
        """A new version is ready, or none any more."""
        self._show_ready()

    def on_run_event_happened(self, message: RunEventHappened) -> None:
        """Take the state in; a run that is new here is shown at once."""
        known = message.run in self._states
        self._states[message.run] = message.state
        if not known:
            self.show_run(message.run)
            self.list_runs()
        elif isinstance(message.event, WorkerStarted):
            self._fill_list()
        if self.shown is not None and self.shown.id == message.run:
            self.shown = message.state
            self._dirty = True

    def on_run_ended(self, message: RunEnded) -> None:
        """Say at once how it ended; the next run would train something else."""
        self._states[message.state.id] = message.state
        if self.shown is not None and self.shown.id == message.state.id:
            self.shown = message.state
            self.draw()
        self.refresh_all()

    # reading

    def refresh_all(self) -> None:
        """Runs and preview anew."""
        self._stale, self._previewed = False, None
        self._written = _written(self.llama)
        self.setup.count_anew()
        self.list_runs()
        self.read_preview()

    @background("runs")
    async def list_runs(self) -> None:
        """All runs; the first look shows the one that is going on."""
        first = not self._states
        found = await asyncio.to_thread(runs.states, self.llama.workspace.paths)
        live = self.llama.bridge.runs
        self._states = {state.id: live[state.id] if state.alive and state.id in live else state for state in found}
        self._fill_list()
        self._show_ready()
        alive = next((state for state in self._states.values() if state.alive), None)
        if first and alive is not None:
            self.show_run(alive.id)

    def _fill_list(self) -> None:
        chosen = self.shown.id if self.shown else NEW
        options = [Option("+ New run", NEW), *(Option(entry_of(state), state.id) for state in self._states.values())]
        with self.prevent(OptionList.OptionHighlighted):
            self.runs_list.set_options(options)
        self._point_at(chosen)

    def _point_at(self, run: str) -> None:
        ids = [option.id for option in self.runs_list.options]
        with self.prevent(OptionList.OptionHighlighted):
            self.runs_list.highlighted = ids.index(run) if run in ids else 0

    @background("preview")
    async def read_preview(self) -> None:
        """What Start would take, once the typing pauses; then what that needs."""
        if not self.llama.opened.is_set():
            return
        setup = self.setup
        if setup.counted != setup.choice:
            setup.count_anew()
        await asyncio.sleep(PAUSE)
        choice, recipe = setup.choice, setup.recipe
        try:
            await self._read_versions()
            if setup.selecting.problem:
                setup.count_anew()
                setup.show_estimate(None)
                return
            choice = setup.choice
            found = await self._count(choice, recipe)
            setup.show_preview(found, choice)
            setup.show_estimate(
                await asyncio.to_thread(_estimate, self.llama.workspace, found, self.llama.model, recipe)
            )
        except LlamaTuiError as error:
            setup.show_preview(error, choice)
            setup.show_estimate(None)
        self.refresh_bindings()

    async def _read_versions(self) -> None:
        """The versions to start from, and the selection of the adapter's last run."""
        workspace, setup = self.llama.workspace, self.setup
        versions = [version.address for version in await asyncio.to_thread(workspace.registry.all)]
        setup.offer_parents(versions, self.llama.adapter)
        if not setup.selecting.touched:
            usual = await asyncio.to_thread(runs.selection_for, workspace.paths, setup.adapter, setup.parent_version)
            setup.selecting.show(usual)
        setup.show_changes()
        self.differs = setup.differs
        self._show_ready()

    async def _count(self, choice: Choice, recipe: Recipe) -> Preview:
        """Reads every selected reply, so it is kept while only settings change that do not choose replies."""
        if self._previewed is None or self._previewed[0] != choice:
            self._previewed = (choice, await asyncio.to_thread(_preview, self.llama, choice, recipe))
        return self._previewed[1]

    def _show_ready(self) -> None:
        """The version that is offered."""
        offered = self.llama.answering.offered
        self.ready = offered.address if offered is not None else None
        self.setup.show_ready(self.ready)
        self.refresh_bindings()

    def on_model_ready(self, message: ModelReady) -> None:
        """What a run needs can be told now."""
        self.read_preview()

    def on_train_setup_changed(self, message: TrainSetup.Changed) -> None:
        """Another name, start, selection or recipe."""
        self.differs = self.setup.differs
        self.read_preview()

    def action_leave_field(self) -> None:
        """Letters are keys again; the second time messages go, as on other screens."""
        if isinstance(self.focused, (Input, Select)):
            self.set_focus(None)
        else:
            self.action_clear_toasts()

    # showing

    def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        """The list leads, the right side follows."""
        self._choose(event.option.id)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Enter goes into the chosen one."""
        self._choose(event.option.id)
        self.remove_class("-list")
        (self.query_one("#train-query") if self.shown is None else self.query_one("#more Tabs")).focus()

    def _choose(self, run: str | None) -> None:
        if run == NEW or run is None:
            self.action_new()
        else:
            self.show_run(run)

    def show_run(self, run: str) -> None:
        """The panels of a run."""
        self.shown = self.llama.bridge.runs.get(run) or self._states.get(run)
        self.query_one("#face", ContentSwitcher).current = "run"
        self._point_at(run)
        self.draw()

    def _draw_if_dirty(self) -> None:
        if self._dirty and self.is_current:
            self.draw()

    def draw(self) -> None:
        """Every panel from the one state."""
        self._dirty = False
        state = self.shown
        if state is None:
            return
        self.query_one(RunView).show(state, self.llama.adapter)
        self.refresh_bindings()

    # moving about

    def follow(self, run: str) -> None:
        """Show a run from now on."""
        self.llama.bridge.follow(run)
        self._states.setdefault(run, RunState(run))
        self.show_run(run)
        self.runs_list.focus()
        self.list_runs()

    def action_new(self) -> None:
        """The setup of a new run."""
        self.shown = None
        self.query_one("#face", ContentSwitcher).current = "setup"
        self._point_at(NEW)
        self.refresh_bindings()

    def action_start(self) -> None:
        """Start what the setup says."""
        self.setup.start()

    def action_form(self) -> None:
        """From the panels of a run: show first what Start would take."""
        self.action_new()
        self.llama.notify("This is what would be trained; ctrl+s starts it.", timeout=4)

    @background("groups")
    async def action_groups(self) -> None:
        """Switch groups of replies on and off."""
        setup = self.setup
        if setup.selecting.problem:
            self.llama.notify(setup.selecting.problem, title="The selection cannot be read", severity="warning")
            return
        chosen = await self.app.push_screen_wait(GroupPanel(self.llama.workspace.store, setup.selecting.selection))
        if chosen is not None:
            setup.selecting.choose(chosen)

    def on_train_setup_groups_wanted(self, message: TrainSetup.GroupsWanted) -> None:
        """The button."""
        self.action_groups()

    def action_gate(self) -> None:
        """Show what the gate found."""
        self.query_one(RunView).show_tab("gate")

    def action_defaults(self) -> None:
        """Reset everything that differs from the defaults."""
        self.setup.reset()
        self.llama.notify("All settings are at their defaults.", timeout=3)

    def action_list(self) -> None:
        """Show the runs on a narrow terminal, or hide them."""
        self.toggle_class("-list")
        self.runs_list.focus()

    def on_resize(self) -> None:
        """The list and the courses fold away on a narrow or low terminal."""
        self.set_class(self.size.width < NARROW, "-narrow")
        self.set_class(self.size.height < 30, "-low")


def _written(llama: LlamaTuiApp) -> int:
    """When the corpus was last written, by any program."""
    try:
        return llama.workspace.paths.corpus.stat().st_mtime_ns
    except OSError:
        return 0


def _preview(llama: LlamaTuiApp, choice: Choice, recipe: Recipe) -> Preview:
    return runs.preview(
        llama.workspace.paths,
        llama.workspace.store,
        model=llama.model_name,
        adapter=choice.adapter,
        recipe=recipe,
        parent=choice.parent,
        selection=choice.selection,
    )


def _estimate(workspace: Workspace, preview: Preview, model: ModelInfo | None, recipe: Recipe) -> Estimate | None:
    """None before the model is known, or where nothing would be trained."""
    if model is None or not preview.new:
        return None
    speed = preflight.measured_speed(workspace.paths, workspace.model(model.name))
    free = psutil.virtual_memory().available if model.device == "cpu" else None
    return preflight.estimate(preview.size, model, recipe, speed=speed, free=free)
