"""What of a store is shown: tabs with counts, a query as one types, and its filters as chips below.

Makes a filter out of the query; knows nothing of the store.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.events import Click
from textual.message import Message
from textual.timer import Timer
from textual.widgets import Input, Static

from corpora import queries
from corpora.dialog import Status
from corpora.errors import UsageError
from corpora.queries import Unfinished, Word
from corpora.store import Stats
from tui import render
from tui.widgets.safe_area import SafeInput

Where = TypeVar("Where")
DEBOUNCE = 0.15
ALL, PAIRS = "all", "pairs"
TABS = (ALL, *(status.value for status in Status), PAIRS)
NARROW = 100


class QueryBar(Vertical, Generic[Where]):
    """`where` is the last query that could be read; `Changed` says that it is another one."""

    DEFAULT_CSS = """
    QueryBar {
        height: auto;
        padding: 0 1;
        & Tab { width: auto; height: 1; padding: 0 1; color: $text-muted; }
        & Tab.-active { color: $foreground; background: $primary 40%; text-style: bold; }
        & .row { height: 1; }
        & .found { width: auto; padding: 0 1; color: $text-muted; }
        & Input { width: 1fr; background: $panel; }
        & .chips { height: 1; display: none; overflow: hidden; }
        & .chips.-shown { display: block; }
        & .told { width: 1fr; height: auto; max-height: 2; color: $text-error; display: none; }
        & .told.-shown { display: block; }
        & .told.-hint { color: $text-muted; }
        & Chip { width: auto; height: 1; padding: 0 1; margin-right: 1; background: $primary 30%; }
        & Chip:hover { background: $error 40%; }
    }
    """
    PLACEHOLDER: ClassVar[str] = "/ search"

    class Changed(Message):
        """Another filter is set."""

    @dataclass
    class TabChosen(Message):
        """A tab was clicked: one of `TABS`."""

        tab: str

    class Left(Message):
        """Enter in the search: back to the table."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._where = self.read("")
        self._pause: Timer | None = None

    def read(self, query: str) -> Where:
        """The filter that a query means. Raises UsageError."""
        raise NotImplementedError

    @property
    def tab(self) -> str:
        """The tab that is shown as chosen."""
        raise NotImplementedError

    def compose(self) -> ComposeResult:
        """Tabs, the query, its chips or what is wrong with it."""
        with Horizontal(classes="row"):
            for number, tab in enumerate(TABS, 1):
                yield Tab(tab, number)
        with Horizontal(classes="row"):
            yield SafeInput(placeholder=self.PLACEHOLDER, compact=True, id="search")
            yield Static("", classes="found", markup=False)
        yield Horizontal(classes="chips")
        yield Static("", classes="told", markup=False)

    @property
    def field(self) -> Input:
        """Where the query is typed."""
        return self.query_one("#search", Input)

    @property
    def query_text(self) -> str:
        """The query as it stands."""
        return self.field.value

    @property
    def where(self) -> Where:
        """The filter of the last query that could be read."""
        return self._where

    @property
    def active(self) -> bool:
        """True where something is left out, or could not be read."""
        return self.where != self.read("") or bool(self.query_text.strip())

    def put(self, query: str, *, tell: bool = True) -> None:
        """Set the query."""
        with self.prevent(Input.Changed):
            self.field.value = query
        self._take(tell=tell)

    def clear(self, *, tell: bool = True) -> None:
        """Show everything."""
        self.put("", tell=tell)

    def show_counts(self, stats: Stats) -> None:
        """Counts in the tabs."""
        counts: Mapping[str, int] = {
            ALL: stats.exchanges,
            PAIRS: stats.preferences,
            **{status.value: stats.by_status.get(status, 0) for status in Status},
        }
        for tab in self.query(Tab):
            tab.count = counts[tab.tab]
        self.show_tabs()

    def show_tabs(self) -> None:
        """Write the tabs anew."""
        for tab in self.query(Tab):
            tab.show(tab.tab == self.tab)

    def show_found(self, found: int, selected: Collection[int]) -> None:
        """How many match, and how many of them are marked."""
        words = [f"{len(selected):,} selected"] if selected else []
        words += [f"{found:,} shown"] if self.active or not selected else []
        self.query_one(".found", Static).update(Content(" · ".join(words)))
        self.show_tabs()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Wait for a pause in the typing."""
        event.stop()
        if self._pause is not None:
            self._pause.stop()
        self._pause = self.set_timer(DEBOUNCE, self._take)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter goes to the rows that were found."""
        event.stop()
        self.post_message(self.Left())

    def on_resize(self) -> None:
        """Short names on a narrow screen."""
        self.show_tabs()

    def on_chip_removed(self, message: Chip.Removed) -> None:
        """A click on a chip takes it out of the query."""
        message.stop()
        left = [word.typed for word in queries.words(self.query_text) if word != message.word]
        self.put(" ".join(left))

    def _take(self, *, tell: bool = True) -> None:
        """Read the query; one that cannot be read changes no row and is explained."""
        try:
            self._where = self.read(self.query_text)
            self._tell("")
        except Unfinished as unfinished:
            self._tell(unfinished.what, hint=True)
            return
        except UsageError as error:
            self._tell(str(error))
            return
        finally:
            self._show_chips()
        if tell:
            self.post_message(self.Changed())

    def _tell(self, words: str, *, hint: bool = False) -> None:
        told = self.query_one(".told", Static)
        told.update(render.text(words))
        told.set_class(bool(words), "-shown")
        told.set_class(hint, "-hint")

    def _show_chips(self) -> None:
        chips = self.query_one(".chips")
        shown = [chip.word for chip in chips.query(Chip)]
        try:
            wanted = [word for word in queries.words(self.query_text) if word.values]
        except UsageError:
            wanted = []
        chips.set_class(bool(wanted), "-shown")
        if shown != wanted:
            chips.remove_children()
            chips.mount_all([Chip(word) for word in wanted])


class Chip(Static):
    """One filter of the query, in words."""

    @dataclass
    class Removed(Message):
        """It was clicked."""

        word: Word

    def __init__(self, word: Word) -> None:
        super().__init__(render.text(f"{render.line(in_words(word), 60)} ×"), markup=False)
        self.word = word

    def on_click(self, event: Click) -> None:
        """A click takes it away."""
        event.stop()
        self.post_message(self.Removed(self.word))


class Tab(Static):
    """One status, or all, or the pairs, with its count; its number is its key."""

    def __init__(self, tab: str, number: int) -> None:
        super().__init__("", markup=False)
        self.tab = tab
        self.number = number
        self.count: int | None = None

    def show(self, active: bool) -> None:
        """Write name and count."""
        self.set_class(active, "-active")
        narrow = self.screen.size.width < NARROW
        count = "" if self.count is None else f" {short(self.count) if narrow else f'{self.count:,}'}"
        self.update(Content(f"{'' if narrow else f'{self.number} '}{self.tab}{count}"))

    def on_click(self, event: Click) -> None:
        """A click does what the key does."""
        event.stop()
        self.post_message(QueryBar.TabChosen(self.tab))


def short(count: int) -> str:
    """A count in at most four cells: 999, 9.9k, 100k, 2M."""
    if count < 1000:
        return str(count)
    if count < 9_950:
        return f"{count / 1000:.1f}k"
    return f"{count / 1000:.0f}k" if count < 999_500 else f"{count / 1e6:.0f}M"


def in_words(word: Word) -> str:
    """A filter as a person would say it."""
    values = " or ".join(word.values)
    told = {
        ("corrected", "y"): "corrected",
        ("corrected", "n"): "as written",
        ("trained", "y"): "trained",
        ("trained", "n"): "not trained",
        ("rating", "n"): "not rated",
        ("rating", "a"): "rated",
    }
    names = {
        "status": "",
        "tag": "#",
        "script": "script ",
        "source": "from ",
        "len": "length ",
        "date": "added ",
        "adapter": "by ",
        "in": "learned by ",
        "rating": "★ ",
    }
    if word.key == "tag":
        return " ".join(f"#{value.lstrip('#')}" for value in word.values)
    return told.get((word.key, values[:1].lower()), f"{names.get(word.key, '')}{values}")
