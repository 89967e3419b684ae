"""The state of model and run in a few words, for the bar and the status line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sessions.protocol import BASE

if TYPE_CHECKING:
    from sessions.protocol import ModelInfo, Preparing
    from sessions.training.runs import RunState


def model_details(model: ModelInfo | None) -> str:
    """How a loaded model is held and computed; empty before it is loaded."""
    if model is None:
        return ""
    held = size(model.memory) if model.memory else ""
    parts = (model.quantization.lower(), model.device, held, "graph" if model.compiled else "")
    return " · ".join(part for part in parts if part)


def answers(adapter: str, strength: float) -> str:
    """The version that answers, and its strength where that is not 1: `mine/v3 x0.7`."""
    return adapter if adapter == BASE or strength == 1 else f"{adapter} x{strength:g}"


def size(count: float) -> str:
    """Bytes as `640 MB` or `3.8 GB`."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def anchors_share(state: Preparing | None) -> str:
    """Return how many anchors are recorded while others are being recorded; else nothing."""
    if state is None or not state.active or state.done >= state.total:
        return ""
    return f"anchors {state.done:,} of {state.total:,}"


def anchors_in_words(state: Preparing | None) -> str:
    """Return the progress of the anchors, and why they are not recorded now; nothing where all are."""
    if state is None or (state.failure is None and state.done >= state.total):
        return ""
    recorded = f"{state.done:,} of {state.total:,} recorded" if state.total else ""
    reason = state.failure.error() if state.failure else "" if state.active else "paused during the run"
    return " · ".join(part for part in (recorded, str(reason)) if part)


def run_share(run: RunState | None) -> str:
    """How far a run is; empty where none is going on."""
    if run is None:
        return ""
    if run.plan is None or not run.steps:
        return f"▶ {run.stage.lower() or 'training'}"
    return f"▶ {run.steps[-1].step / max(1, run.plan.steps):.0%}"


def run_in_words(run: RunState | None) -> str:
    """How far a run is, how well it learns, how long it takes; empty where none is going on."""
    if run is None or run.plan is None or not run.steps:
        return run_share(run)
    step = run.steps[-1]
    left = f"{int(step.eta) // 60}:{int(step.eta) % 60:02d} left"
    return f"▶ {step.step}/{run.plan.steps} · loss {step.loss:.2f} · {left}"
