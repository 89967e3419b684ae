"""Rows of CSV and Parquet files; which format their columns hold is found as for JSON.

pyarrow is imported only where a Parquet file is met.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from corpora.errors import CorpusError, ImportRefused
from corpora.formats.form import Refused
from corpora.formats.sources import MAX_ROW, Numbered, opened

AT_ONCE = 256
_STRUCTURED = ("messages", "conversations", "answers", "history", "prompt", "chosen", "rejected", "completion")


def csv_rows(path: Path) -> Iterator[Numbered | Refused]:
    """(line, row) of a CSV file with a header; lists in its cells are JSON."""
    csv.field_size_limit(MAX_ROW)
    with opened(path) as file:
        table = csv.DictReader(io.TextIOWrapper(file, "utf-8-sig", errors="surrogateescape", newline=""), strict=True)
        while True:
            try:
                row = next(table, None)
            except (csv.Error, OSError, EOFError) as error:
                yield Refused(table.line_num, f"{error}; the rest of the file was left out")
                return
            if row is None:
                return
            yield _cells(row, table.line_num)


def parquet_rows(path: Path) -> Iterator[Numbered | Refused]:
    """(row number, row) of a Parquet file."""
    try:
        import pyarrow as arrow
        from pyarrow import parquet
    except ImportError as error:
        raise ImportRefused("Parquet needs pyarrow.", remedy="pip install pyarrow") from error
    number = 0
    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(AT_ONCE):
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
    except (arrow.ArrowException, OSError, ValueError) as error:
        said = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise ImportRefused(
            f"{path} is not a whole Parquet file: {said}.",
            data=f"{number} rows were read before.",
            remedy="Get it again.",
        ) from error


def write_parquet(rows: Iterable[dict[str, Any]], file: BinaryIO) -> int:
    """Write rows of one shape; returns how many."""
    try:
        import pyarrow as arrow
        from pyarrow import parquet
    except ImportError as error:
        raise CorpusError("Parquet needs pyarrow.", remedy="pip install pyarrow") from error
    batch, writer, count = list[dict[str, Any]](), None, 0
    for row in rows:
        batch.append(row)
        if len(batch) >= 10_000:
            table = arrow.Table.from_pylist(batch, schema=writer.schema if writer else None)
            writer = writer or parquet.ParquetWriter(file, table.schema)
            writer.write_table(table)
            count, batch = count + len(batch), []
    table = arrow.Table.from_pylist(batch, schema=writer.schema if writer else None)
    writer = writer or parquet.ParquetWriter(file, table.schema)
    writer.write_table(table)
    writer.close()
    return count + len(batch)


def _cells(row: dict[str | Any, Any], line: int) -> Numbered | Refused:
    if None in row:
        return Refused(line, "it has more cells than the header")
    found: dict[str, Any] = {name: cell for name, cell in row.items() if cell is not None}
    for name in _STRUCTURED:
        cell = found.get(name)
        if isinstance(cell, str) and cell[:1] in ("[", "{"):
            try:
                found[name] = json.loads(cell)
            except (ValueError, RecursionError):
                continue
    if found.get("label", "").lower() in ("true", "false", "0", "1"):
        found["label"] = found["label"].lower() in ("true", "1")
    return line, found
