"""What of the corpus is shown: status tabs with counts, search as one types, and a few choices.

Makes a `Filter`; knows nothing of the store.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.events import Click
from textual.message import Message
from textual.timer import Timer
from textual.widgets import Input, Select, Static

from corpora.dialog import Status
from corpora.store import Filter, Stats
from tui import render

DEBOUNCE = 0.15
TABS: tuple[Status | None, ...] = (None, Status.PENDING, Status.KEPT, Status.REJECTED, Status.DEFERRED)
ANY = "any"
NARROW = 100
CORRECTED = (("any reply", ANY), ("corrected", "yes"), ("as written", "no"))
TRAINED = (("trained or not", ANY), ("trained", "yes"), ("not trained", "no"))


class FilterBar(Vertical):
    """`where` is the filter as it stands; `Changed` says that it is another one."""

    DEFAULT_CSS = """
    FilterBar {
        height: 2;
        padding: 0 1;
        & StatusTab { width: auto; height: 1; padding: 0 1; color: $text-muted; }
        & StatusTab.-active { color: $foreground; background: $primary 40%; text-style: bold; }
        & .row { height: 1; }
        & .found { width: 1fr; text-align: right; color: $text-muted; }
        & Input { width: 1fr; background: $panel; }
        & #tags { width: 16; margin-left: 1; }
        & Select { width: 18; margin-left: 1; }
    }
    FilterBar.-narrow Select { width: 12; }
    FilterBar.-narrow #tags { width: 12; }
    """

    class Changed(Message):
        """Another filter is set."""

    @dataclass
    class StatusChosen(Message):
        """A status tab was clicked."""

        status: Status | None

    class Left(Message):
        """Enter or Escape in the search: back to the table."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.status: Status | None = None
        self._pause: Timer | None = None

    def compose(self) -> ComposeResult:
        """Tabs above, search and choices below."""
        with Horizontal(classes="row"):
            for number, status in enumerate(TABS, 1):
                yield StatusTab(status, number)
            yield Static("", classes="found", markup=False)
        with Horizontal(classes="row"):
            yield Input(placeholder="/ search prompts and replies", compact=True, id="search")
            yield Input(placeholder="# tags", compact=True, id="tags")
            yield Select(CORRECTED, allow_blank=False, value=ANY, compact=True, id="corrected")
            yield Select(TRAINED, allow_blank=False, value=ANY, compact=True, id="trained")
            yield Select([("any source", ANY)], allow_blank=False, value=ANY, compact=True, id="source")

    @property
    def where(self) -> Filter:
        """The filter as it stands."""
        tags = self.query_one("#tags", Input).value.replace(",", " ").replace("#", " ").split()
        source = self._chosen("source")
        return Filter(
            text=self.query_one("#search", Input).value.strip(),
            statuses=(self.status,) if self.status else (),
            tags=tuple(tags),
            sources=() if source is None else (source,),
            corrected=_yes(self._chosen("corrected")),
            trained=_yes(self._chosen("trained")),
        )

    @property
    def active(self) -> bool:
        """True where something is left out."""
        return self.where != Filter()

    def choose(self, status: Status | None) -> None:
        """Show one status, or all."""
        self.status = status
        self.post_message(self.Changed())

    def clear(self, *, tell: bool = True) -> None:
        """Show everything."""
        self.status = None
        with self.prevent(Input.Changed, Select.Changed):
            for field in self.query(Input):
                field.value = ""
            for choice in self.query(Select):
                choice.value = ANY
        if tell:
            self.post_message(self.Changed())

    def show_counts(self, stats: Stats) -> None:
        """Counts in the tabs, and the sources there are."""
        for tab in self.query(StatusTab):
            tab.count = stats.exchanges if tab.status is None else stats.by_status.get(tab.status, 0)
            tab.show(self.status)
        self._offer_sources(stats.by_source)

    def show_found(self, found: int, selected: Collection[int]) -> None:
        """How many match, and how many of them are marked."""
        words = [f"{len(selected):,} selected"] if selected else []
        if not self.has_class("-narrow") or (self.where.text and not selected):
            words.append(f"{found:,} shown")
        self.query_one(".found", Static).update(Content(" · ".join(words)))
        for tab in self.query(StatusTab):
            tab.show(self.status)

    def on_input_changed(self, event: Input.Changed) -> None:
        """Wait for a pause in the typing."""
        event.stop()
        if self._pause is not None:
            self._pause.stop()
        self._pause = self.set_timer(DEBOUNCE, lambda: self.post_message(self.Changed()))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter goes to the rows that were found."""
        event.stop()
        self.post_message(self.Left())

    def on_select_changed(self, event: Select.Changed) -> None:
        """A choice counts at once."""
        event.stop()
        self.post_message(self.Changed())

    def on_resize(self) -> None:
        """Narrow choices on a narrow screen."""
        self.set_class(self.size.width < NARROW, "-narrow")
        for tab in self.query(StatusTab):
            tab.show(self.status)

    def _chosen(self, name: str) -> str | None:
        value = self.query_one(f"#{name}", Select).value
        return None if value in (ANY, Select.NULL) else str(value)

    def _offer_sources(self, by_source: Mapping[str, int]) -> None:
        choice = self.query_one("#source", Select)
        sources = tuple(sorted(by_source))
        if sources == getattr(self, "_sources", ()):
            return
        self._sources = sources
        before = choice.value
        with self.prevent(Select.Changed):
            choice.set_options([("any source", ANY), *((render.text(render.line(name, 40)), name) for name in sources)])
            choice.value = before if before in sources else ANY


class StatusTab(Static):
    """One status with its count; its number is its key."""

    def __init__(self, status: Status | None, number: int) -> None:
        super().__init__("", markup=False)
        self.status = status
        self.number = number
        self.count = 0

    def on_mount(self) -> None:
        """Before the first counts."""
        self.show(None)

    def show(self, active: Status | None) -> None:
        """Write name and count."""
        self.set_class(active == self.status, "-active")
        name = self.status.value if self.status else "all"
        key = "" if self.screen.size.width < NARROW else f"{self.number} "
        self.update(Content(f"{key}{name} {self.count:,}"))

    def on_click(self, event: Click) -> None:
        """A click does what the key does."""
        event.stop()
        self.post_message(FilterBar.StatusChosen(self.status))


def _yes(value: str | None) -> bool | None:
    return None if value is None else value == "yes"
