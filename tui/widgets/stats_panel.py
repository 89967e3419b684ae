"""The corpus in figures, as bars to look at. Reads the store; draws text, no widgets."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence

from textual.content import Content

from corpora.dialog import Status
from corpora.store import Stats, Store
from corpora.store.values import Bar
from tui import render
from tui.widgets.exchange_detail import STATUS_STYLE

WIDTH = 36
STEPS = " ▁▂▃▄▅▆▇█"
EIGHTHS = " ▏▎▍▌▋▊▉█"


def statistics(store: Store) -> list[Content]:
    """Every figure the store knows, one block each. Raises StoreError."""
    stats = store.stats()
    if not stats.exchanges:
        return [Content("Nothing is stored yet. Chat, or import a file with I on the corpus screen.")]
    return [
        _block("By status", _by_status(stats)),
        _block("Learned", _learned(stats)),
        _block("By source", bars(stats.by_source.items(), stats.exchanges)),
        _block("Tags", bars(list(store.tags().items())[:12], stats.exchanges)),
        _block("Length of prompt and reply, in characters", [_columns(store.lengths(WIDTH), _length)]),
        _block("Exchanges added, by day", [_columns(store.growth()[-2 * WIDTH :], _day)]),
    ]


def bars(counts: Iterable[tuple[str, int]], total: int, style: str = "$primary") -> list[Content]:
    """One line for each count: name, bar, figure, share of the total."""
    return [_bar(name, count, total, style) for name, count in counts]


def bar(share: float, width: int = WIDTH) -> str:
    """A bar of `width` cells, filled to a share of 1 in eighths of a cell."""
    eighths = round(max(0.0, min(1.0, share)) * width * 8)
    full, part = divmod(eighths, 8)
    return ("█" * full + (EIGHTHS[part] if part else "")).ljust(width)


def _block(title: str, lines: Sequence[Content]) -> Content:
    body = lines or [Content.styled("none", "dim")]
    return Content("\n").join([Content.styled(title, "bold"), *body])


def _bar(name: str, count: int, total: int, style: str) -> Content:
    share = count / total if total else 0.0
    return Content.assemble(
        f"{render.line(name, 16):<17}", (bar(share), style), f" {count:>8,}", (f" {share:>5.0%}", "dim")
    )


def _by_status(stats: Stats) -> list[Content]:
    return [_bar(s.value, stats.by_status.get(s, 0), stats.exchanges, STATUS_STYLE[s]) for s in Status]


def _learned(stats: Stats) -> list[Content]:
    kept = stats.by_status.get(Status.KEPT, 0)
    figures = f"{stats.conversations:,} chats · {stats.preferences:,} preference pairs · {stats.verdicts:,} votes"
    return [
        _bar("trained", stats.trained, stats.exchanges, "$success"),
        _bar("kept, untrained", max(0, kept - stats.trained), stats.exchanges, "$warning"),
        _bar("corrected", stats.corrected, stats.exchanges, "$accent"),
        Content.styled(figures, "dim"),
    ]


def _columns(found: Sequence[Bar], say: Callable[[float], str]) -> Content:
    """A histogram one line high, with its first and last start below."""
    if not found:
        return Content.styled("none", "dim")
    highest = max(each.count for each in found) or 1
    line = "".join(STEPS[-(-each.count * 8 // highest)] for each in found)
    first, last = say(found[0].start), say(found[-1].start)
    gap = " " * max(1, len(line) - len(first) - len(last))
    return Content.assemble((line, "$primary"), (f"  at most {highest:,}\n", "dim"), (f"{first}{gap}{last}", "dim"))


def _length(start: float) -> str:
    return f"{start:,.0f}"


def _day(start: float) -> str:
    return time.strftime("%d %b", time.gmtime(start))
