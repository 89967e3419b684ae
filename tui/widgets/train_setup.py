"""Before Start: what would be trained, under which name, from where, how, and what it would take.

Is given a `Preview` and an estimate; knows nothing of the store.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.events import DescendantFocus
from textual.message import Message
from textual.widgets import Button, Input, Select, Static

from corpora.selection import Selection
from sessions.errors import LlamaTuiError
from sessions.protocol import BASE
from sessions.registry import checked_adapter
from sessions.training.preflight import Estimate
from sessions.training.preview import Preview
from sessions.training.recipe import Recipe
from tui import render
from tui.plan import Change, plan_of
from tui.train_request import target_of
from tui.widgets import selection_form
from tui.widgets.changes_list import ChangesList
from tui.widgets.field_select import FieldSelect
from tui.widgets.plan_dialog import shown
from tui.widgets.recipe_form import RecipeForm
from tui.widgets.run_panels import clock, many, memory
from tui.widgets.selection_form import SelectionForm

COUNTING = "Counting kept replies…"
UNREADABLE = "The selection cannot be read yet."
START = "Start training (ctrl+s)"
SELECTION = "selection"
HINTS = {
    **selection_form.HINTS,
    "adapter-name": ("adapter", "Name of the adapter; every run makes its next version."),
    "parent": ("start from", "The new replies are trained on top of it. By default the version that answers."),
}
PLAN_HINTS = {"import": "g selects them.", "warning": "h on Corpus (F3) lists them."}
TEACH = """Nothing is kept yet, so there is nothing to train on.

1  Chat (F2) and keep a good reply with ctrl+k, or correct one with ctrl+e.
2  Or import a file on the corpus screen (F3, then I).
3  Come back here: five kept replies are enough to see an effect."""


@dataclass(frozen=True, slots=True)
class Choice:
    """All that decides which replies a run would train on."""

    adapter: str
    parent: str
    selection: Selection
    max_length: int


class TrainSetup(VerticalScroll):
    """`adapter`, `parent_version`, `selection` and `recipe` are what Start would take."""

    DEFAULT_CSS = """
    TrainSetup {
        padding: 0 1;
        scrollbar-size-vertical: 1;
        & .what { height: auto; margin: 1 0; padding: 0 1; border-left: outer $primary; }
        & .what.-nothing { border-left: outer $warning; }
        & .line { height: 1; }
        & .label { width: 18; }
        & #adapter-name { width: 16; background: $panel; }
        & #parent { width: 34; }
        & .hint { width: 1fr; color: $text-muted; padding-left: 2; text-overflow: ellipsis; text-wrap: nowrap; }
        & .name-error { height: auto; color: $text-error; padding-left: 18; display: none; }
        & .name-error.-shown { display: block; }
        & .estimate { height: auto; margin: 1 0 0 0; padding: 0 1; border-left: outer $accent; display: none; }
        & .estimate.-shown { display: block; }
        & #start { margin: 1 0; width: 27; }
        & .meaning { dock: bottom; height: auto; background: $panel; padding: 0 1; display: none; }
        & .meaning.-shown { display: block; }
        & .ready { height: auto; margin: 0 0 1 0; padding: 0 1; border-left: outer $success; display: none; }
        & .ready.-shown { display: block; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down", "app.focus_next", "Next field", show=False),
        Binding("up", "app.focus_previous", "Previous field", show=False),
    ]

    class Changed(Message):
        """Another name, start, selection or recipe."""

    class GroupsWanted(Message):
        """The person wants to switch groups."""

    @dataclass
    class StartWanted(Message):
        """The person wants this run."""

        adapter: str
        recipe: Recipe
        parent: str
        selection: Selection

    def __init__(self, adapter: str, recipe: Recipe, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.configured = self.adapter = adapter
        self.first_recipe = recipe
        self.in_chat = BASE
        self.named = False
        self.nothing = True
        self.counted: Choice | None = None

    def compose(self) -> ComposeResult:
        """What, which replies, name and start, how, what differs, what it takes, Start."""
        yield Static(COUNTING, classes="what", markup=False)
        yield Static("", classes="ready", markup=False)
        yield SelectionForm()
        with Horizontal(classes="line"):
            yield Static("adapter", classes="label")
            yield Input(self.adapter, compact=True, id="adapter-name")
            yield Static(HINTS["adapter-name"][1], classes="hint")
        yield Static("", classes="name-error", markup=False)
        with Horizontal(classes="line"):
            yield Static("start from", classes="label")
            yield FieldSelect([(in_chat(BASE), BASE)], value=BASE, allow_blank=False, compact=True, id="parent")
            yield Static(HINTS["parent"][1], classes="hint")
        yield RecipeForm(self.first_recipe)
        yield ChangesList()
        yield Static("", classes="estimate", markup=False)
        yield Button(COUNTING, variant="primary", compact=True, id="start")
        yield Static("", classes="meaning", markup=False)

    @property
    def recipe(self) -> Recipe:
        """The recipe as the fields have it."""
        return self.query_one(RecipeForm).recipe

    @property
    def selecting(self) -> SelectionForm:
        """The fields of the selection."""
        return self.query_one(SelectionForm)

    @property
    def parent_version(self) -> str:
        """`base` or `NAME/vN`."""
        return str(self.query_one("#parent", Select).value)

    @property
    def choice(self) -> Choice:
        """What decides which replies would be trained, as the fields have it."""
        return Choice(self.adapter, self.parent_version, self.selecting.selection, self.recipe.max_length)

    @property
    def problem(self) -> str:
        """Why a run cannot be started with the fields as they are."""
        wrong_name = _wrong_name(self.query_one("#adapter-name", Input).value.strip())
        return self.query_one(RecipeForm).problem or self.selecting.problem or wrong_name

    def count_anew(self) -> None:
        """What is shown may not be what would be trained: start nothing until it is."""
        self.counted = None
        panel = self.query_one(".what", Static)
        panel.remove_class("-nothing")
        unreadable = bool(self.selecting.problem)
        panel.update(UNREADABLE if unreadable else COUNTING)
        self.query_one("#start", Button).label = START if unreadable else COUNTING

    def offer_parents(self, versions: Sequence[str], answering: str) -> None:
        """The versions that a run can continue; the one that answers in the chat is the default."""
        choice = self.query_one("#parent", Select)
        before, moved = choice.value, answering != self.in_chat
        self.in_chat = answering
        others = [each for each in (BASE, *reversed(versions)) if each != answering]
        with self.prevent(Select.Changed):
            choice.set_options([(in_chat(answering), answering), *((_version(each), each) for each in others)])
            choice.value = answering if moved or before not in others else before
        if not self.named:
            self.adapter = target_of(answering, self.configured)[0]
            with self.prevent(Input.Changed):
                self.query_one("#adapter-name", Input).value = self.adapter

    def show_preview(self, preview: Preview | LlamaTuiError, choice: Choice) -> None:
        """What would be trained by a choice, or why that cannot be told."""
        self.counted = choice
        self.query_one("#start", Button).label = START
        panel = self.query_one(".what", Static)
        self.nothing = isinstance(preview, LlamaTuiError) or not preview.new
        panel.set_class(self.nothing, "-nothing")
        if isinstance(preview, LlamaTuiError):
            panel.update(render.text(str(preview), "$text-error"))
        else:
            panel.update(told(preview, choice.adapter))

    def show_ready(self, version: str | None) -> None:
        """A version that could be used; None hides the line."""
        panel = self.query_one(".ready", Static)
        panel.set_class(version is not None, "-shown")
        name = render.line(version or "", 60)
        panel.update(Content(f"{name} is ready and not in use yet: u uses it now (esc leaves a field)."))

    def show_estimate(self, found: Estimate | None) -> None:
        """Steps, tokens, time and memory; None hides the panel."""
        panel = self.query_one(".estimate", Static)
        panel.set_class(found is not None, "-shown")
        if found is not None:
            panel.update(estimated(found))

    def show_changes(self) -> None:
        """List what differs from the defaults."""
        selection = self.selecting.selection
        chosen = [Change(SELECTION, str(selection), "all but imported replies")] if selection.narrowed else []
        self.query_one(ChangesList).show([*chosen, *self.query_one(RecipeForm).changes])

    @property
    def differs(self) -> bool:
        """True where there is anything to reset."""
        return bool(self.query_one(ChangesList).names)

    def reset(self, name: str = "") -> None:
        """Put the default into one setting, or into all that differ."""
        if name in ("", SELECTION) and self.selecting.selection.narrowed:
            self.selecting.choose(Selection())
        if name != SELECTION:
            self.query_one(RecipeForm).reset(name)

    def on_changes_list_reset_wanted(self, message: ChangesList.ResetWanted) -> None:
        """One setting."""
        message.stop()
        self.reset(message.name)

    def on_recipe_form_explained(self, message: RecipeForm.Explained) -> None:
        """Show in full what the line beside a field has no room for."""
        message.stop()
        self._explain(message.name, message.meaning)

    def on_descendant_focus(self, event: DescendantFocus) -> None:
        """The fields that are not the recipe's; others have no explanation."""
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
        self._changed()

    def on_selection_form_changed(self, message: SelectionForm.Changed) -> None:
        """Another selection."""
        message.stop()
        self._changed()

    def on_select_changed(self, event: Select.Changed) -> None:
        """Another start."""
        event.stop()
        self._changed()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Another name."""
        event.stop()
        self.named = self.named or event.value.strip() != self.adapter
        wrong = _wrong_name(event.value.strip())
        panel = self.query_one(".name-error", Static)
        panel.update(render.text(wrong))
        panel.set_class(bool(wrong), "-shown")
        if not wrong and event.value.strip() != self.adapter:
            self.adapter = event.value.strip()
            self._changed()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """Start, or groups."""
        event.stop()
        if event.button.id == "start":
            self.start()
        else:
            self.post_message(self.GroupsWanted())

    def _changed(self) -> None:
        self.show_changes()
        self.post_message(self.Changed())

    def start(self) -> None:
        """Start, where the fields are valid and what would be trained has been shown."""
        if self.problem:
            self.app.notify(self.problem, title="A setting is not valid", severity="warning")
            return
        if self.counted != self.choice:
            self.app.notify(f"{COUNTING} It can be started once that is shown.", severity="warning")
            return
        self.post_message(self.StartWanted(self.adapter, self.recipe, self.parent_version, self.selecting.selection))


def told(preview: Preview, adapter: str) -> Content:
    """A preview as it is shown above the fields."""
    if not preview.kept:
        return Content(TEACH)
    return shown(plan_of(preview, adapter, hints=PLAN_HINTS))


def estimated(found: Estimate) -> Content:
    """An estimate in words."""
    took = f"at most about {clock(found.seconds)}" if found.seconds is not None else "time unknown before a first run"
    said = (
        f"Stops when all replies are reproduced, after {many(found.steps, 'step')} at most · {took} · "
        f"{memory(found.memory)} with the base"
    )
    if found.fits:
        return Content.styled(said, "dim")
    return Content.assemble((said, "dim"), (f"\nThat may not fit. {found.advice}", "$text-warning"))


def in_chat(version: str) -> Content:
    """The version that answers, as a choice."""
    return Content.assemble(_version(version), (" · answers now", "dim"))


def _version(version: str) -> Content:
    return render.text(render.line(version, 40))


def _wrong_name(name: str) -> str:
    try:
        checked_adapter(name)
    except LlamaTuiError as error:
        return str(error)
    return ""
