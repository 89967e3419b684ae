"""A run in words: one line while it is active, one when it is over. Pure functions over `RunState`."""

from __future__ import annotations

from sessions.training.runs import RunState


def duration(seconds: float) -> str:
    """`42 s`, `3 min 05 s`, `2 h 10 min`."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def going(state: RunState) -> str:
    """What a run is doing now."""
    if not state.steps:
        return f"{state.id}: {state.stage or state.phase}"
    step = state.steps[-1]
    planned = f"/{state.plan.steps}" if state.plan else ""
    held_out = f", held-out {state.held_out[-1].loss:.3f}" if state.held_out else ""
    left = f", {duration(step.eta)} left" if not reproduced(state) else ""
    parts = [f"loss {step.loss:.3f}{held_out}", kl(state), reproduced(state), f"{step.tokens_per_second:.0f} tokens/s"]
    return f"{state.id}: step {step.step}{planned}, {', '.join(part for part in parts if part)}{left}"


def kl(state: RunState) -> str:
    """The last divergence from the base on anchors; empty where none was measured."""
    last = state.steps[-1].kl if state.steps else 0.0
    return f"KL {last:.2g}" if last else ""


def reproduced(state: RunState) -> str:
    """How many replies are reproduced, for a run that stops when all are; empty for others."""
    if state.plan is None or not state.plan.until_reproduced or not state.steps:
        return ""
    return f"{state.steps[-1].reproduced:,} of {state.plan.examples:,} reproduced"


def short(state: RunState) -> str:
    """The same for a toolbar."""
    if not state.steps or not state.plan:
        return f"training: {state.stage or state.phase}"
    step = state.steps[-1]
    rest = reproduced(state) or f"{duration(step.eta)} left"
    return f"training {step.step}/{state.plan.steps}, loss {step.loss:.2f}, {rest}"


def ended(state: RunState) -> str:
    """How a run came out."""
    published = f" {state.published.adapter} is published." if state.published else " Nothing was published."
    took = f" after {duration(state.ended - state.started)}" if state.ended and state.started else ""
    return f"Run {state.id} {state.phase}{took}.{published}"


def figures(state: RunState) -> str:
    """The last losses; those of base, parent and new version where the gate did not run."""
    parts = [f"loss {state.steps[-1].loss:.3f}"] if state.steps else []
    parts += [f"held-out {state.held_out[-1].loss:.3f}"] if state.held_out else []
    if state.gate is None:
        parts += [
            f"{score.subset}: base {score.base:.3f}, parent {score.parent:.3f}, new {score.new:.3f}"
            for score in state.scores
        ]
    return " · ".join(parts)


def replies(state: RunState) -> str:
    """`5 new replies, 12 of earlier runs`; empty for a run that did not count them."""
    created = state.created
    if created is None or not created.new_replies:
        return ""
    again = f", {created.replayed_replies:,} of earlier runs" if created.replayed_replies else ""
    return f"{created.new_replies:,} new {'reply' if created.new_replies == 1 else 'replies'}{again}"
