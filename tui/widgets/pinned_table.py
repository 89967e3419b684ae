"""The matrix of pinned tests and versions as a table, and the words for one of its cells.

Independent of the store.
"""

from __future__ import annotations

from collections.abc import Iterator

from rich.text import Text
from textual.binding import Binding
from textual.content import Content
from textual.coordinate import Coordinate
from textual.widgets import DataTable

from corpora.pinned import PinnedTest
from sessions.pinned_matrix import Matrix, Version
from tui import render
from tui.widgets.paged_table import fit

WIDE = 100
"""Columns of a terminal from which the rule has a column of its own."""
LONGEST_NAME = 12
NARROWEST = 5
"""Columns that a result with its flip takes."""
SHOWN = 4000
"""Characters of a prompt or a reply that are shown below the table."""


class PinnedTable(DataTable[Text]):
    """One row for each test; after the test's own columns one for each version, the base first."""

    DEFAULT_CSS = """
    PinnedTable { scrollbar-size-vertical: 1; scrollbar-size-horizontal: 1; background: $surface; }
    PinnedTable > .datatable--fixed { background: $surface; }
    """
    BINDINGS = [
        Binding("enter", "select_cursor", "Replies", tooltip="The replies of all versions", id="tests.replies"),
        Binding("j", "cursor_down", "Next", show=False),
        Binding("k", "cursor_up", "Previous", show=False),
        Binding("h", "cursor_left", "Older version", show=False),
        Binding("l", "cursor_right", "Newer version", show=False),
        Binding("g", "scroll_top", "First", show=False),
        Binding("G", "scroll_bottom", "Last", show=False),
    ]

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id, cursor_type="cell", zebra_stripes=False)
        self.matrix = Matrix()
        self._in_use = ""

    @property
    def test(self) -> PinnedTest | None:
        """Return the test under the cursor."""
        tests = self.matrix.tests
        return tests[self.cursor_row] if self.cursor_row < len(tests) else None

    @property
    def version(self) -> Version | None:
        """Return the version under the cursor; None in the columns of the test itself."""
        place = self.cursor_column - self.fixed_columns
        return self.matrix.versions[place] if 0 <= place < len(self.matrix.versions) else None

    def show(self, matrix: Matrix, in_use: str) -> None:
        """Draw the whole matrix; the cursor stays on its test and version, at first on the newest version."""
        first = not self.columns
        test, version, place = self.test, self.version, self.cursor_row
        self.matrix, self._in_use = matrix, in_use
        with self.prevent(DataTable.CellHighlighted):
            self.clear(columns=True)
            self._fill(self.app.size.width)
            rows = [each.id for each in matrix.tests]
            columns = [each.digest for each in matrix.versions]
            row = rows.index(test.id) if test is not None and test.id in rows else min(place, max(0, len(rows) - 1))
            digest = matrix.versions[-1].digest if first or version is None else version.digest
            column = self.fixed_columns + (columns.index(digest) if digest in columns else len(columns) - 1)
            self.move_cursor(row=row, column=column, animate=False)

    def update_test(self, matrix: Matrix, test: PinnedTest) -> None:
        """Draw the results of one test."""
        self.matrix = matrix
        row = self.get_row_index(str(test.id))
        for place, version in enumerate(matrix.versions, start=self.fixed_columns):
            self.update_cell_at(Coordinate(row, place), self._cell(test, version))

    def on_resize(self) -> None:
        """Adapt the columns to the width of the terminal."""
        if self.columns:
            self.show(self.matrix, self._in_use)

    def _fill(self, width: int) -> None:
        wide = width >= WIDE
        room = width * 3 // 10 if wide else width * 4 // 10
        self.add_column("Test", width=room)
        if wide:
            self.add_column("The reply", width=room * 2 // 3)
        self.fixed_columns = len(self.columns)
        for version in self.matrix.versions:
            name = f"{'● ' if version.address == self._in_use else ''}{short_name(version.address)}"
            self.add_column(Text(name), width=max(len(name), NARROWEST))
        for test in self.matrix.tests:
            own = [Text.assemble((f"{test.id:>2} ", "dim"), _own(test.prompt, room - 3))]
            if wide:
                own.append(_own(test.describe(), room * 2 // 3))
            self.add_row(*own, *(self._cell(test, version) for version in self.matrix.versions), key=str(test.id))

    def _cell(self, test: PinnedTest, version: Version) -> Text:
        result, flip = self.matrix.result(test, version), self.matrix.flip(test, version)
        if result is None:
            return Text(" ·", "dim")
        sign, style = ("✓", "green") if result.passed else ("✗", "red")
        if flip is None:
            return Text(f" {sign}", style)
        return Text(f" {sign} {'▲' if flip.passed else '▼'} ", f"bold reverse {style}")

    def cell_at(self, row: int, column: int) -> str:
        """Return the text of a cell, without its style."""
        return self.get_cell_at(Coordinate(row, column)).plain


def short_name(address: str) -> str:
    """Return an address with a long name cut, never its version."""
    name, slash, version = render.line(address).rpartition("/")
    name = name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"
    return f"{name}{slash}{version}"


def summary_of(matrix: Matrix) -> Content:
    """Return how many tests the newest version passes, and what flipped with it."""
    newest = matrix.versions[-1]
    run = sum(matrix.result(test, newest) is not None for test in matrix.tests)
    passed = matrix.passed(newest)
    flips = [flip for flip in matrix.flips() if flip.version == newest]
    broken, fixed = sum(not flip.passed for flip in flips), sum(flip.passed for flip in flips)
    style = "" if run < len(matrix.tests) else "$text-success" if passed == run else "$text-error"
    parts = [Content.styled(f"{render.line(newest.address, 40)} passes {passed} of {len(matrix.tests)}", style)]
    if run < len(matrix.tests):
        parts.append(Content.styled(f"{len(matrix.tests) - run} not run", "$text-warning"))
    if broken:
        parts.append(Content.styled(f"▼ {broken} broken", "bold $text-error"))
    if fixed:
        parts.append(Content.styled(f"▲ {fixed} fixed", "$text-success"))
    return Content(" · ").join(parts)


def cell_in_words(matrix: Matrix, test: PinnedTest, version: Version | None) -> Content:
    """Return a test, the reply of one version, and where it flipped that of the version before."""
    parts = [Content.styled(f"Test {test.id}: the reply {render.line(test.describe(), 300)}", "bold"), *_asked(test)]
    if version is not None:
        parts += [Content(""), *reply_in_words(matrix, test, version)]
        if (flip := matrix.flip(test, version)) is not None:
            parts += [Content(""), *reply_in_words(matrix, test, flip.before)]
    return Content("\n").join(parts)


def reply_in_words(matrix: Matrix, test: PinnedTest, version: Version) -> Iterator[Content]:
    """Return the result of one version, the result before where it flipped, and the reply."""
    result, flip = matrix.result(test, version), matrix.flip(test, version)
    address = render.line(version.address, 60)
    if result is None:
        yield Content.styled(f"{address} was not asked yet. r asks it.", "dim")
        return
    style = "$text-success" if result.passed else "$text-error"
    before = f", where {render.line(flip.before.address, 60)} {'failed' if flip.passed else 'passed'}" if flip else ""
    yield Content.styled(f"{address} {'passes' if result.passed else 'fails'}{before}", f"bold {style}")
    if not result.passed:
        yield render.text(test.rule.failure(result.reply), style)
    yield render.text(result.reply[:SHOWN]) if result.reply.strip() else Content.styled("(an empty reply)", "dim")


def _asked(test: PinnedTest) -> Iterator[Content]:
    if test.system is not None:
        yield render.text(f"System prompt: {render.line(test.system, 300)}", "dim")
    earlier = sum(said.role == "user" for said in test.dialog) - 1
    if earlier:
        yield Content.styled(f"After {earlier} earlier exchange{'s' if earlier > 1 else ''} of a chat:", "dim")
    yield render.text(test.prompt[:SHOWN])


def _own(text: str, room: int) -> Text:
    return Text(fit(render.line(text, 4 * room), room), no_wrap=True, end="")
