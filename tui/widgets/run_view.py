"""All panels of one run: head, outcome, loss, gauges, and the tabs below them. Draws a `RunState`."""

from __future__ import annotations

import math

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.widgets import Static, TabbedContent, TabPane

from sessions.training.runs import RunState
from tui.widgets.gate_tab import gate_of
from tui.widgets.loss_plot import LossPlot
from tui.widgets.run_panels import Gauges, Outcome, RunHead, log_of, samples_of, scores_of

TABS = {"log": log_of, "gate": gate_of, "scores": scores_of, "samples": samples_of}


class RunView(Vertical):
    """Everything is drawn anew from each state; the state keeps every point."""

    def compose(self) -> ComposeResult:
        """Head and outcome, figures, tabs."""
        yield RunHead()
        yield Outcome("", markup=False)
        with Horizontal(id="figures"):
            yield LossPlot(id="loss")
            yield Gauges()
        with TabbedContent(id="more"):
            for name in TABS:
                with TabPane(name.capitalize(), id=f"tab-{name}"), VerticalScroll():
                    yield Static("", id=name, markup=False)

    @property
    def tabs(self) -> TabbedContent:
        """The tabs below the figures."""
        return self.query_one("#more", TabbedContent)

    def show(self, state: RunState, in_use: str) -> None:
        """Draw a run; `in_use` is the version that answers in the chat."""
        self.query_one(RunHead).show(state)
        self.query_one(Outcome).show(state, in_use)
        self.query_one(Gauges).show(state)
        loss = [(step.step, step.loss) for step in state.steps if math.isfinite(step.loss)]
        held_out = [(found.step, found.loss) for found in state.held_out if math.isfinite(found.loss)]
        self.query_one(LossPlot).show(loss, held_out)
        for name, content_of in TABS.items():
            self.query_one(f"#{name}", Static).update(content_of(state))
        self._offer("gate", "scores") if state.gate or not state.scores else self._offer("scores", "gate")

    def show_tab(self, name: str) -> None:
        """Go to one of the tabs; arrows scroll it."""
        self.tabs.active = f"tab-{name}"
        self.query_one(f"#tab-{name} VerticalScroll").focus()

    def on_tabbed_content_tab_activated(self, event: TabbedContent.TabActivated) -> None:
        """On a low terminal the gate takes the place of the figures."""
        event.stop()
        self.set_class(event.pane.id == "tab-gate", "-gate")

    def _offer(self, shown: str, hidden: str) -> None:
        """The gate takes the place of the scores, which runs without a gate have."""
        if self.tabs.get_tab(f"tab-{hidden}").display:
            self.tabs.show_tab(f"tab-{shown}")
            if self.tabs.active == f"tab-{hidden}":
                self.tabs.active = f"tab-{shown}"
            self.tabs.hide_tab(f"tab-{hidden}")
