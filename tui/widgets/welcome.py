"""What an empty chat shows: what this is, the first keys, which model answers."""

from __future__ import annotations

from textual.content import Content
from textual.widgets import Static

from sessions.command import command
from sessions.models.names import DEMO, STARTER
from tui import render

STEPS = (
    ("1", "Ask something below.", "enter sends"),
    ("2", "Good reply? Keep it. Nearly good? Correct it.", "ctrl+k · ctrl+e"),
    ("3", "Train an adapter on what you kept, and chat on.", "f4 or /train"),
    ("4", "Ask base and adapter side by side; vote.", "f6 or /compare"),
)


class Welcome(Static):
    """The loop in four lines, and the model."""

    def __init__(self, model: str, **options: str) -> None:
        super().__init__(content(model), markup=False, **options)  # type: ignore[arg-type]

    def say(self, model: str) -> None:
        """Show another model."""
        self.update(content(model))


def content(model: str) -> Content:
    """Return the whole text."""
    lines = [
        Content.styled("A Llama that learns from you", "bold $text-accent"),
        Content.styled("Everything you type and teach stays on this machine.", "dim"),
        Content(""),
        *(_step(*step) for step in STEPS),
        Content(""),
        Content.styled("/ lists the commands · f1 explains · ctrl+o earlier chats · ctrl+q leaves", "dim"),
    ]
    about = [Content.styled(text, "dim") for text in _about(model)]
    return Content("\n").join([*lines, *([Content("")] if len(about) > 1 else []), *about])


def _step(number: str, text: str, key: str) -> Content:
    return Content.assemble((f"{number}  ", "$text-accent"), text.ljust(50), (key, "dim"))


def _about(model: str) -> tuple[str, ...]:
    """Return lines about the model, with the command for a larger one."""
    if model == DEMO:
        return (
            "demo is a tiny model that shows the loop; it knows this program and little else.",
            f"A real one, 93 MB: {command('--model', STARTER)}",
            f"All models: {command('models', 'list')}",
        )
    if model == STARTER:
        return (
            "smollm2 is a small real model, SmolLM2-135M-Instruct: it writes well and knows little.",
            f"Larger ones: {command('models', 'list')}",
        )
    return (render.line(f"The model is {model}."),) if model else ()
