"""Every setting of a recipe with its meaning beside it, and what is wrong with a value beneath it.

Edits a `Recipe`; knows nothing of data or runs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, Vertical
from textual.events import DescendantFocus
from textual.message import Message
from textual.widgets import Collapsible, Input, Select, Static

from sessions.errors import SettingsError
from sessions.training import recipe as recipes
from sessions.training.recipe import Recipe

MAIN = (
    "rank",
    "alpha",
    "learning_rate",
    "epochs",
    "batch_size",
    "max_length",
    "replay",
    "held_out",
    "early_stopping",
    "samples",
)
CUSTOM = "changed"
NAMED = "guanaco holds the values of the Llama 2 QLoRA tutorials."
RULE = re.compile(r": (?P<field>\w+)[^:\s]*: (?P<rule>.+?)\.?$")


class RecipeForm(Vertical):
    """`recipe` is the last one that held; `problem` says why the fields as they stand do not."""

    DEFAULT_CSS = """
    RecipeForm {
        height: auto;
        & Field { height: auto; }
        & .line { height: 1; }
        & .name { width: 18; }
        & Input, & .choice { width: 16; }
        & Input { background: $panel; }
        & #field-samples Input { width: 1fr; }
        & #field-samples .help { display: none; }
        & .help { width: 1fr; color: $text-muted; padding-left: 2; text-overflow: ellipsis; text-wrap: nowrap; }
        & .wrong { display: none; color: $text-error; padding-left: 18; height: auto; }
        & Field.-wrong .wrong { display: block; }
        & Field.-wrong Input { background: $error 30%; }
        & Collapsible { border: none; padding: 0; margin: 0; background: $background; }
        & Contents { padding: 0; }
    }
    """
    BINDINGS = [
        Binding("down", "app.focus_next", "Next field", show=False),
        Binding("up", "app.focus_previous", "Previous field", show=False),
    ]

    @dataclass
    class Explained(Message):
        """Another field has the focus; what it means."""

        name: str
        meaning: str

    @dataclass
    class Changed(Message):
        """Another recipe that holds, or a field that does not."""

        recipe: Recipe
        problem: str

    def __init__(self, recipe: Recipe, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.recipe = recipe
        self.problem = ""

    def compose(self) -> ComposeResult:
        """The chooser, the main fields, the others folded away."""
        names = [(name, name) for name in recipes.RECIPES] + [(CUSTOM, CUSTOM)]
        with Horizontal(classes="line"):
            yield Static("recipe", classes="name")
            yield Select(names, allow_blank=False, value="default", compact=True, id="recipe-name", classes="choice")
            yield Static(NAMED, classes="help")
        yield from (Field(name, getattr(self.recipe, name)) for name in MAIN)
        with Collapsible(title="More settings", collapsed=True):
            yield from (
                Field(name, getattr(self.recipe, name)) for name in Recipe.__struct_fields__ if name not in MAIN
            )

    def show(self, recipe: Recipe) -> None:
        """Put a recipe into the fields."""
        self.recipe, self.problem = recipe, ""
        with self.prevent(Input.Changed, Select.Changed):
            for field in self.query(Field):
                field.show(getattr(recipe, field.setting))
            self.query_one("#recipe-name", Select).value = _name_of(recipe)

    def on_descendant_focus(self, event: DescendantFocus) -> None:
        """Say in full what the field means."""
        for node in event.widget.ancestors:
            if isinstance(node, Field):
                self.post_message(self.Explained(node.setting.replace("_", " "), recipes.documentation()[node.setting]))
        if event.widget.id == "recipe-name":
            self.post_message(self.Explained("recipe", NAMED))

    def on_select_changed(self, event: Select.Changed) -> None:
        """A recipe by name fills the fields; another choice is a field like the others."""
        event.stop()
        if event.select.id != "recipe-name":
            self._read()
        elif event.value in recipes.RECIPES and recipes.RECIPES[str(event.value)] != self.recipe:
            self.show(recipes.RECIPES[str(event.value)])
            self.post_message(self.Changed(self.recipe, ""))

    def on_input_changed(self, event: Input.Changed) -> None:
        """Each value is looked at as it is typed."""
        event.stop()
        self._read()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter goes on to the next field."""
        event.stop()
        self.screen.focus_next()

    def _read(self) -> None:
        values = {field.setting: field.value for field in self.query(Field)}
        wrong = {name: why for name, value in values.items() if (why := _wrong(name, value))}
        try:
            if not wrong:
                self.recipe = recipes.changed(Recipe(), **values)
        except SettingsError as error:
            wrong["batch_size"] = error.what
        for field in self.query(Field):
            field.say_wrong(wrong.get(field.setting, ""))
        self.problem = next(iter(wrong.values()), "")
        with self.prevent(Select.Changed):
            self.query_one("#recipe-name", Select).value = CUSTOM if wrong else _name_of(self.recipe)
        self.post_message(self.Changed(self.recipe, self.problem))


class Field(Vertical):
    """One setting: name, value, meaning; beneath it what is wrong."""

    def __init__(self, setting: str, value: Any) -> None:
        super().__init__(id=f"field-{setting}")
        self.setting = setting
        self.initial = value

    def compose(self) -> ComposeResult:
        """A choice where the values are given, else a line of text."""
        with Horizontal(classes="line"):
            yield Static(self.setting.replace("_", " "), classes="name", markup=False)
            options = _options(self.setting)
            if options:
                value = _text(self.initial)
                yield Select(
                    [(each, each) for each in options], allow_blank=False, value=value, compact=True, classes="choice"
                )
            else:
                yield Input(_text(self.initial), compact=True)
            yield Static(recipes.documentation()[self.setting], classes="help", markup=False)
        yield Static("", classes="wrong", markup=False)

    @property
    def value(self) -> Any:
        """What stands in the field, as `recipes.changed` reads it."""
        choice = self.query(Select)
        text = str(choice.first().value) if choice else self.query_one(Input).value.strip()
        if self.setting == "samples":
            return tuple(part.strip() for part in text.split("|") if part.strip())
        return text

    def show(self, value: Any) -> None:
        """Write a value."""
        for choice in self.query(Select):
            choice.value = _text(value)
        for line in self.query(Input):
            line.value = _text(value)
        self.say_wrong("")

    def say_wrong(self, why: str) -> None:
        """Say what is wrong with the value; nothing takes it away."""
        self.set_class(bool(why), "-wrong")
        self.query_one(".wrong", Static).update(why)


def _wrong(name: str, value: Any) -> str:
    """Why a value will not do for a field by itself, in words; empty where it will."""
    try:
        recipes.changed(Recipe(), **{name: value})
    except SettingsError as error:
        found = RULE.search(error.what)
        return f"{found['rule'][:1].upper()}{found['rule'][1:]}." if found and found["field"] == name else ""
    return ""


def _options(name: str) -> tuple[str, ...]:
    kind = get_type_hints(Recipe)[name]
    if kind is bool:
        return ("yes", "no")
    return tuple(get_args(kind)) if get_origin(kind) is Literal else ()


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return " | ".join(value) if any(" " in part for part in value) else ", ".join(value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _name_of(recipe: Recipe) -> str:
    return next((name for name, known in recipes.RECIPES.items() if known == recipe), CUSTOM)


def changes_of(recipe: Recipe) -> str:
    """The fields that differ from the default, in one line."""
    default, values = msgspec.structs.asdict(Recipe()), msgspec.structs.asdict(recipe)
    return ", ".join(f"{name} {_text(value)}" for name, value in values.items() if value != default[name])
