"""Before Start: what would be trained, under which name, from where, how, and what it would take.

Is given a `Preview` and an estimate in words; knows nothing of the store.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from textual.app import ComposeResult
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.events import DescendantFocus
from textual.message import Message
from textual.widgets import Button, Input, Select, Static

from sessions.errors import LlamaTuiError
from sessions.registry import checked_adapter
from sessions.training.preflight import Estimate
from sessions.training.preview import Preview
from sessions.training.recipe import Recipe
from tui import render
from tui.widgets.recipe_form import RecipeForm
from tui.widgets.run_panels import clock, many, memory

CURRENT = "current"
PROBLEMS = 6
COUNTING = "Counting what is kept…"
START = "Start training (ctrl+s)"
HINTS = {
    "adapter-name": ("adapter", "Name of the adapter; every run makes its next version."),
    "parent": ("start from", "What is new is trained on top of it."),
}
TEACH = """Nothing is kept yet, so there is nothing to learn from.

1  Chat (F2) and keep a good reply with ctrl+k, or correct one with ctrl+e.
2  Or import a file on the corpus screen (F3, then I).
3  Come back here: five kept exchanges are enough to see an effect."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What decides which rows a run would take; `parent` None is the version in use."""

    adapter: str
    parent: str | None
    replay: float
    seed: int


class TrainSetup(VerticalScroll):
    """`adapter`, `parent` and `recipe` are what Start would take."""

    DEFAULT_CSS = """
    TrainSetup {
        padding: 0 1;
        scrollbar-size-vertical: 1;
        & .what { height: auto; margin: 1 0; padding: 0 1; border-left: outer $primary; }
        & .what.-nothing { border-left: outer $warning; }
        & .line { height: 1; }
        & .label { width: 18; }
        & #adapter-name { width: 16; background: $panel; }
        & #parent { width: 30; }
        & .hint { width: 1fr; color: $text-muted; padding-left: 2; text-overflow: ellipsis; text-wrap: nowrap; }
        & .name-error { height: auto; color: $text-error; padding-left: 18; display: none; }
        & .name-error.-shown { display: block; }
        & .estimate { height: auto; margin: 1 0; padding: 0 1; border-left: outer $accent; display: none; }
        & .estimate.-shown { display: block; }
        & #start { margin: 1 0; width: 27; }
        & .meaning { dock: bottom; height: auto; background: $panel; padding: 0 1; display: none; }
        & .meaning.-shown { display: block; }
        & .ready { height: auto; margin: 0 0 1 0; padding: 0 1; border-left: outer $success; display: none; }
        & .ready.-shown { display: block; }
    }
    """

    class Changed(Message):
        """Name, start or recipe is another one."""

    @dataclass
    class StartWanted(Message):
        """The person wants this run."""

        adapter: str
        recipe: Recipe
        parent: str | None

    def __init__(self, adapter: str, recipe: Recipe, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.adapter = adapter
        self.first_recipe = recipe
        self.nothing = True
        self.counted: Choice | None = None

    def compose(self) -> ComposeResult:
        """What, name and start, how, what it takes, Start."""
        yield Static(COUNTING, classes="what", markup=False)
        yield Static("", classes="ready", markup=False)
        with Horizontal(classes="line"):
            yield Static("adapter", classes="label")
            yield Input(self.adapter, compact=True, id="adapter-name")
            yield Static(HINTS["adapter-name"][1], classes="hint")
        yield Static("", classes="name-error", markup=False)
        with Horizontal(classes="line"):
            yield Static("start from", classes="label")
            yield Select([("the version in use", CURRENT)], value=CURRENT, allow_blank=False, compact=True, id="parent")
            yield Static(HINTS["parent"][1], classes="hint")
        yield RecipeForm(self.first_recipe)
        yield Static("", classes="estimate", markup=False)
        yield Button(COUNTING, variant="primary", compact=True, id="start")
        yield Static("", classes="meaning", markup=False)

    @property
    def recipe(self) -> Recipe:
        """The recipe as the fields have it."""
        return self.query_one(RecipeForm).recipe

    @property
    def parent_version(self) -> str | None:
        """`base`, `NAME/vN`, or None for the version in use."""
        value = self.query_one("#parent", Select).value
        return None if value == CURRENT else str(value)

    @property
    def choice(self) -> Choice:
        """What decides which rows would be trained, as the fields have it."""
        return Choice(self.adapter, self.parent_version, 1e9, self.recipe.seed)

    def count_anew(self) -> None:
        """What is shown may not be what would be trained: start nothing until it is."""
        self.counted = None
        panel = self.query_one(".what", Static)
        panel.remove_class("-nothing")
        panel.update(COUNTING)
        self.query_one("#start", Button).label = COUNTING

    def offer_parents(self, versions: Sequence[str]) -> None:
        """The versions that a run can continue."""
        choice = self.query_one("#parent", Select)
        before = choice.value
        options = [("the version in use", CURRENT), ("base", "base")]
        with self.prevent(Select.Changed):
            choice.set_options([*options, *((render.text(render.line(each, 40)), each) for each in versions)])
            choice.value = before if before in ("base", *versions) else CURRENT

    def show_preview(self, preview: Preview | LlamaTuiError, choice: Choice, replies: int | None = None) -> None:
        """What would be trained by a choice, or why that cannot be told; `replies` as `told` takes them."""
        self.counted = choice
        self.query_one("#start", Button).label = START
        panel = self.query_one(".what", Static)
        self.nothing = isinstance(preview, LlamaTuiError) or preview.new_rows == 0
        panel.set_class(self.nothing, "-nothing")
        if isinstance(preview, LlamaTuiError):
            panel.update(render.text(str(preview), "$text-error"))
        else:
            panel.update(told(preview, choice.adapter, replies))

    def show_ready(self, version: str | None) -> None:
        """A version that could be used; None takes the line away."""
        panel = self.query_one(".ready", Static)
        panel.set_class(version is not None, "-shown")
        name = render.line(version or "", 60)
        panel.update(Content(f"{name} is ready and not in use yet: u uses it now (esc leaves a field)."))

    def show_estimate(self, found: Estimate | None) -> None:
        """Steps, tokens, time and memory; None takes the panel away."""
        panel = self.query_one(".estimate", Static)
        panel.set_class(found is not None, "-shown")
        if found is not None:
            panel.update(estimated(found))

    def on_recipe_form_explained(self, message: RecipeForm.Explained) -> None:
        """The whole of what the line beside a field has no room for."""
        message.stop()
        self._explain(message.name, message.meaning)

    def on_descendant_focus(self, event: DescendantFocus) -> None:
        """The fields that are not the recipe's; Start needs no words."""
        if event.widget.id in HINTS:
            self._explain(*HINTS[event.widget.id])
        elif event.widget.id == "start":
            self._explain("", "")

    def _explain(self, name: str, meaning: str) -> None:
        panel = self.query_one(".meaning", Static)
        panel.set_class(bool(meaning), "-shown")
        panel.update(Content.assemble((f"{name}  ", "bold"), meaning))

    def on_recipe_form_changed(self, message: RecipeForm.Changed) -> None:
        """Other settings."""
        message.stop()
        self.post_message(self.Changed())

    def on_select_changed(self, event: Select.Changed) -> None:
        """Another start."""
        event.stop()
        self.post_message(self.Changed())

    def on_input_changed(self, event: Input.Changed) -> None:
        """Another name."""
        event.stop()
        wrong = _wrong_name(event.value.strip())
        told = self.query_one(".name-error", Static)
        told.update(render.text(wrong))
        told.set_class(bool(wrong), "-shown")
        if not wrong:
            self.adapter = event.value.strip()
            self.post_message(self.Changed())

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """Start."""
        event.stop()
        self.start()

    def start(self) -> None:
        """Start, where the fields hold and what would be trained has been shown."""
        problem = self.query_one(RecipeForm).problem or _wrong_name(
            self.query_one("#adapter-name", Input).value.strip()
        )
        if problem:
            self.app.notify(problem, title="A setting does not hold", severity="warning")
            return
        if self.counted != self.choice:
            self.app.notify(f"{COUNTING} It can be started once that is shown.", severity="warning")
            return
        self.post_message(self.StartWanted(self.adapter, self.recipe, self.parent_version))


def told(preview: Preview, adapter: str, replies: int | None = None) -> Content:
    """A preview in words; `replies` counts the kept ones in its new rows where a row may hold several."""
    if not preview.rows and preview.parent == "base":
        return Content(TEACH)
    name, parent = render.line(adapter, 40), render.line(preview.parent, 60)
    parts = [
        Content.assemble((_new(preview.new_rows, replies), "bold"), f" and {preview.replayed_rows:,} taught before"),
        Content(f", on top of {parent}." if parent != "base" else ", from the base: the first of its line."),
    ]
    if not preview.new_rows:
        parts.append(
            Content.styled(f"\nAll that is kept was taught to {parent} already. Keep or correct more.", "$text-warning")
        )
    else:
        parts.append(Content.styled(f"\nPublished as the next version of {name}; the chat goes on meanwhile.", "dim"))
    shown = [
        render.text(f"\nleft out: {render.line(each, 300)}", "$text-warning") for each in preview.problems[:PROBLEMS]
    ]
    if preview.warning:
        parts.append(Content.styled(f"\n{preview.warning} h on Corpus (F3) lists them.", "$text-warning"))
    if len(preview.problems) > PROBLEMS:
        shown.append(
            Content.styled(f"\n… and {len(preview.problems) - PROBLEMS} more that cannot be trained", "$text-warning")
        )
    return Content("").join([*parts, *shown])


def _new(rows: int, replies: int | None) -> str:
    """`5 new`, or `1 chat, 3 replies new` where chats hold several kept replies."""
    if replies is None or replies == rows:
        return f"{rows:,} new"
    return f"{many(rows, 'chat')}, {many(replies, 'reply', 'replies')} new"


def estimated(found: Estimate) -> Content:
    """An estimate in words."""
    time = f"about {clock(found.seconds)}" if found.seconds is not None else "time unknown before a first run"
    plan = found.schedule
    said = (
        f"About {many(found.steps, 'step')} of {many(plan.batch, 'row')}, {plan.epochs:.3g} epochs · "
        f"{many(found.tokens, 'token')} · "
        f"{time} · {memory(found.memory)} with the base"
    )
    if found.fits:
        return Content.styled(said, "dim")
    return Content.assemble((said, "dim"), (f"\nThat may not fit. {found.advice}", "$text-warning"))


def _wrong_name(name: str) -> str:
    try:
        checked_adapter(name)
    except LlamaTuiError as error:
        return str(error)
    return ""
