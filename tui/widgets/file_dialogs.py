"""Ask what to import or export and how; show what an import did, every refused row with its reason.

Know nothing of formats but their names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, TypeVar

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.widgets import Button, Checkbox, Input, Select, Static

from corpora import formats, transfer
from corpora.dialog import Status
from corpora.transfer import ImportReport
from tui import render
from tui.widgets.dialogs import Dialog
from tui.widgets.path_suggester import PathField, PathSuggester

Wanted = TypeVar("Wanted")
FOUND, KEPT, SHOWN, ALL_PAIRS = "by itself", "what is kept", "what the filter shows", "all pairs"
PREFERENCE = "preference"
LISTED = 500
OFFERED, MOVES = "tab or → completes · ↓ goes on", "tab or ↓ goes on"
KEYS = "↑ ↓ go from field to field · space opens a choice · esc cancels"


@dataclass(frozen=True, slots=True)
class ImportWanted:
    """A file or folder; None as format means: found by itself."""

    path: Path
    format: str | None
    status: Status
    dry_run: bool


@dataclass(frozen=True, slots=True)
class ExportWanted:
    """A new file; `shown` exports what the filter shows instead of what is kept, or of all pairs."""

    path: Path
    format: str
    shown: bool
    force: bool


class Choice(Select[str], inherit_bindings=False):
    """A choice that only enter or space opens: the arrows go from field to field, here as everywhere."""

    BINDINGS = [Binding("enter,space", "show_overlay", "Show the choices", show=False)]


class FileDialog(Dialog[Wanted], Generic[Wanted]):
    """A path and a few choices."""

    DEFAULT_CSS = """
    FileDialog {
        & .line { height: 1; margin-bottom: 1; }
        & .label { width: 10; }
        & .path { margin-bottom: 0; }
        & .hint { height: 1; padding-left: 10; color: $text-muted; }
        & Input { width: 1fr; background: $panel; }
        & Select { width: 28; }
        & Checkbox { width: auto; background: $surface; padding: 0; }
    }
    """
    BINDINGS = [
        Binding("down", "app.focus_next", "Next", show=False),
        Binding("up", "app.focus_previous", "Previous", show=False),
    ]

    def choice(self, label: str, options: Sequence[str], value: str, name: str) -> ComposeResult:
        """One line with a choice."""
        with Horizontal(classes="line"):
            yield Static(label, classes="label")
            yield Choice([(each, each) for each in options], value=value, allow_blank=False, compact=True, id=name)

    def path_line(self, value: str = "") -> ComposeResult:
        """The path, completed as it is typed, and below it what the keys do."""
        with Horizontal(classes="line path"):
            yield Static("file", classes="label")
            yield PathField(value, compact=True, suggester=PathSuggester(), id="path")
        yield Static(MOVES, classes="hint", markup=False)

    def on_mount(self) -> None:
        """A hint for as long as there is something to complete."""
        self.watch(self.query_one(PathField), "_suggestion", self._show_hint)

    def _show_hint(self) -> None:
        self.query_one(".hint", Static).update(OFFERED if self.query_one(PathField).offered else MOVES)

    def foot(self, done: str) -> ComposeResult:
        """What is wrong, and the buttons."""
        yield Static("", classes="error", markup=False)
        with Horizontal(classes="buttons"):
            yield Button("Cancel", compact=True, id="cancel")
            yield Button(done, variant="primary", compact=True, id="done")
        yield Static(KEYS, classes="keys", markup=False)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter in the path is the main button."""
        event.stop()
        self.finish()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """A button answers."""
        event.stop()
        if event.button.id == "cancel":
            self.dismiss(None)
        else:
            self.finish()

    def finish(self) -> None:
        """Answer, if there is a path."""
        if not self.query_one("#path", Input).value.strip():
            self.say_error("Which file?")
            return
        self.dismiss(self.answer())

    def answer(self) -> Wanted:
        """What the fields say."""
        raise NotImplementedError

    def path(self) -> Path:
        """The path, `~` read."""
        return Path(self.query_one("#path", Input).value.strip()).expanduser()

    def chosen(self, name: str) -> str:
        """The value of a choice."""
        return str(self.query_one(f"#{name}", Select).value)


class Tick(Checkbox):
    """A box whose sign alone says whether it is ticked: colours do not reach every terminal."""

    BUTTON_INNER = " "

    def watch_value(self) -> None:
        """Show the sign, or none."""
        self.BUTTON_INNER = "X" if self.value else " "
        super().watch_value()


class ImportDialog(FileDialog[ImportWanted]):
    """Which file, in which format, as what; or only look."""

    def compose(self) -> ComposeResult:
        """Path, format, status, dry run."""
        with self.window("Import"):
            yield Static("A file or a folder; .gz is fine. What is there already is not added again.", classes="body")
            yield from self.path_line()
            yield from self.choice("format", (FOUND, *formats.FORMATS), FOUND, "format")
            yield from self.choice("rows are", [status.value for status in Status], Status.KEPT.value, "status")
            yield Tick("only say what would come in (dry run)", compact=True, id="dry")
            yield from self.foot("Import")

    def answer(self) -> ImportWanted:
        """What the fields say."""
        chosen = self.chosen("format")
        dry = self.query_one("#dry", Checkbox).value
        return ImportWanted(self.path(), None if chosen == FOUND else chosen, Status(self.chosen("status")), dry)

    def finish(self) -> None:
        """A name that is neither a file nor a data set of the hub stays to be put right."""
        typed = self.query_one("#path", Input).value.strip()
        if typed and not transfer.can_be_read(self.path()):
            self.say_error(f"There is no {render.line(typed, 200)}.")
            return
        super().finish()


class ExportDialog(FileDialog[ExportWanted]):
    """Into which file, in which format, what."""

    def __init__(self, proposed: Path, found: int, *, pairs: bool = False) -> None:
        super().__init__()
        self.proposed, self.found, self.pairs = proposed, found, pairs
        self._warned = False

    def compose(self) -> ComposeResult:
        """Path, format, what."""
        whole = ALL_PAIRS if self.pairs else KEPT
        with self.window("Export"):
            yield Static(self._hint(), classes="body")
            yield from self.path_line(str(self.proposed))
            if not self.pairs:
                yield from self.choice("format", formats.WRITABLE, "messages", "format")
            yield from self.choice("rows", (whole, SHOWN), whole, "rows")
            yield from self.foot("Export")

    def answer(self) -> ExportWanted:
        """What the fields say."""
        format = PREFERENCE if self.pairs else self.chosen("format")
        return ExportWanted(self.path(), format, self.chosen("rows") == SHOWN, self._warned)

    def _hint(self) -> str:
        pairs = "Prompt, chosen and rejected, as TRL's DPOTrainer reads them. " if self.pairs else ""
        return f"{pairs}.jsonl writes lines, .json one array; .gz is packed. The filter shows {self.found:,}."

    def finish(self) -> None:
        """A file that is there is written over only when asked twice."""
        path = self.query_one("#path", Input).value.strip()
        if path and self.path().exists() and not self._warned:
            self._warned = True
            self.say_error(f"{path} is there already. Export again to write over it.")
            return
        super().finish()

    def on_input_changed(self) -> None:
        """Another path asks again."""
        self._warned = False


class ImportTold(Dialog[bool]):
    """What came in; after a dry run, True to import it now."""

    DEFAULT_CSS = "ImportTold VerticalScroll { height: auto; max-height: 24; }"

    def __init__(self, report: ImportReport, wanted: ImportWanted) -> None:
        super().__init__()
        self.report, self.wanted = report, wanted

    BINDINGS = [Binding("enter", "go", "Go on")]

    def compose(self) -> ComposeResult:
        """Counts, formats, refused rows."""
        with self.window("What would come in" if self.wanted.dry_run else "Imported"):
            with VerticalScroll():
                yield Static(told(self.report, dry=self.wanted.dry_run), classes="body")
            keys = "enter imports it now · esc cancels" if self.wanted.dry_run else "esc closes"
            yield Static(keys, classes="keys", markup=False)

    def action_go(self) -> None:
        """Enter: import after a dry run, else close."""
        self.dismiss(self.wanted.dry_run)


def now(wanted: ImportWanted) -> ImportWanted:
    """The same import, not dry."""
    return replace(wanted, dry_run=False)


def told(report: ImportReport, *, dry: bool) -> Content:
    """A report in words, every refused row with its place and reason."""
    would = "would be " if dry else ""
    parts = [
        Content.assemble(
            (f"{report.new:,}", "bold"), f" new {'exchanges' if report.new != 1 else 'exchange'} {would}added"
        )
    ]
    if report.preferences:
        pairs = "pairs" if report.preferences != 1 else "pair"
        parts.append(Content(f", {report.preferences:,} preference {pairs}"))
    if report.duplicates:
        parts.append(Content(f", {report.duplicates:,} were there already"))
    parts.append(Content("."))
    for path, name in report.formats:
        parts.append(Content.styled(f"\n{render.line(str(path), 90)}: {name}", "dim"))
    if report.refused_rows:
        rows = "rows" if report.refused_rows != 1 else "row"
        parts.append(Content.styled(f"\n\n{report.refused_rows:,} {rows} refused", "bold $text-warning"))
    for row in report.refused[:LISTED]:
        place = f"line {row.line}" if row.line else "the file"
        parts.append(render.text(f"\n{render.line(row.path.name, 40)}, {place}: {render.line(row.reason, 300)}"))
    if report.refused_rows > LISTED:
        parts.append(Content.styled(f"\n… and {report.refused_rows - LISTED:,} more", "dim"))
    return Content("").join(parts)
