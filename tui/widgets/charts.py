"""Bars and histograms of blocks, as text. Know nothing of what they count."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from textual.content import Content

from corpora.store import Bar
from tui import render

WIDTH = 32
COLUMNS = 60
ROWS = 5
WIDEST = 6
STEPS = " ▁▂▃▄▅▆▇█"
EIGHTHS = " ▏▎▍▌▋▊▉█"


def bars(counts: Iterable[tuple[str, int]], total: int, style: str = "$primary") -> list[Content]:
    """One line for each count: name, bar, figure, share of the total."""
    return [bar_line(name, count, total, style) for name, count in counts]


def bar_line(name: str, count: int, total: int, style: str) -> Content:
    """One named bar with its figure and share."""
    share = count / total if total else 0.0
    return Content.assemble(
        f"{render.line(name, 16):<17}", (bar(share), style), f" {count:>8,}", (f" {share:>5.0%}", "dim")
    )


def bar(share: float, width: int = WIDTH) -> str:
    """A bar of `width` cells, filled to a share of 1 in eighths of a cell."""
    eighths = round(max(0.0, min(1.0, share)) * width * 8)
    full, part = divmod(eighths, 8)
    return ("█" * full + (EIGHTHS[part] if part else "")).ljust(width)


def stacked(parts: Sequence[tuple[str, int, str]], width: int = COLUMNS) -> list[Content]:
    """Parts of a whole (name, count, style) in one bar, every part that is there at least a cell; then its legend."""
    total = sum(count for _, count, _ in parts) or 1
    cells = [max(1, round(count / total * width)) if count else 0 for _, count, _ in parts]
    cells[cells.index(max(cells))] += width - sum(cells)
    line = Content.assemble(*(("█" * size, style) for size, (_, _, style) in zip(cells, parts, strict=True)))
    legend = [
        Content.assemble(("■ ", style), f"{name} {count:,}", (f" {count / total:.0%}", "dim"))
        for name, count, style in parts
    ]
    return [line, Content("   ").join(legend)]


def columns(found: Sequence[Bar], say: Callable[[float], str], style: str = "$primary", rows: int = ROWS) -> Content:
    """A histogram `rows` lines high, its highest figure beside it, its first and last start below."""
    if not found:
        return Content.styled("none", "dim")
    highest = max(each.count for each in found)
    wide = max(1, min(WIDEST, COLUMNS // len(found)))
    heights = [-(-each.count * 8 * rows // max(1, highest)) for each in found for _ in range(wide)]
    lines = ["".join(STEPS[max(0, min(8, height - 8 * row))] for height in heights) for row in range(rows)]
    drawn = [Content.styled(line, style) for line in reversed(lines)]
    drawn[0] += Content.styled(f" {highest:,}", "dim")
    first, last = say(found[0].start), say(found[-1].start)
    gap = " " * max(1, len(heights) - len(first) - len(last))
    below = first if len(found) == 1 else f"{first}{gap}{last}"
    return Content("\n").join([*drawn, Content.styled(below, "dim")])
