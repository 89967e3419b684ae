"""Training: what would be trained and how; then the panels of a run; the runs before it.

Runs are heard through the bridge's messages; panels are drawn a few times a second from one `RunState`,
which keeps every point. Knows nothing of how a run is trained.
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass
from typing import ClassVar

import psutil
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import ContentSwitcher, OptionList, Static, TabbedContent, TabPane
from textual.widgets.option_list import Option

from corpora.errors import LlamaTuiError
from sessions.protocol import ModelInfo
from sessions.training import preflight, runs
from sessions.training.preflight import Estimate
from sessions.training.recipe import Recipe, changed
from sessions.training.runs import Preview, RunState
from sessions.workspace import Workspace
from tui.messages import (
    AdapterInUseChanged,
    AdaptersChanged,
    CorpusChanged,
    ModelReady,
    RunEnded,
    RunEventHappened,
    StoreOpened,
)
from tui.screens.background import background
from tui.screens.running import Running
from tui.widgets.loss_plot import LossPlot
from tui.widgets.run_panels import Gauges, Outcome, RunHead, entry_of, log_of, samples_of, scores_of
from tui.widgets.train_setup import TrainSetup

REDRAW = 0.2
PAUSE = 0.25
NARROW = 100
NEW = "new"


@dataclass(frozen=True, slots=True)
class Plan:
    """What Start would begin with."""

    adapter: str
    recipe: Recipe
    parent: str | None


class TrainScreen(Running):
    """Runs at the left; at the right the setup of a new one, or the panels of the chosen one."""

    MODE: ClassVar[str] = "train"
    CSS_PATH = "train.tcss"
    AUTO_FOCUS = "#runs"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+s", "start", "Start", priority=True, id="train.start"),
        Binding("n", "new", "New run", id="train.new"),
        Binding("l", "list", "Runs", id="train.list"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._states: dict[str, RunState] = {}
        self._dirty = False
        self._stale = True
        self._previewed: tuple[Plan, Preview] | None = None

    def body(self) -> ComposeResult:
        """The list and the two faces of the right side."""
        with Horizontal(id="train-panes"):
            yield OptionList(id="runs", markup=False, compact=True)
            with ContentSwitcher(initial="setup", id="face"):
                yield TrainSetup(self.llama.workspace.settings.adapter, Recipe(), id="setup")
                with Vertical(id="run"):
                    yield RunHead()
                    yield Outcome("", markup=False)
                    with Horizontal(id="figures"):
                        yield LossPlot(id="loss")
                        yield Gauges()
                    with TabbedContent(id="more"):
                        for name in ("Log", "Scores", "Samples"):
                            with TabPane(name, id=f"tab-{name.lower()}"), VerticalScroll():
                                yield Static("", id=name.lower(), markup=False)

    @property
    def setup(self) -> TrainSetup:
        """The face for a new run."""
        return self.query_one(TrainSetup)

    @property
    def runs_list(self) -> OptionList:
        """New run, then all runs, the newest first."""
        return self.query_one("#runs", OptionList)

    # hearing

    def on_mount(self) -> None:
        """Draw what has changed, a few times a second."""
        self.set_interval(REDRAW, self._draw_if_dirty)
        if self.llama.opened.is_set():
            self.refresh_all()

    def on_store_opened(self, message: StoreOpened) -> None:
        """The first look."""
        self.refresh_all()

    def on_screen_resume(self) -> None:
        """Catch up with what was kept meanwhile."""
        if self._stale and self.llama.opened.is_set():
            self.refresh_all()

    def on_corpus_changed(self, message: CorpusChanged) -> None:
        """Something else would be trained."""
        self._stale, self._previewed = True, None
        if self.is_current:
            self.read_preview()

    def on_adapters_changed(self, message: AdaptersChanged) -> None:
        """Another version may be the one to start from."""
        self.on_corpus_changed(CorpusChanged())

    def on_adapter_in_use_changed(self, message: AdapterInUseChanged) -> None:
        """The outcome says what to do next."""
        self._dirty = True

    def on_run_event_happened(self, message: RunEventHappened) -> None:
        """Take the state in; a run that is new here is shown at once."""
        known = message.run in self._states
        self._states[message.run] = message.state
        if not known:
            self.show_run(message.run)
            self.list_runs()
        if self.shown is not None and self.shown.id == message.run:
            self.shown = message.state
            self._dirty = True

    def on_run_ended(self, message: RunEnded) -> None:
        """Say at once how it ended; the next run would train something else."""
        self._states[message.state.id] = message.state
        if self.shown is not None and self.shown.id == message.state.id:
            self.shown = message.state
            self.draw()
        self._previewed = None
        self.list_runs()
        self.read_preview()

    # looking

    def refresh_all(self) -> None:
        """Runs and preview anew."""
        self._stale, self._previewed = False, None
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
        await asyncio.sleep(PAUSE)
        setup, workspace = self.setup, self.llama.workspace
        plan = Plan(setup.adapter, setup.recipe, setup.parent_version)
        try:
            versions = await asyncio.to_thread(workspace.registry.all)
            setup.offer_parents([version.address for version in versions])
            preview = await self._preview(plan)
            setup.show_preview(preview)
            setup.show_estimate(await asyncio.to_thread(_estimate, workspace, preview, self.llama.model, plan.recipe))
        except LlamaTuiError as error:
            setup.show_preview(error)
            setup.show_estimate(None)

    async def _preview(self, plan: Plan) -> Preview:
        """Reads every kept exchange, so it is kept while only settings change that do not choose rows."""
        rows = Plan(plan.adapter, changed(Recipe(), replay=plan.recipe.replay, seed=plan.recipe.seed), plan.parent)
        if self._previewed is None or self._previewed[0] != rows:
            self._previewed = (rows, await asyncio.to_thread(_preview, self.llama.workspace, plan))
        return self._previewed[1]

    def on_model_ready(self, message: ModelReady) -> None:
        """What a run needs can be told now."""
        self.read_preview()

    def on_train_setup_changed(self, message: TrainSetup.Changed) -> None:
        """Another name, start or recipe."""
        self.read_preview()

    # showing

    def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        """The list leads, the right side follows."""
        self._choose(event.option.id)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Enter goes into the chosen one."""
        self._choose(event.option.id)
        self.remove_class("-list")
        (self.query_one("#field-rank Input") if self.shown is None else self.query_one("#more Tabs")).focus()

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
        self.query_one(RunHead).show(state)
        self.query_one(Outcome).show(state, self.llama.adapter)
        self.query_one(Gauges).show(state)
        loss = [(step.step, step.loss) for step in state.steps if math.isfinite(step.loss)]
        held_out = [(found.step, found.loss) for found in state.held_out if math.isfinite(found.loss)]
        self.query_one(LossPlot).show(loss, held_out)
        for name, content in (("log", log_of(state)), ("scores", scores_of(state)), ("samples", samples_of(state))):
            self._put(name, content)
        self.refresh_bindings()

    def _put(self, name: str, content: Content) -> None:
        self.query_one(f"#{name}", Static).update(content)

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

    def action_list(self) -> None:
        """Show the runs on a narrow terminal, or hide them."""
        self.toggle_class("-list")
        self.runs_list.focus()

    def on_resize(self) -> None:
        """The list and the courses fold away on a narrow or low terminal."""
        self.set_class(self.size.width < NARROW, "-narrow")
        self.set_class(self.size.height < 30, "-low")


def _preview(workspace: Workspace, plan: Plan) -> Preview:
    return runs.preview(workspace.paths, workspace.store, adapter=plan.adapter, recipe=plan.recipe, parent=plan.parent)


def _estimate(workspace: Workspace, preview: Preview, model: ModelInfo | None, recipe: Recipe) -> Estimate | None:
    """None before the model is known, or where nothing would be trained."""
    if model is None or not preview.rows:
        return None
    speed = preflight.measured_speed(workspace.paths, workspace.model(model.name))
    free = psutil.virtual_memory().available if model.device == "cpu" else None
    return preflight.estimate(preview, model, recipe, speed=speed, free=free)
