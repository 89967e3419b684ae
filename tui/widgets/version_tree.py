"""The versions of all adapters as a tree, with the result of the gate, their metrics and votes.

Draws lineages and verdicts; independent of the registry and the store.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from rich.text import Text
from textual.binding import Binding
from textual.content import Content
from textual.message import Message
from textual.widgets import DataTable

from corpora.dialog import Verdict, Vote
from sessions.errors import AdapterDamaged
from sessions.lineage import Branch, Lineage
from sessions.protocol import BASE
from tui import gate_text, render
from tui.widgets.gate_tab import STYLES
from tui.widgets.paged_table import age_of
from tui.widgets.verdicts import undecided

WIDE = 70


@dataclass(frozen=True, slots=True)
class Votes:
    """How often a version won, lost, or neither."""

    won: int = 0
    lost: int = 0
    ties: int = 0
    both_bad: int = 0

    def __str__(self) -> str:
        return " · ".join([f"{self.won}–{self.lost}", *undecided(self.ties, self.both_bad)]) if self.all else ""

    @property
    def short(self) -> str:
        """The same where there is no room for words."""
        neither = [f"{sign}{count}" for sign, count in (("=", self.ties), ("✗", self.both_bad)) if count]
        return " ".join([f"{self.won}–{self.lost}", *neither]) if self.all else ""

    @property
    def all(self) -> int:
        """All of them."""
        return self.won + self.lost + self.ties + self.both_bad


@dataclass(frozen=True, slots=True)
class Shelf:
    """The tree, what cannot be read, votes by identity, and what the chat answers with."""

    branches: Sequence[Branch] = ()
    damaged: Sequence[AdapterDamaged] = ()
    votes: dict[str, Votes] = field(default_factory=dict)
    in_use: str = BASE

    def lineage(self, address: str | None) -> Lineage | None:
        """The lineage of a version that can be read."""
        return next((each.lineage for each in self.branches if each.lineage.address == address), None)


def count_votes(verdicts: Iterable[Verdict]) -> dict[str, Votes]:
    """The votes for, against and for neither of every version and the base, by identity, over all comparisons."""
    won, lost, ties, both_bad = (Counter[str]() for _ in range(4))
    for verdict in verdicts:
        pair = (verdict.left_version or verdict.left_adapter, verdict.right_version or verdict.right_adapter)
        if verdict.vote in (Vote.LEFT, Vote.RIGHT):
            winner, loser = pair if verdict.vote is Vote.LEFT else pair[::-1]
            won[winner] += 1
            lost[loser] += 1
        else:
            (ties if verdict.vote is Vote.TIE else both_bad).update(set(pair))
    names = {*won, *lost, *ties, *both_bad}
    return {name: Votes(won[name], lost[name], ties[name], both_bad[name]) for name in names}


class VersionTree(DataTable[Text]):
    """One row for each version, the base first; `marked` are chosen to be compared."""

    DEFAULT_CSS = """
    VersionTree { scrollbar-size-vertical: 1; background: $surface; }
    """
    BINDINGS = [
        Binding("j", "cursor_down", "Next", show=False),
        Binding("k", "cursor_up", "Previous", show=False),
        Binding("g", "scroll_top", "First", show=False),
        Binding("G", "scroll_bottom", "Last", show=False),
    ]

    class Marked(Message):
        """Other versions are marked."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id, cursor_type="row", zebra_stripes=False)
        self.shelf = Shelf()
        self.marked: list[str] = []
        self._wide: bool | None = None

    @property
    def chosen(self) -> str | None:
        """The version under the cursor: `base`, `NAME/vN`, or None on a row that cannot be read."""
        if not self.row_count:
            return None
        key = self.coordinate_to_cell_key(self.cursor_coordinate).row_key.value
        return key if key is not None and not key.startswith("!") else None

    def show(self, shelf: Shelf) -> None:
        """Draw everything again, with the cursor on the same version."""
        before = self.chosen or shelf.in_use
        self.shelf = shelf
        known = {BASE, *(each.lineage.address for each in shelf.branches)}
        self.marked = [each for each in self.marked if each in known]
        with self.prevent(DataTable.RowHighlighted):
            self._set_columns(self.size.width >= WIDE)
            self.clear()
            self._fill()
        self._point_at(before if before in known else BASE)

    def _set_columns(self, wide: bool) -> None:
        if wide != self._wide:
            self._wide = wide
            self.clear(columns=True)
            for name in ("  Version", *(("Rows", "Steps", "Loss") if wide else ()), "Held out", "Votes", "Age"):
                self.add_column(name, key=name)

    def toggle(self) -> None:
        """Mark or unmark the row; of three the oldest mark goes."""
        if (chosen := self.chosen) is None:
            return
        self.marked = (
            [each for each in self.marked if each != chosen] if chosen in self.marked else [*self.marked, chosen]
        )
        self.marked = self.marked[-2:]
        self.show(self.shelf)
        self.post_message(self.Marked())

    def on_resize(self) -> None:
        """Fewer columns and words on a narrow terminal."""
        if self._wide is not None:
            self.show(self.shelf)

    def _fill(self) -> None:
        rows = self._rows(str)
        if self._width_of(rows) > self.scrollable_content_region.width:
            rows = self._rows(lambda votes: votes.short)
        for key, cells in rows:
            self.add_row(*cells, key=key)
        for place, error in enumerate(self.shelf.damaged):
            cells = [Text.assemble(("✗ ", "red"), render.cell(error.what, "red", 60))]
            self.add_row(*cells, *(Text("") for _ in range(len(self.columns) - 1)), key=f"!{place}")

    def _rows(self, shown: Callable[[Votes], str]) -> list[tuple[str, list[Text]]]:
        rows = [self._row(BASE, "", Text("the model itself", "dim"), None, shown)]
        for each in self.shelf.branches:
            lineage = each.lineage
            indent = "  " * each.depth + ("└ " if each.depth else "")
            rows.append(self._row(lineage.address, indent, _flag(each), lineage, shown))
        return rows

    def _row(
        self, address: str, indent: str, flag: Text, lineage: Lineage | None, shown: Callable[[Votes], str]
    ) -> tuple[str, list[Text]]:
        used = address == self.shelf.in_use
        mark = "◆ " if address in self.marked else "● " if used else "  "
        name = Text.assemble(
            (mark, "green bold"), (indent, "dim"), (render.line(address, 80), "bold" if used else ""), " ", flag
        )
        votes = Text(shown(self.shelf.votes.get(lineage.digest if lineage else BASE, Votes())))
        age = Text(age_of(lineage.created) if lineage else "", justify="right")
        return address, [name, *self._figures(lineage), votes, age]

    def _figures(self, lineage: Lineage | None) -> list[Text]:
        held_out = _figure(lineage.held_out if lineage else None)
        if not self._wide:
            return [held_out]
        counts = (str(lineage.rows), str(lineage.steps)) if lineage else ("", "")
        loss = _figure(lineage.loss if lineage else None)
        return [*(Text(count, justify="right") for count in counts), loss, held_out]

    def _width_of(self, rows: list[tuple[str, list[Text]]]) -> int:
        heads = [column.label for column in self.ordered_columns]
        cells = zip(heads, *(row for _, row in rows), strict=True)
        return sum(max(cell.cell_len for cell in column) + 2 * self.cell_padding for column in cells)

    def _point_at(self, address: str) -> None:
        self.move_cursor(row=self.get_row_index(address), animate=False)


def _flag(branch: Branch) -> Text:
    """What is worth knowing of a version in a word or two."""
    words = [
        ("failed", "yellow") if branch.lineage.checked == "failed" else ("", ""),
        ("current", "dim") if branch.current else ("", ""),
        ("new", "green") if branch.offered else ("", ""),
    ]
    return Text(" ").join(Text(word, style) for word, style in words if word)


def detail_of(shelf: Shelf, address: str | None) -> Content:
    """All that is known of one version."""
    lineage = shelf.lineage(address)
    if address == BASE:
        return Content.assemble(("base", "bold"), "\nThe model itself, without an adapter. It never changes.")
    if lineage is None:
        shown = "\n\n".join(str(error) for error in shelf.damaged)
        return render.text(shown, "$text-error") if shown else Content("")
    parts = [
        Content.styled(render.line(lineage.address, 80), "bold"),
        *_states(shelf, lineage),
        Content(""),
        *_facts(lineage),
    ]
    parts += _broken(lineage)
    parts += _scores(lineage)
    votes = shelf.votes.get(lineage.digest)
    if votes:
        words = [f"won {votes.won}", f"lost {votes.lost}", *undecided(votes.ties, votes.both_bad)]
        parts += [Content(""), Content(f"votes: {', '.join(words)}")]
    return Content("\n").join(parts)


def _states(shelf: Shelf, lineage: Lineage) -> list[Content]:
    branch = next(each for each in shelf.branches if each.lineage.address == lineage.address)
    lines = []
    if lineage.address == shelf.in_use:
        lines.append(Content.styled("answers in the chat", "$text-success"))
    if branch.current:
        lines.append(Content.styled("the accepted version of its name", "dim"))
    if branch.offered:
        lines.append(Content.styled("new and not used yet: u accepts it", "$text-warning"))
    return [*lines, *_gate(lineage)]


def _gate(lineage: Lineage) -> list[Content]:
    """The result of the gate, the counts, the reasons against the version."""
    if lineage.gate is None:
        return [Content.styled("The gate did not check it.", "dim")]
    return _drawn(gate_text.result_of(lineage.gate))


def _broken(lineage: Lineage) -> list[Content]:
    """The prompts that failed, with what was expected and what came."""
    failed = gate_text.failed_in(lineage.gate) if lineage.gate is not None else []
    lines = [Content("")] if failed else []
    for answer in failed:
        lines += _drawn(gate_text.answer_lines(answer))
    return lines


def _drawn(lines: Sequence[gate_text.Line]) -> list[Content]:
    return [render.text(text, STYLES[style]) for text, style in lines]


def _facts(lineage: Lineage) -> list[Content]:
    facts = {
        "continues": lineage.parent,
        "base model": lineage.base_model,
        "trained on": f"{lineage.rows:,} rows in {lineage.steps:,} steps" if lineage.rows else "",
        "method": lineage.method,
        "rank": str(lineage.rank or ""),
        "loss": f"{lineage.loss:.4f}" if lineage.loss is not None else "",
        "held out": f"{lineage.held_out:.4f}" if lineage.held_out is not None else "",
        "run": lineage.run,
        "content": lineage.digest[:16],
        "note": lineage.note,
    }
    return [
        Content.assemble((f"{name:<13}", "dim"), render.text(render.line(value, 300)))
        for name, value in facts.items()
        if value
    ]


def _scores(lineage: Lineage) -> list[Content]:
    if not lineage.scores:
        return []
    head = Content.styled(f"\n{'loss on':<13}{'base':>8}{'parent':>8}{'this':>8}", "dim")
    lines = [
        Content.assemble(
            f"{render.line(score.subset, 12).replace('_', ' '):<13}{score.base:>8.3f}{score.parent:>8.3f}",
            (f"{score.new:>8.3f}", "bold $text-success" if score.new <= score.parent else "bold $text-warning"),
        )
        for score in lineage.scores
    ]
    return [head, *lines]


def _figure(value: float | None) -> Text:
    return Text("–" if value is None else f"{value:.3f}", style="dim" if value is None else "", justify="right")
