"""Every setting of a recipe with its meaning beside it, and what is wrong with a value below it.

Edits a `Recipe`; knows nothing of data or runs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin, get_type_hints

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, Vertical
from textual.events import DescendantFocus
from textual.message import Message
from textual.widgets import Collapsible, Input, Select, Static

from sessions.errors import SettingsError
from sessions.training import recipe as recipes
from sessions.training.recipe import Recipe
from tui.plan import Change, value_text
from tui.widgets.field_select import FieldSelect

FIRST = ("hold",)
"""What a person sets; all else is folded away."""
CUSTOM = "changed"
NAMED = "guanaco holds the values of the Llama 2 QLoRA tutorials."
RULE = re.compile(r": (?P<field>\w+)[^:\s]*: (?P<rule>.+?)\.?$")


class RecipeForm(Vertical):
    """`recipe` is the last valid one; `problem` says why the fields as they are now are not valid."""

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
    BINDINGS = [Binding("ctrl+r", "reset", "Reset this setting", id="train.reset-field")]

    @dataclass
    class Explained(Message):
        """Another field has the focus; its meaning."""

        name: str
        meaning: str

    @dataclass
    class Changed(Message):
        """Another valid recipe, or a field that is not valid."""

        recipe: Recipe
        problem: str

    def __init__(self, recipe: Recipe, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.recipe = recipe
        self.problem = ""

    def compose(self) -> ComposeResult:
        """The first fields; the recipe by name and all other fields folded away."""
        names = [(name, name) for name in recipes.RECIPES] + [(CUSTOM, CUSTOM)]
        yield from (Field(name, getattr(self.recipe, name)) for name in FIRST)
        with Collapsible(title="Advanced", collapsed=True, id="advanced"):
            with Horizontal(classes="line"):
                yield Static("recipe", classes="name")
                yield FieldSelect(
                    names, allow_blank=False, value="default", compact=True, id="recipe-name", classes="choice"
                )
                yield Static(NAMED, classes="help")
            yield from (
                Field(name, getattr(self.recipe, name)) for name in Recipe.__struct_fields__ if name not in FIRST
            )

    @property
    def changes(self) -> list[Change]:
        """The fields that differ from the default, invalid ones too."""
        return [field.change for field in self.query(Field) if _differs(field.setting, field.value)]

    def reset(self, name: str = "") -> None:
        """Put the default into one field, or into all of them."""
        for field in self.query(Field):
            if name in ("", field.change.name):
                with self.prevent(Input.Changed, Select.Changed):
                    field.show(getattr(Recipe(), field.setting))
        self._read()

    def action_reset(self) -> None:
        """Reset the field with the focus."""
        focused = self.screen.focused
        for node in focused.ancestors if focused is not None else ():
            if isinstance(node, Field):
                self.reset(node.change.name)

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
        elif event.value in recipes.RECIPES and (self.problem or recipes.RECIPES[str(event.value)] != self.recipe):
            self.show(recipes.RECIPES[str(event.value)])
            self.post_message(self.Changed(self.recipe, ""))

    def on_input_changed(self, event: Input.Changed) -> None:
        """Each value is checked as it is typed; the first value of a field is no change."""
        event.stop()
        field = next(node for node in event.input.ancestors if isinstance(node, Field))
        if self.problem or event.value != value_text(getattr(self.recipe, field.setting)):
            self._read()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter goes to the next field."""
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
    """One setting: name, value, meaning; below it what is wrong."""

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
                value = value_text(self.initial)
                yield FieldSelect(
                    [(each, each) for each in options], allow_blank=False, value=value, compact=True, classes="choice"
                )
            else:
                yield Input(value_text(self.initial), compact=True)
            yield Static(recipes.documentation()[self.setting], classes="help", markup=False)
        yield Static("", classes="wrong", markup=False)

    @property
    def change(self) -> Change:
        """The value as text, beside the default."""
        text = self.value if isinstance(self.value, str) else value_text(self.value)
        return Change(self.setting.replace("_", " "), text, value_text(getattr(Recipe(), self.setting)))

    @property
    def value(self) -> Any:
        """The value of the field, as `recipes.changed` reads it."""
        choice = self.query(Select)
        text = str(choice.first().value) if choice else self.query_one(Input).value.strip()
        if self.setting == "samples":
            return tuple(part.strip() for part in text.split("|") if part.strip())
        return text

    def show(self, value: Any) -> None:
        """Show a value."""
        for choice in self.query(Select):
            choice.value = value_text(value)
        for line in self.query(Input):
            line.value = value_text(value)
        self.say_wrong("")

    def say_wrong(self, why: str) -> None:
        """Show what is wrong with the value; an empty text hides it."""
        self.set_class(bool(why), "-wrong")
        self.query_one(".wrong", Static).update(why)


def _differs(name: str, value: Any) -> bool:
    """Whether a value is another one than the default, or none at all."""
    try:
        return recipes.changed(Recipe(), **{name: value}) != Recipe()
    except SettingsError:
        return True


def _wrong(name: str, value: Any) -> str:
    """Why a value is not valid for a field; empty where it is."""
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


def _name_of(recipe: Recipe) -> str:
    return next((name for name, known in recipes.RECIPES.items() if known == recipe), CUSTOM)
