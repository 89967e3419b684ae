"""The corpus in figures, to look at rather than to read: shares, lengths in tokens, growth.

What reads the store stands in functions that run in a thread; the panel is given what they found.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from corpora.dialog import Status
from corpora.statistics import token_lengths
from corpora.store import Bar, Filter, Stats, Store
from sessions.errors import ModelError
from sessions.model_words import tokenizer_of
from tui import render
from tui.stars import MOST, stars
from tui.widgets.charts import COLUMNS, bar_line, bars, columns, stacked
from tui.widgets.dialogs import Dialog
from tui.widgets.exchange_detail import STATUS_STYLE

HOUR, DAY = 3600.0, 86_400.0
LISTED = 8
BINS = 30


class StatsPanel(Dialog[None]):
    """Scrolls; the blocks come as they are counted."""

    DEFAULT_CSS = """
    StatsPanel > .window { height: 90%; }
    StatsPanel VerticalScroll { height: 1fr; scrollbar-size-vertical: 1; }
    StatsPanel .block { height: auto; }
    """

    def compose(self) -> ComposeResult:
        """What is there, how long it is, where it comes from."""
        with self.window("The corpus in figures"):
            with VerticalScroll():
                yield Static("Counting …", classes="block first", markup=False)
                yield Static("", classes="block lengths", markup=False)
                yield Static("", classes="block more", markup=False)
            yield Static("↑ ↓ scroll · esc closes", classes="keys", markup=False)

    def show(self, parts: Sequence[Content], more: Sequence[Content]) -> None:
        """The figures of the store."""
        self._put(".first", parts)
        self._put(".more", more)

    def show_lengths(self, parts: Sequence[Content]) -> None:
        """The lengths, which take longer."""
        self._put(".lengths", parts)

    def _put(self, place: str, parts: Sequence[Content]) -> None:
        # It may have been closed while they were counted.
        for block in self.query(place).results(Static):
            block.update(Content("\n\n").join(parts) + Content("\n") if parts else "")


def statistics(store: Store, now: float) -> tuple[list[Content], list[Content]]:
    """Every figure that needs no tokenizer, one block each: the first, and more. Raises StoreError."""
    stats = store.stats()
    if not stats.exchanges:
        return [Content("Nothing is stored yet. Chat, or import a file with I on the corpus screen.")], []
    first = [
        _block("By status", [_status_bar(status, stats) for status in Status], stats),
        _block("Trained and new", _learned(store, stats)),
        _block("Growth", [_growth(store, now)]),
    ]
    more = [
        _block("By source", _most(stats.by_source, stats.exchanges)),
        *_chosen("Ratings", {stars(n): store.ratings().get(n, 0) for n in range(MOST, 0, -1)}, stats),
        *_chosen("Tags", store.tags(), stats),
        _block("Scripts", _most({name or "none": count for name, count in store.scripts().items()}, stats.exchanges)),
    ]
    return first, more


def lengths(store: Store, model: str) -> list[Content]:
    """Lengths in tokens of the model, or in characters where its tokenizer is not at hand. Raises StoreError."""
    try:
        found, told = token_lengths(store, tokenizer_of(model), Filter(), bars=BINS), ""
        title = "Lengths of prompt and reply, in tokens"
    except ModelError as error:
        found, told = store.lengths(BINS), f"{error.what} {error.remedy}"
        title = "Lengths of prompt and reply, in characters"
    if not found:
        return []
    chart = columns(found, lambda start: f"{start:,.0f}")
    return [_block(title, [chart, *([render.text(told, "dim")] if told else [])])]


def cumulated(added: Sequence[Bar], step: float, now: float, places: int = COLUMNS) -> list[Bar]:
    """How many there were at the end of each of at most `places` equal spans, up to now."""
    if not added:
        return []
    first = added[0].start
    steps = max(1, int((max(now, added[-1].start) - first) // step) + 1)
    width = -(-steps // places)
    counts = [0] * -(-steps // width)
    for each in added:
        counts[int((each.start - first) // step) // width] += each.count
    total, found = 0, list[Bar]()
    for place, count in enumerate(counts):
        total += count
        found.append(Bar(first + place * width * step, total))
    return found


def _block(title: str, lines: Sequence[Content], stats: Stats | None = None) -> Content:
    head = Content.styled(title, "bold")
    if stats is not None:
        told = f"   {_many(stats.exchanges, 'exchange')} · {_many(stats.conversations, 'dialog')} · "
        head += Content.styled(f"{told}{_many(stats.preferences, 'pair')} · {_many(stats.verdicts, 'vote')}", "dim")
    return Content("\n").join([head, *(lines or [Content.styled("none", "dim")])])


def _many(count: int, name: str) -> str:
    return f"{count:,} {name}{'' if count == 1 else 's'}"


def _status_bar(status: Status, stats: Stats) -> Content:
    return bar_line(status.value, stats.by_status.get(status, 0), stats.exchanges, STATUS_STYLE[status])


def _learned(store: Store, stats: Stats) -> list[Content]:
    """Of everything: what a version has seen, what is kept and new, and the rest; and how much is corrected."""
    new = store.count(Filter(statuses=(Status.KEPT,), trained=False))
    rest = max(0, stats.exchanges - stats.trained - new)
    parts = (("trained", stats.trained, "$success"), ("kept and new", new, "$warning"), ("neither", rest, "$panel"))
    return [*stacked(parts), bar_line("corrected", stats.corrected, stats.exchanges, "$accent")]


def _growth(store: Store, now: float) -> Content:
    """All exchanges that there were, over the time since the first; by hours in the first two days."""
    added, step, say = store.growth(), DAY, _day
    if now - added[0].start < 2 * DAY:
        added, step, say = store.growth(HOUR), HOUR, _hour
    week = sum(each.count for each in store.growth(HOUR) if each.start >= now - 7 * DAY)
    chart = columns(cumulated(added, step, now), say, "$success")
    return chart + Content.styled(f"\n{week:,} in the last 7 days", "dim")


def _most(counts: dict[str, int], total: int) -> list[Content]:
    """The most frequent, and the others together."""
    ranked = sorted(counts.items(), key=lambda each: -each[1])
    left = sum(count for _, count in ranked[LISTED:])
    others = [bar_line(f"{len(ranked) - LISTED} more", left, total, "$panel")] if left else []
    return [*bars(ranked[:LISTED], total), *others]


def _chosen(title: str, counts: dict[str, int], stats: Stats) -> list[Content]:
    """A block of what only some exchanges have; none where none has."""
    if not any(counts.values()):
        return []
    lines = _most(counts, stats.exchanges) if len(counts) > MOST else bars(counts.items(), stats.exchanges)
    return [_block(title, lines)]


def _day(start: float) -> str:
    return time.strftime("%d %b %Y", time.gmtime(start))


def _hour(start: float) -> str:
    return time.strftime("%d %b %H:%M", time.localtime(start))
