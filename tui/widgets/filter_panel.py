"""All filters as fields, with the choices that the corpus has; the answer is the query that they make.

Is given the choices; knows nothing of the store.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.suggester import SuggestFromList
from textual.widgets import Input, Select, Static

from corpora import queries
from corpora.errors import UsageError
from corpora.spans import DATES, NUMBERS
from corpora.store import Store
from tui import render
from tui.widgets.dialogs import Dialog
from tui.widgets.safe_area import SafeInput

Values = tuple[str, ...]
ANY: Values = ()
TYPED = ("tag", "len", "date")
LABELS = {
    "tag": "tags",
    "rating": "rating",
    "len": "length",
    "date": "added",
    "script": "script",
    "source": "source",
    "adapter": "written by",
    "in": "learned by",
    "corrected": "corrected",
    "trained": "trained",
}
_TAGS = re.compile(r'"([^"]+)"?|([^\s,"]+)')
_SIGN = re.compile(r"([<>=])\s+")
RATINGS = (("5★", "5"), ("4★ and more", ">=4"), ("3★ and more", ">=3"), ("rated", "any"), ("not rated", "none"))


@dataclass(frozen=True, slots=True)
class Choices:
    """What there is to choose from, and how many exchanges each has."""

    tags: Mapping[str, int]
    scripts: Mapping[str, int]
    sources: Mapping[str, int]
    adapters: Mapping[str, int]
    learned: Mapping[str, int]


def choices_of(store: Store) -> Choices:
    """Everything that the corpus holds. Raises StoreError."""
    # What was imported was written by nobody here.
    adapters = {name: count for name, count in store.adapters().items() if name}
    return Choices(store.tags(), store.scripts(), store.stats().by_source, adapters, store.learned())


class FilterPanel(Dialog[str]):
    """Answers with a query."""

    DEFAULT_CSS = """
    FilterPanel {
        & .line { height: 1; }
        & .label { width: 12; }
        & Input { width: 1fr; background: $panel; }
        & Select { width: 1fr; }
        & #fields { height: auto; max-height: 30; margin: 1 0; scrollbar-size-vertical: 1; }
    }
    """
    BINDINGS = [
        Binding("ctrl+s", "apply", "Apply", priority=True),
        Binding("ctrl+l", "clear", "Clear", priority=True),
    ]

    def __init__(self, query: str, choices: Choices) -> None:
        super().__init__()
        self.typed = query
        self.choices = choices

    def compose(self) -> ComposeResult:
        """One line for each filter."""
        with self.window("Filters"):
            with VerticalScroll(id="fields", can_focus=False):
                for key, label in LABELS.items():
                    with Horizontal(classes="line"):
                        yield Static(label, classes="label", markup=False)
                        yield self._typed(key) if key in TYPED else self._choice(key)
            yield Static("", classes="error", markup=False)
            yield Static("ctrl+s applies · ctrl+l clears · tab goes on · esc cancels", classes="keys", markup=False)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter in a field applies all."""
        event.stop()
        self.action_apply()

    def action_apply(self) -> None:
        """Answer, if every field can be read."""
        query = self.typed
        for key in LABELS:
            if (values := self._values(key)) != self._before(key):
                query = queries.replaced(query, key, values)
        try:
            queries.parse(query)
        except UsageError as error:
            self.say_error(error)
            return
        self.dismiss(query)

    def action_clear(self) -> None:
        """Empty every field."""
        for field in self.query(Input):
            field.value = ""
        for choice in self.query(Select):
            choice.value = ANY

    def _before(self, key: str) -> Values:
        return queries.values_of(self.typed, key)

    def _values(self, key: str) -> Values:
        if key not in TYPED:
            value = self.query_one(f"#filter-{key}", Select).value
            return value if isinstance(value, tuple) else ANY
        return _split(self.query_one(f"#filter-{key}", Input).value, key)

    def _typed(self, key: str) -> Input:
        tags = [f"{tag} ({count:,})" for tag, count in self.choices.tags.items()]
        hints = {"tag": " ".join(tags[:6]) or "no tags yet", "len": f"{NUMBERS} characters", "date": DATES}
        return SafeInput(
            " ".join(queries.written("tag", [value]).removeprefix("tag:") for value in self._before(key)),
            placeholder=render.line(hints[key], 60),
            compact=True,
            suggester=SuggestFromList(self.choices.tags) if key == "tag" else None,
            id=f"filter-{key}",
        )

    def _choice(self, key: str) -> Select[Values]:
        offered = self._offered(key)
        before = self._before(key)
        if before and before not in [values for _, values in offered]:
            offered.append((render.text(render.line(" or ".join(before), 60)), before))
        return Select(offered, value=before, allow_blank=False, compact=True, id=f"filter-{key}")

    def _offered(self, key: str) -> list[tuple[Content, Values]]:
        found: list[tuple[Content, Values]] = [(Content("any"), ANY)]
        if key == "rating":
            return found + [(Content(label), (value,)) for label, value in RATINGS]
        if key in ("corrected", "trained"):
            return found + [(Content(value), (value,)) for value in ("yes", "no")]
        return found + list(_counted(self._counts(key)))

    def _counts(self, key: str) -> Mapping[str, int]:
        if key == "script":
            return {script or queries.NONE: count for script, count in self.choices.scripts.items()}
        found = {"source": self.choices.sources, "adapter": self.choices.adapters, "in": self.choices.learned}
        return found[key]


def _counted(counts: Mapping[str, int]) -> Iterable[tuple[Content, Values]]:
    for name, count in counts.items():
        yield Content.assemble(render.text(render.line(name, 50)), (f"  {count:,}", "dim")), (name,)


def _split(typed: str, key: str) -> Values:
    """The values in a field: tags between blanks or commas, or in quotes; `> 200` is one value."""
    if key == "tag":
        return tuple(quoted or bare.lstrip("#") for quoted, bare in _TAGS.findall(typed))
    return tuple(_SIGN.sub(r"\1", typed).split())
