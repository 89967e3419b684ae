"""Bars and histograms: what they show, and that they fit."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from corpora.store import Bar
from tui.widgets.charts import COLUMNS, ROWS, bar_line, columns, stacked
from tui.widgets.stats_panel import DAY, cumulated

COUNTS = st.lists(st.integers(0, 100_000), min_size=1, max_size=COLUMNS)


@given(COUNTS)
def test_a_histogram_keeps_its_room_and_shows_every_count(counts: list[int]) -> None:
    drawn = columns([Bar(10.0 * place, count) for place, count in enumerate(counts)], lambda start: f"{start:.0f}")
    lines = drawn.plain.splitlines()
    assert len(lines) == ROWS + 1 and f"{max(counts):,}" in lines[0]
    assert all(cell_len(line) <= COLUMNS + 8 for line in lines)
    wide = len(lines[-2]) // len(counts)
    assert [lines[-2][place * wide] != " " for place in range(len(counts))] == [count > 0 for count in counts]


@given(st.lists(st.integers(0, 100_000), min_size=1, max_size=6))
def test_parts_of_a_whole_fill_one_bar(counts: list[int]) -> None:
    bar, legend = stacked([(f"part {place}", count, "bold") for place, count in enumerate(counts)])
    assert cell_len(bar.plain) == COLUMNS
    assert all(f"{count:,}" in legend.plain for count in counts)


def test_a_bar_tells_name_figure_and_share() -> None:
    line = bar_line("a [b]name\x1b[2J that is far too long", 25, 100, "bold").plain
    assert line.endswith("25   25%") and "\x1b" not in line and cell_len(line) <= 66


@given(st.lists(st.tuples(st.integers(0, 2000), st.integers(1, 50)), min_size=1, max_size=40), st.integers(0, 400))
def test_growth_never_falls_and_ends_with_all(days: list[tuple[int, int]], later: int) -> None:
    added = [Bar(day * DAY, count) for day, count in sorted(dict(days).items())]
    grown = cumulated(added, DAY, added[-1].start + later * DAY)
    assert len(grown) <= COLUMNS and grown[0].start == added[0].start
    assert [each.count for each in grown] == sorted(each.count for each in grown)
    assert grown[-1].count == sum(each.count for each in added)
