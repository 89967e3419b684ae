"""The state of model and run in a few words, for the bar and the status line."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sessions.protocol import ModelInfo
    from sessions.training.runs import RunState


def model_details(model: ModelInfo | None) -> str:
    """How a loaded model is held; empty before it is loaded."""
    return " · ".join(part for part in (model.quantization.lower(), model.device) if part) if model else ""


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
