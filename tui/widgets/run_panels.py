"""The panels of a run: head with progress, gauges, log, samples, scores, and how it ended.

Each panel draws a `RunState`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

from textual.app import ComposeResult
from textual.containers import Grid, Horizontal, Vertical
from textual.content import Content
from textual.widgets import ProgressBar, Sparkline, Static

from sessions.training.events import Stepped
from sessions.training.runs import RunState
from tui import gate_text, render
from tui.verbs import progress

PHASES = {
    "prepared": ("○", "dim"),
    "running": ("▶", "$text-primary"),
    "finished": ("✓", "$text-success"),
    "stopped": ("■", "$text-warning"),
    "cancelled": ("✗", "dim"),
    "failed": ("✗", "$text-error"),
}
TREND = 60


def title_of(state: RunState) -> Content:
    """A run in one line: its mark, its version and parent, its replies, when."""
    mark, style = PHASES[state.phase]
    created = state.created
    if created is None:
        return Content.assemble((f"{mark} ", style), render.text(render.line(state.id, 40)))
    made = state.published.adapter if state.published else created.adapter
    when = time.strftime("%d %b %H:%M", time.localtime(created.time))
    about = [f" from {render.line(created.parent, 40)}", progress.replies(state), when]
    return Content.assemble(
        (f"{mark} ", style), (render.line(made, 40), "bold"), (" · ".join(part for part in about if part), "dim")
    )


def entry_of(state: RunState) -> Content:
    """A run in the two lines of a list."""
    mark, style = PHASES[state.phase]
    created = state.created
    if created is None:
        return Content.assemble((f"{mark} ", style), render.text(render.line(state.id, 28)), ("\n  damaged", "dim"))
    made = state.published.adapter if state.published else created.adapter
    when = time.strftime("%d %b %H:%M", time.localtime(created.time))
    new = f" · {created.new_replies:,} new" if created.new_replies else ""
    return Content.assemble(
        (f"{mark} ", style), (render.line(made, 28), "bold"), (f"\n  {when}{new} · {state.phase}", "dim")
    )


def clock(seconds: float) -> str:
    """`9s`, `3:07`, `1:02:03`."""
    whole = max(0, round(seconds))
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}:{minutes:02}:{rest:02}"
    return f"{minutes}:{rest:02}" if minutes else f"{rest}s"


def many(count: int, one: str, several: str = "") -> str:
    """`1 step`, `2,000 steps`."""
    return f"{count:,} {one if count == 1 else several or one + 's'}"


def memory(size: int) -> str:
    """Bytes for people."""
    return f"{size / 2**30:.1f} GB" if size >= 2**30 else f"{size / 2**20:.0f} MB"


class RunHead(Vertical):
    """What is trained, how far it is, what it is doing."""

    DEFAULT_CSS = """
    RunHead {
        height: 2; padding: 0 1;
        & > Static { height: 1; text-overflow: ellipsis; text-wrap: nowrap; }
        & > Horizontal { height: 1; }
        & ProgressBar { width: 1fr; }
        & Bar { width: 1fr; }
        & .progress { width: auto; padding-left: 1; color: $text-muted; }
    }
    """

    def compose(self) -> ComposeResult:
        """A line of words, a bar with figures."""
        yield Static("", classes="title", markup=False)
        with Horizontal():
            yield ProgressBar(total=1, show_percentage=False, show_eta=False)
            yield Static("", classes="progress", markup=False)

    def show(self, state: RunState) -> None:
        """Draw the state."""
        self.query_one(".title", Static).update(title_of(state))
        total, done = _total(state), _done(state)
        self.query_one(ProgressBar).update(total=total or (None if state.alive else 1), progress=done)
        self.query_one(".progress", Static).update(Content(_progress(state, done, total)))


class Gauges(Grid):
    """Learning rate, KL to the base (else gradient norm), speed and memory: the last value and its course."""

    DEFAULT_CSS = """
    Gauges { grid-size: 1 4; grid-rows: 1fr; padding: 0 1; }
    Gauge {
        height: 1fr;
        & > Static { height: 1; }
        & > Sparkline { height: 1fr; min-height: 1; max-height: 3; }
        & > Sparkline > .sparkline--max-color { color: $primary; }
        & > Sparkline > .sparkline--min-color { color: $primary 40%; }
    }
    """

    def compose(self) -> ComposeResult:
        """Four gauges."""
        for name in ("learning rate", "gradient norm", "tokens/s", "memory"):
            yield Gauge(name)

    def show(self, state: RunState) -> None:
        """Draw the last steps."""
        steps = state.steps
        where = "RAM" if state.device in ("", "cpu") else "GPU memory"
        rate, norm, speed, held = self.query(Gauge)
        rate.show("learning rate", _last(steps, "learning_rate", "{:.1e}"), [each.learning_rate for each in steps])
        if any(each.kl for each in steps):
            norm.show("KL to the base", _last(steps, "kl", "{:.2g}"), [each.kl for each in steps])
        else:
            norm.show("gradient norm", _last(steps, "grad_norm", "{:.3g}"), [each.grad_norm for each in steps])
        speed.show("tokens/s", _last(steps, "tokens_per_second", "{:,.0f}"), [each.tokens_per_second for each in steps])
        held.show(where, memory(steps[-1].memory) if steps else "–", [float(each.memory) for each in steps])


class Gauge(Vertical):
    """One name, one figure, one course."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.title = name

    def compose(self) -> ComposeResult:
        """Figure above, course below."""
        yield Static(self.title, markup=False)
        yield Sparkline([])

    def show(self, name: str, figure: str, values: Sequence[float]) -> None:
        """Draw the last values."""
        self.query_one(Static).update(Content.assemble((f"{name} ", "dim"), (figure, "bold")))
        self.query_one(Sparkline).data = [value for value in values[-TREND:] if math.isfinite(value)]


class Outcome(Static):
    """How a run ended and what can be done next; nothing while it runs."""

    DEFAULT_CSS = """
    Outcome {
        height: auto; margin: 0 1; padding: 0 1; display: none;
        border-left: outer $success; background: $success 10%;
        &.-shown { display: block; }
        &.-bad { border-left: outer $error; background: $error 10%; }
        &.-odd { border-left: outer $warning; background: $warning 10%; }
    }
    """

    def show(self, state: RunState, in_use: str) -> None:
        """Draw the ending, the keys named."""
        self.set_class(state.over, "-shown")
        self.set_class(state.phase == "failed", "-bad")
        self.set_class(state.phase in ("stopped", "cancelled") or bool(_against(state)), "-odd")
        if state.over:
            self.update(outcome(state, in_use))


def outcome(state: RunState, in_use: str) -> Content:
    """The ending in words, and the next steps by their keys."""
    if state.phase == "failed":
        failure = state.failure
        told = [failure.what, failure.data, failure.remedy] if failure else ["The run failed."]
        parts = [Content.styled("Failed. ", "bold"), render.text("\n".join(each for each in told if each))]
        return Content("").join([*parts, _again(state)])
    if state.phase == "cancelled":
        return Content("Cancelled; nothing was published. n starts a new run.")
    return Content("").join([_made(state, in_use), _again(state)])


def _made(state: RunState, in_use: str) -> Content:
    word = "Stopped early" if state.phase == "stopped" else "Done"
    took = f" in {clock(state.ended - state.started)}" if state.started and state.ended else ""
    if state.published is None:
        return Content(f"{word}{took}; nothing was published.")
    adapter = render.line(state.published.adapter, 60)
    said = Content.assemble((f"{word}{took}. ", "bold"), f"{adapter} is published")
    if adapter == in_use:
        said += Content(" and answers in the chat now.")
    elif against := _against(state):
        said += Content(", but is not offered: ") + render.text(render.line(against, 400), "$text-warning")
    else:
        said += Content(".")
    said += _gated(state)
    if adapter == in_use:
        return said + Content(f"\nc compares it with {_parent(state)}.")
    stay = render.line(in_use, 60)
    use = "u uses it all the same" if _against(state) else "u uses it now"
    return said + Content(f"\n{use} · c compares it with {_parent(state)} · or stay with {stay}.")


def _against(state: RunState) -> str:
    """Why the version should not be used; empty where nothing is known against it."""
    if state.gate is not None:
        return "" if state.gate.passed else " ".join(state.gate.reasons) or "The gate was not passed."
    return state.published.worse if state.published is not None else ""


def _gated(state: RunState) -> Content:
    """The counts of the gate, and the key that shows what failed."""
    if (report := state.gate) is None:
        return Content("")
    parts = [part for part in (report.summary, gate_text.kl_of(report)) if part]
    failed = gate_text.failures(report)
    shown = f"\n{many(failed, 'prompt')} failed: g shows {'it' if failed == 1 else 'them'}." if failed else ""
    return Content(f"\n{' · '.join(parts)}" if parts else "") + Content.styled(shown, "$text-warning")


def _again(state: RunState) -> Content:
    return Content(f"\nr resumes it from step {state.checkpoint_step}.") if state.resumable else Content("")


def _parent(state: RunState) -> str:
    return render.line(state.created.parent if state.created else "base", 60)


def log_of(state: RunState) -> Content:
    """Worker, selection, plan and warnings."""
    lines = []
    if state.worker is not None:
        base = f", the base {state.worker.base_from}" if state.worker.base_from else ""
        lines.append(Content.styled(f"worker {state.pid} on {state.device}{base}", "dim"))
    if trained := progress.replies(state):
        lines.append(Content(f"{trained}."))
    if state.created is not None and state.created.selection and (selected := str(state.created.selection)):
        lines.append(render.text(f"selected: {render.line(selected, 300)}"))
    if (plan := state.plan) is not None:
        rule = "until all replies are reproduced, " if plan.until_reproduced else ""
        said = f"{rule}at most {many(plan.steps, 'step')} · {plan.trained_tokens:,} of {plan.tokens:,} tokens trained"
        lines.append(Content(said))
        lines += [render.text(f"left out: {render.line(each, 300)}", "$text-warning") for each in plan.left_out]
    lines += [render.text(f"! {render.line(each, 400)}", "$text-warning") for each in state.warnings]
    if state.checkpoint_step:
        lines.append(Content.styled(f"checkpoint at step {state.checkpoint_step}", "dim"))
    return Content("\n").join(lines) if lines else Content.styled("Nothing yet.", "dim")


def samples_of(state: RunState) -> Content:
    """Replies of the adapter in training, the newest first."""
    parts = [
        Content.assemble(
            (f"step {each.step}  ", "dim"), render.text(each.prompt, "bold"), "\n", render.text(each.reply)
        )
        for each in reversed(state.samples[-20:])
    ]
    hint = "No samples. Prompts in the recipe's `samples` are answered at each evaluation."
    return Content("\n\n").join(parts) if parts else Content.styled(hint, "dim")


def scores_of(state: RunState) -> Content:
    """Loss of base, parent and new on each set; lower is better."""
    if not state.scores:
        return Content.styled("No losses of base, parent and new version.", "dim")
    head = Content.styled(f"{'loss on':<14}{'base':>9}{'parent':>9}{'new':>9}", "dim")
    lines = [
        Content.assemble(
            f"{each.subset.replace('_', ' '):<14}{each.base:>9.3f}{each.parent:>9.3f}",
            (f"{each.new:>9.3f}", "bold $text-success" if each.new <= each.parent else "bold $text-warning"),
            (f"  {many(each.examples, 'sequence')}", "dim"),
        )
        for each in state.scores
    ]
    return Content("\n").join([head, *lines])


def _total(state: RunState) -> int:
    return state.plan.steps if state.plan else 0


def _done(state: RunState) -> int:
    return state.steps[-1].step if state.steps else 0


def _progress(state: RunState, done: int, total: int) -> str:
    most = "at most " if state.plan and state.plan.until_reproduced else ""
    steps = f"step {done} of {most}{total}" if most else f"step {done}/{total}" if total else ""
    if state.over:
        return " · ".join(part for part in (state.phase, steps) if part)
    eta = progress.reproduced(state) or (f"{clock(state.steps[-1].eta)} left" if state.steps else "")
    stage = render.line(state.stage, 60) or ("waiting for a worker" if state.phase == "prepared" else "starting")
    return " · ".join(part for part in (stage, steps, eta) if part)


def _last(steps: Sequence[Stepped], name: str, form: str) -> str:
    return form.format(getattr(steps[-1], name)) if steps else "–"
