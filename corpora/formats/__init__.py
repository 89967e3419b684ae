"""Formats in and out, by name. A file's format is found by the names of its first row's fields.

`csv` and `parquet` are tables whose columns hold one of the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path

from corpora.errors import ImportRefused, UsageError
from corpora.formats import alpaca, chatgpt, guanaco, llama2_text, messages, preference, questions, sharegpt, tables
from corpora.formats.form import BadRow, Form, Item, Kind, Refused, RowOf
from corpora.formats.sources import Numbered, rows_of

__all__ = [
    "FORMATS",
    "FORMS",
    "TABLES",
    "WRITABLE",
    "BadRow",
    "Form",
    "Item",
    "Kind",
    "Refused",
    "detect",
    "form",
    "read",
]

# The order in which they are tried: what has more fields of its own comes first.
_ALL = (
    preference.FORM,
    preference.THUMBS,
    messages.FORM,
    sharegpt.FORM,
    chatgpt.FORM,
    questions.DOLLY,
    alpaca.FORM,
    questions.SQUAD,
    guanaco.FORM,
    llama2_text.FORM,
)
FORMS: dict[str, Form] = {each.name: each for each in _ALL}
TABLES: dict[str, Callable[[Path], Iterator[Numbered | Refused]]] = {
    "csv": tables.csv_rows,
    "parquet": tables.parquet_rows,
}
FORMATS: tuple[str, ...] = tuple(
    "messages llama2 guanaco alpaca sharegpt dolly squad preference thumbs chatgpt csv parquet".split()  # noqa: SIM905
)
WRITABLE: tuple[str, ...] = tuple(
    name for name in FORMATS if name == "parquet" or (name in FORMS and FORMS[name].writable)
)
LOOKED_AT = 20


def detect(path: Path) -> str:
    """The name of a file's format; raises ImportRefused where none fits."""
    table = _table(path, None)
    if table is not None:
        return table
    return form_of(islice(rows_of(path), LOOKED_AT), path).name


def read(path: Path, format: str | None = None) -> Iterator[tuple[int, Item] | Refused]:
    """(line, dialog or pair) of everything in a file, and the rows refused with line and reason.

    Raises ImportRefused where the file as a whole cannot be read, UsageError for an unknown format.
    """
    rows = TABLES.get(_table(path, format) or "", rows_of)
    source = path.name.encode("utf-8", "replace").decode("utf-8")
    chosen = FORMS.get(format or "") or form_of(islice(rows(path), LOOKED_AT), path)
    for row in rows(path):
        if isinstance(row, Refused):
            yield row
        else:
            yield from items_of(chosen, row, source)


def form(name: str) -> Form:
    """A format that is not a table; raises UsageError for an unknown one."""
    if name not in FORMS:
        raise UsageError(f"There is no format {name!r:.40}.", remedy=f"Use one of {', '.join(FORMATS)}.")
    return FORMS[name]


def items_of(chosen: Form, row: tuple[int, RowOf], source: str) -> Iterator[tuple[int, Item] | Refused]:
    """What one numbered row holds in a format; a bad row comes out as refused."""
    line, fields = row
    try:
        for item in chosen.read(fields, source):
            yield Refused(line, str(item)) if isinstance(item, BadRow) else (line, item)
    except BadRow as error:
        yield Refused(line, str(error))


def _table(path: Path, format: str | None) -> str | None:
    """`csv` or `parquet`, told by name or found by the file's own."""
    if format is not None and format not in FORMATS:
        raise UsageError(f"There is no format {format!r:.40}.", remedy=f"Use one of {', '.join(FORMATS)}.")
    if format in TABLES:
        return format
    names = path.name.lower().removesuffix(".gz")
    if names.endswith(".csv"):
        return "csv"
    if path.is_file():
        with path.open("rb") as file:
            if file.read(4) == b"PAR1":
                return "parquet"
    return None


def form_of(rows: Iterable[Numbered | Refused], path: object) -> Form:
    """The format of the first row that fits one; raises ImportRefused, with the name in `path`, where none does."""
    first, reasons = None, list[str]()
    for row in rows:
        if isinstance(row, Refused):
            reasons.append(f"Line {row.line}: {row.reason}.")
            continue
        first = first or row[1]
        found = next((each for each in _ALL if each.fits(row[1])), None)
        if found is not None:
            return found
    names = ", ".join(str(name)[:30] for name in list(first)[:8]) if first else ""
    what = f"its rows have the fields {names}." if first is not None else (reasons or ["it has no rows."])[0]
    raise ImportRefused(
        f"{path} is in no format that is known: {what}",
        data="Nothing was imported from it.",
        remedy=f"Name one with --format: {', '.join(FORMATS)}.",
    )
