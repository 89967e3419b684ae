"""What the checks have found, what matters most first: each with its reason and, at a key, its fix.

Is given findings; what a fix does is the caller's.
"""

from __future__ import annotations

import textwrap
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size
from textual.app import ComposeResult
from textual.binding import Binding
from textual.content import Content
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from corpora import curation
from corpora.dialog import Exchange
from corpora.errors import LlamaTuiError
from corpora.findings import Finding, Fix, Kind
from corpora.store import Store
from corpora.tokens import Tokenizer
from sessions.model_words import tokenizer_of
from sessions.training.recipe import Recipe
from tui import render
from tui.widgets.dialogs import Dialog

MOST = 500
KIND, STATUS = 15, 9


@dataclass(frozen=True, slots=True)
class Found:
    """The first findings, the exchanges that they are about, how many of each kind there are, what was not checked."""

    findings: Sequence[Finding]
    exchanges: dict[int, Exchange]
    counts: dict[Kind, int]
    left_out: str = ""


class Findings(Dialog[int]):
    """Enter leaves with the exchange's id; `f` applies the fix and goes on."""

    DEFAULT_CSS = """
    Findings > .window { height: 90%; }
    Findings .counts { height: auto; margin-bottom: 1; }
    Findings OptionList { height: 1fr; border: none; background: $surface; }
    """
    BINDINGS = [Binding("f", "fix", "Fix"), Binding("q", "leave", "Close", show=False)]

    def __init__(self, found: Found, fix: Callable[[Finding], Awaitable[bool]]) -> None:
        super().__init__()
        self.findings, self.exchanges, self.fix = list(found.findings), found.exchanges, fix
        self.counts, self.left_out = dict(found.counts), found.left_out

    def compose(self) -> ComposeResult:
        """How many of each kind, the list, the keys."""
        with self.window(self._title()):
            yield Static(self._head(), classes="counts", markup=False)
            yield OptionList(*self._options(), markup=False, compact=True)
            yield Static("enter shows it · f fixes it (u undoes) · esc closes", classes="keys", markup=False)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Leave with this exchange."""
        event.stop()
        self.dismiss(self.findings[event.option_index].exchange_id)

    async def action_fix(self) -> None:
        """Apply the fix of the marked finding; one that only a person can fix is shown instead."""
        options = self.query_one(OptionList)
        place = options.highlighted
        if place is None or place >= len(self.findings):
            return
        finding = self.findings[place]
        if finding.fix is Fix.LOOK:
            self.dismiss(finding.exchange_id)
        elif await self.fix(finding):
            self._settle(finding)
            self._show(min(place, len(self.findings) - 1))

    def _settle(self, fixed: Finding) -> None:
        """Take out what a fix has settled: one finding, or all on an exchange that is rejected."""
        whole = fixed.fix is Fix.REJECT
        gone = [each for each in self.findings if each is fixed or (whole and each.exchange_id == fixed.exchange_id)]
        for each in gone:
            self.findings.remove(each)
            self.counts[each.kind] -= 1

    def _show(self, place: int) -> None:
        if not self.findings:
            self.dismiss(None)
            return
        options = self.query_one(OptionList)
        options.set_options(self._options())
        options.highlighted = place
        self.query_one(".counts", Static).update(self._head())
        self.query_one(".window").border_title = self._title()

    def _title(self) -> str:
        total = sum(self.counts.values())
        more = f", the first {len(self.findings):,} are listed" if len(self.findings) < total else ""
        return f"Checks: {total:,} found{more}"

    def _head(self) -> Content:
        # A count stays on one line with its kind, which blanks that do not break see to.
        kinds = curation.counted(self.counts).replace(" ", "\u00a0").replace("·\u00a0", "· ")
        lines = textwrap.wrap(kinds, max(self._room, 20))
        told = "\n".join(lines).replace("\u00a0", " ")
        return Content.assemble(told, (f"\n{self.left_out}" if self.left_out else "", "dim"))

    @property
    def _room(self) -> int:
        return min(self.app.size.width * 9 // 10, 100) - 6

    def _options(self) -> list[Option]:
        return [Option(self._line(each)) for each in self.findings]

    def _line(self, finding: Finding) -> Content:
        room = self._room
        exchange = self.exchanges.get(finding.exchange_id)
        prompt = fitted(exchange.prompt if exchange else "", room - KIND - STATUS)
        status = f"{exchange.status.value if exchange else '':<{STATUS}}"
        told = (f"{finding.kind.value:<{KIND}}", "bold $text-warning"), (status, "dim"), f"{prompt}\n"
        return Content.assemble(*told, (f"→ {fitted(f'{finding.advice}: {finding.reason}', room - 2)}", "dim"))


def fitted(text: str, cells: int) -> str:
    """Foreign text on one line of so many cells."""
    line = render.line(text, max(cells, 1))
    return line if cell_len(line) <= cells else f"{set_cell_size(line, max(cells - 1, 0)).rstrip()}…"


def found(store: Store, model: str) -> Found:
    """What the checks find over the corpus; lengths where the model's tokenizer is at hand. Raises StoreError."""
    tokenizer: Tokenizer | None = None
    left_out = ""
    try:
        tokenizer = tokenizer_of(model)
    except (LlamaTuiError, OSError) as error:
        left_out = f"Lengths are not checked: {render.line(str(error), 200)}"
    survey = curation.survey(store, tokenizer=tokenizer, max_length=Recipe().max_length)
    first = survey.findings[:MOST]
    rows = store.exchanges(sorted({finding.exchange_id for finding in first}))
    return Found(first, {row.id: row for row in rows}, survey.counts, left_out)
