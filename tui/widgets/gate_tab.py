"""What the gate found about a version: the result, then every prompt that failed. Draws a `RunState`."""

from __future__ import annotations

from textual.content import Content

from sessions.training.runs import RunState
from tui import gate_text, render

STYLES = {"": "", "good": "$text-success", "bad": "$text-warning", "dim": "dim"}
WAITING = "The new version is compared with the base and its parent when the training is done."
NONE = "This run ended before the gate."


def gate_of(state: RunState) -> Content:
    """The whole report; before it, what comes."""
    if state.gate is None:
        return Content.styled(NONE if state.over else WAITING, "dim")
    parts = [gate_text.result_of(state.gate), *map(gate_text.answer_lines, gate_text.failed_in(state.gate))]
    blocks = (Content("\n").join(render.text(text, STYLES[style]) for text, style in lines) for lines in parts)
    return Content("\n\n").join(blocks)
