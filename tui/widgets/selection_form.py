"""Which kept replies a run trains on: a query, groups, a sample. Edits a `Selection`."""

from __future__ import annotations

from dataclasses import replace

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.message import Message
from textual.widgets import Button, Input, Static

from corpora import queries
from corpora.errors import UsageError
from corpora.queries import Unfinished
from corpora.selection import Selection
from tui import render
from tui.widgets.safe_area import SafeInput

HINTS = {
    "train-query": (
        "select",
        "Words and key:value, as on the Corpus screen: tag:x rating:>=4 date:7d corrected:yes source:FILE len:>200. "
        "Empty: all kept replies.",
    ),
    "train-groups": ("groups", "Replies by source, tag, date and chat, each group on or off."),
    "train-sample": ("sample", "At most so many replies, the same ones each time; 0: all of them."),
    "train-seed": ("seed", "Another seed, another sample."),
}
PLACEHOLDER = "all kept replies, or tag:x rating:>=4 date:7d …"


class SelectionForm(Vertical):
    """`selection` is the last one that could be read; `problem` says why the fields as they are cannot be."""

    DEFAULT_CSS = """
    SelectionForm {
        height: auto;
        & .line { height: 1; }
        & .label { width: 18; }
        & .short { width: auto; padding: 0 1 0 3; }
        & #train-query { width: 1fr; background: $panel; }
        & #train-sample, & #train-seed { width: 10; background: $panel; }
        & .hint { width: 1fr; color: $text-muted; padding-left: 2; text-overflow: ellipsis; text-wrap: nowrap; }
        & .wrong { display: none; color: $text-error; padding-left: 18; height: auto; }
        & .wrong.-shown { display: block; }
        & .wrong.-hint { color: $text-muted; }
    }
    """

    class Changed(Message):
        """Another selection, or one that cannot be read."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.selection = Selection()
        self.problem = ""
        self.touched = False

    def compose(self) -> ComposeResult:
        """The query with what is wrong with it, groups, sample."""
        with Horizontal(classes="line"):
            yield Static("select", classes="label")
            yield SafeInput(placeholder=PLACEHOLDER, compact=True, id="train-query")
        yield Static("", classes="wrong", id="query-wrong", markup=False)
        with Horizontal(classes="line"):
            yield Static("groups", classes="label")
            yield Button("Choose (g)", compact=True, id="train-groups")
            yield Static("", classes="hint", id="groups-hint", markup=False)
        with Horizontal(classes="line"):
            yield Static("sample", classes="label")
            yield Input("0", compact=True, id="train-sample")
            yield Static("seed", classes="short")
            yield Input("0", compact=True, id="train-seed")
            yield Static("0: all of them", classes="hint")
        yield Static("", classes="wrong", id="sample-wrong", markup=False)

    def show(self, selection: Selection) -> None:
        """Put a selection into the fields."""
        self.selection, self.problem = selection, ""
        with self.prevent(Input.Changed):
            self._field("query").value = selection.query
            self._field("sample").value = str(selection.sample)
            self._field("seed").value = str(selection.seed)
        self._show_groups()
        for place in ("#query-wrong", "#sample-wrong"):
            self._say(place, "")

    def choose(self, selection: Selection) -> None:
        """Take a selection over from the person."""
        self.touched = True
        self.show(selection)
        self.post_message(self.Changed())

    def on_input_changed(self, event: Input.Changed) -> None:
        """Each field is read as it is typed; the first value of a field is no change."""
        event.stop()
        before = self.selection, self.problem
        self._read()
        if (self.selection, self.problem) != before:
            self.touched = True
            self.post_message(self.Changed())

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter goes to the next field."""
        event.stop()
        self.screen.focus_next()

    def _read(self) -> None:
        wrong, hint = self._query_problem()
        self._say("#query-wrong", wrong, hint=hint)
        numbers = {name: self._field(name).value.strip() or "0" for name in ("sample", "seed")}
        odd = next((name for name, text in numbers.items() if not (text.isascii() and text.isdigit())), "")
        self._say("#sample-wrong", f"The {odd} is a whole number, 0 or more." if odd else "")
        self.problem = wrong or (f"The {odd} is no whole number." if odd else "")
        if not self.problem:
            self.selection = replace(
                self.selection,
                query=self._field("query").value.strip(),
                sample=int(numbers["sample"]),
                seed=int(numbers["seed"]),
            )
            self._show_groups()

    def _query_problem(self) -> tuple[str, bool]:
        """What is wrong with the query, and whether it may only be unfinished."""
        try:
            queries.parse(self._field("query").value)
        except Unfinished as unfinished:
            return unfinished.what, True
        except UsageError as error:
            return str(error), False
        return "", False

    def _show_groups(self) -> None:
        groups = str(Selection(off=self.selection.off, files=self.selection.files))
        self.query_one("#groups-hint", Static).update(render.text(render.line(groups, 200) or HINTS["train-groups"][1]))

    def _say(self, place: str, text: str, *, hint: bool = False) -> None:
        panel = self.query_one(place, Static)
        panel.update(render.text(text))
        panel.set_class(bool(text), "-shown")
        panel.set_class(hint, "-hint")

    def _field(self, name: str) -> Input:
        return self.query_one(f"#train-{name}", Input)
