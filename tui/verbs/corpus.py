"""`corpus import|export|push`: files in, what is kept out.

Knows no format: `corpora.transfer` does.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from corpora import queries
from corpora.dialog import Status
from corpora.errors import UsageError
from corpora.formats import hub, llamafactory
from corpora.store import Branch, Filter, Store
from corpora.transfer import ImportProgress, ImportReport, RefusedRow, export_file, import_files, push_to_hub
from sessions.errors import Cancelled
from tui.output import Output
from tui.render import clean
from tui.verbs.call import Call, given_text

SHOWN = 50
"""Refused rows that are listed on the screen; `--json` lists more."""


@dataclass(frozen=True, slots=True)
class Imported:
    """What `corpus import --json` prints; `refused` is a list with line and reason, `refused_rows` their number."""

    new: int
    duplicates: int
    preferences: int
    refused_rows: int
    refused: tuple[RefusedRow, ...]
    formats: dict[str, str]
    dry_run: bool


@dataclass(frozen=True, slots=True)
class Exported:
    """What `corpus export --json` prints; `left_out` are rows that the format cannot express."""

    path: str
    format: str
    rows: int
    left_out: tuple[str, ...]


def bring_in(call: Call) -> int:
    """Import; 1 where nothing of it could be read."""
    given = call.given

    def tell(now: ImportProgress) -> None:
        call.output.progress(f"{now.path.name}: {now.rows:,} rows")

    try:
        report = import_files(
            call.workspace.store,
            [Path(name).expanduser() for name in given.files],
            format=given.format,
            status=Status(given.status),
            dry_run=given.dry_run,
            progress=tell,
        )
    except KeyboardInterrupt as stopped:
        stays = "" if given.dry_run else " What had come in stays; the same import again brings the rest."
        raise Cancelled(f"Cancelled.{stays}") from stopped
    if call.output.json:
        call.output.document(_imported(report, given.dry_run))
    tell_import(call.output, report, given.dry_run)
    return 0 if report.new or report.duplicates or report.preferences or not report.refused_rows else 1


def export(call: Call) -> int:
    """Export what is kept; a filter without a status narrows that down."""
    format, left_out = call.given.format or format_of(call.given.file), list[str]()
    where = filter_of(call.given.filter, Status.KEPT) if call.given.filter else None
    if call.given.dataset_info:
        _check_listed(call.given.file, format)
    if call.given.file == "-":
        with tempfile.TemporaryDirectory(prefix="llama-tui-") as folder:
            path = Path(folder) / "export"
            rows = write_out(call.workspace.store, path, format, left_out, where=where)
            _to_stdout(call.output, path)
    else:
        path = Path(call.given.file).expanduser()
        rows = write_out(call.workspace.store, path, format, left_out, where=where, force=call.given.force)
        if call.given.dataset_info:
            call.output.note(f"Listed in {llamafactory.describe(path, format)}.")
    if call.output.json:
        call.output.document(Exported(call.given.file, format, rows, tuple(left_out)))
    for line in left_out[:SHOWN]:
        call.output.note(line, "yellow")
    call.output.note(f"{rows:,} rows written as {format}" + (f", {len(left_out):,} left out." if left_out else "."))
    return 0


def push(call: Call) -> int:
    """Put what is kept up on the hub, private unless asked otherwise."""
    given = call.given
    if not hub.is_name(given.name) or ":" in given.name:
        raise UsageError(
            f"{given.name!r:.80} is no name on the hub.", data="Nothing left this machine.", remedy="Use OWNER/NAME."
        )
    rows = push_to_hub(call.workspace.store, given.name, given.format, private=not given.public)
    if call.output.json:
        call.output.document({"name": given.name, "format": given.format, "rows": rows, "private": not given.public})
    call.output.note(f"{rows:,} rows put up as {given.name}, {'for all to see' if given.public else 'private'}.")
    return 0


def write_out(
    store: Store, path: Path, format: str, left_out: list[str], *, where: Filter | None = None, force: bool = False
) -> int:
    """Export to a file; what the format cannot express is collected in words. Returns the rows."""

    def leave(branch: Branch, reason: str) -> None:
        left_out.append(f"exchange {branch.exchanges[-1].id}: {reason}")

    return export_file(store, path, format, where, force=force, left_out=leave)


def filter_of(query: str, *statuses: Status) -> Filter:
    """What `--filter` means: exchanges of these statuses, where it names none. Raises UsageError."""
    found = queries.parse(given_text(query))
    return found if found.statuses or not statuses else replace(found, statuses=statuses)


def format_of(name: str) -> str:
    """The format that a file's name asks for."""
    return "parquet" if name.endswith(".parquet") else "messages"


def tell_import(output: Output, report: ImportReport, dry_run: bool) -> None:
    """What came in, and what did not with line and reason."""
    if report.refused_rows:
        shown = report.refused[:SHOWN]
        for row in shown:
            output.note(f"{row.path}:{row.line}: {row.reason}" if row.line else f"{row.path}: {row.reason}", "yellow")
        if report.refused_rows > len(shown):
            output.note(f"… and {report.refused_rows - len(shown):,} more.")
    parts = [f"{report.new:,} {'would come in' if dry_run else 'new'}"]
    parts += [f"{report.preferences:,} preference pairs"] if report.preferences else []
    parts += [f"{report.duplicates:,} there already", f"{report.refused_rows:,} refused"]
    forms = ", ".join(sorted({found for _, found in report.formats}))
    output.say(f"{', '.join(parts)}{f' ({forms})' if forms else ''}.")


def _check_listed(file: str, format: str) -> None:
    """Before anything is written."""
    if file == "-" or format not in llamafactory.DESCRIBED:
        raise UsageError(
            f"LLaMA-Factory finds no {'export on stdout' if file == '-' else f'{format} export'}.",
            data="Nothing was written.",
            remedy=f"Export to a file, as one of {', '.join(llamafactory.DESCRIBED)}.",
        )


def _imported(report: ImportReport, dry_run: bool) -> Imported:
    return Imported(
        new=report.new,
        duplicates=report.duplicates,
        preferences=report.preferences,
        refused_rows=report.refused_rows,
        refused=report.refused,
        formats={str(path): found for path, found in report.formats},
        dry_run=dry_run,
    )


def _to_stdout(output: Output, path: Path) -> None:
    """As it is into a pipe or file; cleaned onto a terminal. With `json` stdout is for the document."""
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            output.write(clean(line) if output.terminal else line)
