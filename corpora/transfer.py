"""Files into the store and out of it: what the command line and the screens call for import and export.

Knows the formats by name alone.
"""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, cast

from corpora import formats
from corpora.dialog import Preference, Status
from corpora.errors import DialogError, ImportRefused, UsageError
from corpora.files import written_whole
from corpora.formats import hub
from corpora.formats.form import Form, Kind, Refused
from corpora.formats.tables import write_parquet
from corpora.store import KEPT, Branch, Filter, ImportedDialog, PairFilter, Store
from corpora.store.preferences import pair_key
from corpora.store.values import copy_key

BATCH = 4000
BATCH_CHARACTERS = 8_000_000
LISTED = 10_000
SUFFIXES = (".json", ".jsonl", ".ndjson", ".csv", ".parquet")
JUDGED = Filter(statuses=(Status.KEPT, Status.REJECTED))


@dataclass(frozen=True, slots=True)
class RefusedRow:
    """A row that was not imported; line 0 means the whole file."""

    path: Path
    line: int
    reason: str


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What came in, or would in a dry run. `refused` lists the first `LISTED`; `refused_rows` counts all."""

    new: int = 0
    duplicates: int = 0
    preferences: int = 0
    refused: tuple[RefusedRow, ...] = ()
    refused_rows: int = 0
    formats: tuple[tuple[Path, str], ...] = ()


@dataclass(frozen=True, slots=True)
class ImportProgress:
    """How far an import has come."""

    path: Path
    rows: int


Progress = Callable[[ImportProgress], None]


def import_files(
    store: Store,
    paths: Sequence[Path],
    *,
    format: str | None = None,
    status: Status = Status.KEPT,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> ImportReport:
    """Import files, all data files in folders, and data sets of the hub (`owner/name`).

    What is there already is not added again. Rows that cannot be imported are listed, the others come in.
    Raises ImportRefused where the only file cannot be read, UsageError for an unknown format.
    """
    files = list(_files(paths))
    work = _Import(store, status, dry_run, progress)
    for path in files:
        try:
            work.add(path, format)
        except ImportRefused as error:
            work.flush()
            if len(files) == 1:
                raise
            work.refuse(path, Refused(0, error.what))
    store.index_in_background()
    return work.report


def export_file(
    store: Store,
    path: Path,
    format: str,
    where: Filter | None = None,
    *,
    pairs: PairFilter = PairFilter(),
    force: bool = False,
    left_out: Callable[[Branch, str], None] | None = None,
) -> int:
    """Write what matches (what is kept, without `where`; for thumbs what is rejected, too); returns the rows.

    Formats of preference pairs write those that match `pairs`.

    `.json` makes one array, anything else JSONL; `.gz` is packed. The file is whole or not there. A dialog
    that the format cannot express goes to `left_out`, or raises its DialogError without one.
    """
    writer = _writer(format)
    if path.exists() and not force:
        raise UsageError(f"{path} exists.", data="Nothing was written.", remedy="Name another file, or use --force.")
    rows = _rows(store, writer, where, pairs, left_out)
    with written_whole(path) as file:
        if format == "parquet":
            return write_parquet(rows, file)
        if not path.name.endswith(".gz"):
            return _write(rows, file, path.name.endswith(".json"))
        with gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0) as packed:
            return _write(rows, cast(BinaryIO, packed), path.name.endswith(".json.gz"))


class _Import:
    """One import: collects a batch, adds it, counts."""

    def __init__(self, store: Store, status: Status, dry_run: bool, progress: Progress | None) -> None:
        self.report = ImportReport()
        self._store, self._status, self._dry_run, self._progress = store, status, dry_run, progress
        self._dialogs: list[ImportedDialog] = []
        self._pairs: list[Preference] = []
        self._waiting = self._known = 0
        self._said: dict[bool, Counter[str]] = {}
        self._seen: set[str] = set()
        self._copies: Counter[str] = Counter()

    def add(self, path: Path, format: str | None) -> None:
        """Read one file to its end."""
        rows = 0
        self._copies.clear()
        for item in self._items(path, format):
            rows += 1
            if isinstance(item, Refused):
                self.refuse(path, item)
            else:
                self._collect(item[1])
            if self._waiting >= BATCH_CHARACTERS or len(self._dialogs) + len(self._pairs) >= BATCH:
                self._flush_and_tell(path, rows)
        self._flush_and_tell(path, rows)

    def _items(self, path: Path, format: str | None) -> Iterator[tuple[int, ImportedDialog | Preference] | Refused]:
        """What a file holds, or a data set of the hub where no file has that name."""
        if _is_on_hub(path):
            found, items = format or "hub", hub.read(str(path), format)
        else:
            found = format or formats.detect(path)
            items = formats.read(path, found)
        self.report = replace(self.report, formats=(*self.report.formats, (path, found)))
        return items

    def refuse(self, path: Path, row: Refused) -> None:
        """Count a refused row, and list it while there is room."""
        listed = self.report.refused
        if len(listed) < LISTED:
            listed = (*listed, RefusedRow(path, row.line, row.reason))
        self.report = replace(self.report, refused=listed, refused_rows=self.report.refused_rows + 1)

    def flush(self) -> None:
        """Add what was collected."""
        new, pairs = self._would_add() if self._dry_run else self._add()
        given = len(self._dialogs) + len(self._pairs) + self._known
        self.report = replace(
            self.report,
            new=self.report.new + new,
            preferences=self.report.preferences + pairs,
            duplicates=self.report.duplicates + given - new - pairs,
        )
        self._dialogs, self._pairs, self._waiting, self._known = [], [], 0, 0

    def _collect(self, item: ImportedDialog | Preference) -> None:
        """Rows of one file with equal content are all wanted; the same rows of a second import are not."""
        if isinstance(item, Preference):
            self._pairs.append(replace(item, copy=self._copy(pair_key(item))))
            self._waiting += len(item.chosen) + len(item.rejected) + sum(len(said.content) for said in item.dialog)
        else:
            copy = self._copy(item.key) - self._said_before(item)
            if copy < 0:
                self._known += 1
                return
            self._dialogs.append(replace(item, key=copy_key(item.key, copy)) if copy else item)
            self._waiting += sum(len(turn.prompt) + len(turn.reply) for turn in item.turns)

    def _said_before(self, item: ImportedDialog) -> int:
        """How often a dialog is in the store other than by an import. A thumb is on one exchange, so a dialog
        that goes on after it holds it, too."""
        thumb = bool(item.turns) and item.turns[-1].status is not None
        if thumb not in self._said:
            self._said[thumb] = self._store.said(beginnings=thumb)
        return self._said[thumb][item.key]

    def _copy(self, key: str) -> int:
        self._copies[key] += 1
        return self._copies[key] - 1

    def _flush_and_tell(self, path: Path, rows: int) -> None:
        self.flush()
        if self._progress is not None:
            self._progress(ImportProgress(path, rows))

    def _add(self) -> tuple[int, int]:
        new = self._store.add_dialogs(self._dialogs, self._status) if self._dialogs else 0
        return new, self._store.add_preferences(self._pairs) if self._pairs else 0

    def _would_add(self) -> tuple[int, int]:
        keys = {dialog.key for dialog in self._dialogs} - self._seen
        new = len(keys) - len(self._store.known_keys(list(keys)))
        pairs = {pair_key(pair): pair for pair in self._pairs}
        fresh = [pair for key, pair in pairs.items() if key not in self._seen]
        self._seen |= keys | pairs.keys()
        return new, len(fresh) - self._store.known_preferences(fresh)


def push_to_hub(
    store: Store, name: str, format: str = "messages", where: Filter | None = None, *, private: bool = True
) -> int:
    """Put what `export_file` would write up as a data set of the hub; returns the rows."""
    return hub.push(_rows(store, _writer(format), where, PairFilter(), None), name, private=private)


def can_be_read(path: Path) -> bool:
    """Whether there is a file or a folder, or a data set of the hub may have that name."""
    return path.exists() or _is_on_hub(path)


def _is_on_hub(path: Path) -> bool:
    name = str(path)
    return not path.exists() and hub.is_name(name) and not name.removesuffix(".gz").endswith((*SUFFIXES, ".txt"))


def _files(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        found = [each for each in sorted(path.rglob("*")) if _is_data(each)]
        if not found:
            raise ImportRefused(
                f"{path} holds no data files.",
                data="Nothing was imported from it.",
                remedy=f"Files that are looked for end in {', '.join(SUFFIXES)}, and .gz after it.",
            )
        yield from found


def _is_data(path: Path) -> bool:
    name = path.name.lower().removesuffix(".gz")
    return name.endswith(SUFFIXES) and not name.startswith(".") and name != "dataset_info.json" and path.is_file()


def _writer(format: str) -> Form:
    """The form of an export's rows; Parquet holds messages."""
    if format not in formats.WRITABLE:
        known = formats.FORMATS
        what = f"{format} is for import only" if format in known else f"There is no format {format!r:.40}"
        raise UsageError(f"{what}.", remedy=f"Export as one of {', '.join(formats.WRITABLE)}.")
    return formats.FORMS["messages" if format == "parquet" else format]


def _rows(
    store: Store,
    writer: Form,
    where: Filter | None,
    pairs: PairFilter,
    left_out: Callable[[Branch, str], None] | None,
) -> Iterator[dict[str, Any]]:
    if writer.write_pair is not None:
        for pair in _pairs(store, pairs):
            yield writer.write_pair(pair)
    if writer.write is None:
        return
    alone = writer.kind is Kind.EXCHANGES
    for branch in _branches(store, where or (JUDGED if alone else KEPT), alone):
        try:
            yield writer.write(branch)
        except DialogError as error:
            if left_out is None:
                raise type(error)(
                    f"Exchange {branch.exchanges[-1].id}: {error.what}",
                    data="Nothing was written.",
                    remedy=error.remedy,
                ) from error
            left_out(branch, error.what)


def _branches(store: Store, where: Filter, alone: bool) -> Iterator[Branch]:
    """Branches; with `alone` one for each wanted exchange, up to it."""
    for branch in store.branches(where):
        if not alone:
            yield branch
            continue
        for number, exchange in enumerate(branch.exchanges, start=1):
            if exchange.id in branch.wanted:
                yield Branch(branch.exchanges[:number], frozenset((exchange.id,)))


def _pairs(store: Store, where: PairFilter) -> Iterator[Preference]:
    """Matching pairs, the oldest first."""
    total = store.count_preferences(where)
    for start in range(0, total, BATCH):
        yield from store.preferences(BATCH, start, where=where, oldest_first=True)


def _write(rows: Iterable[dict[str, Any]], file: BinaryIO, array: bool) -> int:
    count = 0
    for row in rows:
        text = json.dumps(row, ensure_ascii=False, indent=2 if array else None)
        before = ("[\n" if count == 0 else ",\n") if array else ""
        file.write(f"{before}{text}{'' if array else chr(10)}".encode())
        count += 1
    if array:
        file.write(b"\n]\n" if count else b"[]\n")
    return count
