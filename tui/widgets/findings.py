"""What the checks have found: each with its reason and, at a key, its fix.

Is given findings; what a fix does is the caller's.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from itertools import islice

from rich.cells import cell_len, set_cell_size
from textual.app import ComposeResult
from textual.binding import Binding
from textual.content import Content
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from corpora import curation
from corpora.findings import Finding, Fix
from corpora.store import Store
from tui import render
from tui.widgets.dialogs import Dialog

MOST = 500
KIND = 15


class Findings(Dialog[int]):
    """Enter leaves with the exchange's id; `f` applies the fix and goes on."""

    DEFAULT_CSS = """
    Findings > .window { height: 90%; }
    Findings OptionList { height: 1fr; border: none; background: $surface; }
    """
    BINDINGS = [Binding("f", "fix", "Fix"), Binding("q", "leave", "Close", show=False)]

    def __init__(
        self, findings: Sequence[Finding], prompts: dict[int, str], fix: Callable[[Finding], Awaitable[bool]]
    ) -> None:
        super().__init__()
        self.findings, self.prompts, self.fix = list(findings), prompts, fix

    def compose(self) -> ComposeResult:
        """The list and the keys."""
        with self.window(self._title()):
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
            del self.findings[place]
            options.set_options(self._options())
            self.query_one(".window").border_title = self._title()
            options.highlighted = min(place, len(self.findings) - 1) if self.findings else None
            if not self.findings:
                self.dismiss(None)

    def _title(self) -> str:
        more = "the first " if len(self.findings) >= MOST else ""
        return f"Checks: {more}{len(self.findings)} found"

    def _options(self) -> list[Option]:
        return [Option(self._line(each)) for each in self.findings]

    def _line(self, finding: Finding) -> Content:
        room = min(self.app.size.width * 9 // 10, 100) - 6
        prompt = fitted(self.prompts.get(finding.exchange_id, ""), room - KIND)
        told = (f"{finding.kind.value:<{KIND}}", "bold $text-warning"), f"{prompt}\n"
        return Content.assemble(*told, (f"→ {fitted(f'{finding.advice}: {finding.reason}', room - 2)}", "dim"))


def fitted(text: str, cells: int) -> str:
    """Foreign text on one line of so many cells."""
    line = render.line(text, max(cells, 1))
    return line if cell_len(line) <= cells else f"{set_cell_size(line, max(cells - 1, 0)).rstrip()}…"


def found(store: Store) -> tuple[list[Finding], dict[int, str]]:
    """The first findings over the corpus, and the prompts they are about. Raises StoreError."""
    findings = list(islice(curation.check(store), MOST))
    ids = sorted({finding.exchange_id for finding in findings})
    return findings, {exchange.id: exchange.prompt for exchange in store.exchanges(ids)}
