"""Rows of JSON and JSONL files, plain or `.gz`, read in pieces within fixed bounds.

Nothing here trusts a file: size, length of a row, nesting, encoding, NaN and repeated keys are checked.
"""

from __future__ import annotations

import codecs
import gzip
import json
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from shlex import quote
from typing import Any, BinaryIO, NoReturn, TypeAlias, cast

from corpora.errors import ImportRefused
from corpora.formats.form import Refused, RowOf

MAX_FILE = 8 << 30
MAX_ROW = 16 << 20
MAX_OBJECT = 48 << 20
MAX_CONTAINERS = 500_000
MAX_VALUES = 2_000_000
CHUNK = 1 << 20
Numbered: TypeAlias = tuple[int, RowOf]

_BLANKS, _BETWEEN = re.compile(r"[ \t\r\n]*"), re.compile(r"[ \t\r\n,]*")
_ARCHIVES = {
    b"PK\x03\x04": "zip",
    b"7z\xbc\xaf\x27\x1c": "7z",
    b"Rar!": "rar",
    b"\xfd7zXZ\x00": "xz",
    b"BZh": "bzip2",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"SQLite format 3": "SQLite",
    b"%PDF": "PDF",
}


def rows_of(path: Path) -> Iterator[Numbered | Refused]:
    """(line, row) of each object in a JSON or JSONL file. Raises ImportRefused for a file of another kind."""
    try:
        with opened(path) as file:
            yield from _rows(Bounded(file, path), path)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ImportRefused(
            f"{path} is a damaged gzip file: {error}.", data="Rows before the damage were read.", remedy="Get it again."
        ) from error
    except OSError as error:
        raise ImportRefused(
            f"{path} cannot be read: {error.strerror or error}.", data="Nothing was changed."
        ) from error


def opened(path: Path) -> BinaryIO:
    """The file's bytes, unpacked where it is gzip."""
    if not path.is_file():
        raise ImportRefused(f"{path} is not a file.", data="Nothing was changed.", remedy="Check the name.")
    with path.open("rb") as file:
        start = file.read(300)
    if start.startswith(b"\x1f\x8b"):
        return cast(BinaryIO, gzip.open(path, "rb"))
    _refuse_other_kinds(start, path)
    return path.open("rb")


class Bounded:
    """A file that gives at most `MAX_FILE` bytes: a small archive can unpack to any size."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self._file, self._path, self._read = file, path, 0
        self._ahead = self._file.read(CHUNK).removeprefix(codecs.BOM_UTF8)
        _refuse_other_kinds(self._ahead[:300], path)

    def peek(self) -> bytes:
        """The first bytes, not taken."""
        return self._ahead

    def read(self) -> bytes:
        """The next piece; empty at the end."""
        piece, self._ahead = self._ahead, self._file.read(CHUNK)
        self._read += len(piece)
        if self._read > MAX_FILE:
            raise ImportRefused(
                f"{self._path} is larger than {MAX_FILE >> 30} GiB.",
                data="Rows before that were read.",
                remedy="Split it into smaller files.",
            )
        return piece


def parsed(raw: str) -> Any:
    """JSON without NaN, repeated keys or absurd size; raises ValueError with the reason."""
    if raw.count("{") + raw.count("[") > MAX_CONTAINERS or raw.count(",") > MAX_VALUES:
        raise ValueError(f"it holds more than {MAX_CONTAINERS:,} lists and objects or {MAX_VALUES:,} values")
    try:
        return _DECODER.decode(raw)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def _rows(file: Bounded, path: Path) -> Iterator[Numbered | Refused]:
    start = file.peek().lstrip()
    if start.startswith(b"["):
        yield from _elements(file)
    elif _is_lines(start, path):
        yield from _lines(file)
    else:
        yield from _whole(file)


def _is_lines(start: bytes, path: Path) -> bool:
    """JSONL by name, or as its first line is an object by itself and not the whole file."""
    names = path.name.removesuffix(".gz")
    if names.endswith((".jsonl", ".ndjson")):
        return True
    first, end, _ = start.partition(b"\n")
    try:
        parsed(first.decode("utf-8"))
    except ValueError:
        return not names.endswith(".json") and not start.startswith(b"{")
    return bool(end)


def _lines(file: Bounded) -> Iterator[Numbered | Refused]:
    number, rest, skipping = 1, b"", False
    while piece := file.read():
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            if line and not skipping:
                yield from _line(line, number)
            skipping = False
            number += 1
        if len(rest) > MAX_ROW:
            if not skipping:
                yield Refused(number, f"the line is longer than {MAX_ROW >> 20} MiB")
            rest, skipping = b"", True
    if not skipping:
        yield from _line(rest, number)


def _line(line: bytes, number: int) -> Iterator[Numbered | Refused]:
    if not line.strip():
        return
    try:
        value = parsed(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        yield Refused(number, f"it is not UTF-8 (byte {error.start + 1} of the line)")
    except ValueError as error:
        yield Refused(number, _reason(error))
    else:
        yield _object(value, number)


def _whole(file: Bounded) -> Iterator[Numbered | Refused]:
    """A file that is one object: a row, or a set of rows under `data`."""
    pieces, size = [], 0
    while piece := file.read():
        pieces.append(piece)
        size += len(piece)
        if size > MAX_OBJECT:
            yield Refused(1, f"one object of more than {MAX_OBJECT >> 20} MiB; save it as JSONL")
            return
    raw = b"".join(pieces)
    pieces.clear()
    if not raw.strip():
        return
    try:
        value = parsed(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        yield Refused(raw.count(b"\n", 0, error.start) + 1, "it is not UTF-8")
    except ValueError as error:
        yield Refused(getattr(error, "lineno", 1), _reason(error))
    else:
        yield _object(value, 1)


def _elements(file: Bounded) -> Iterator[Numbered | Refused]:
    """The elements of one array, decoded one by one as the file is read."""
    yield from Elements(file).rows()


class Elements:
    """A JSON array read piece by piece: `_text` holds what is read and not yet decoded."""

    def __init__(self, file: Bounded) -> None:
        self._file = file
        # Bytes that are not UTF-8 become half surrogates, so that only the rows that hold them are refused.
        self._decode = codecs.getincrementaldecoder("utf-8")("surrogateescape").decode
        self._text, self._at, self._line = "", 0, 1
        self._more()
        self._skip(_BLANKS)
        self._at += 1

    def rows(self) -> Iterator[Numbered | Refused]:
        """Every element; after one that is not JSON the rest cannot be told apart and is refused."""
        try:
            yield from self._rows()
        except ValueError as error:
            yield Refused(self._line, f"{_reason(error)}; the rest of the file was left out")

    def _rows(self) -> Iterator[Numbered | Refused]:
        while True:
            self._skip(_BETWEEN)
            if self._at >= len(self._text):
                raise ValueError("the array does not end")
            if self._text[self._at] == "]":
                return
            yield self._element()

    def _element(self) -> Numbered | Refused:
        while True:
            try:
                found, end = _raw_decode(self._text, self._at, self._line)
            except json.JSONDecodeError:
                _refuse_large(self._text, self._at)
                if not self._more():
                    raise
                continue
            self._line += self._text.count("\n", self._at, end)
            self._at = end
            return found

    def _skip(self, blanks: re.Pattern[str]) -> None:
        while True:
            match = blanks.match(self._text, self._at)
            end = match.end() if match else self._at
            self._line += self._text.count("\n", self._at, end)
            self._at = end
            if end < len(self._text) or not self._more():
                return

    def _more(self) -> bool:
        """Read as much again as is waiting, so that a long element is not decoded for each piece anew."""
        wanted, pieces = max(CHUNK, len(self._text) - self._at), []
        while wanted > 0 and (piece := self._file.read()):
            pieces.append(self._decode(piece))
            wanted -= len(piece)
        self._text = self._text[self._at :] + "".join(pieces)
        self._at = 0
        return bool(pieces)


def _raw_decode(raw: str, at: int, line: int) -> tuple[Numbered | Refused, int]:
    """The element at `at`, and where it ends; one that is JSON but not acceptable is refused alone."""
    try:
        value, end = _DECODER.raw_decode(raw, at)
        return _object(value, line), end
    except json.JSONDecodeError:
        raise
    except RecursionError:
        raise ValueError("an element is nested too deep") from None
    except ValueError as error:
        return Refused(line, _reason(error)), _LENIENT.raw_decode(raw, at)[1]


def _refuse_large(raw: str, at: int) -> None:
    """Called where an element is longer than what was read: bounds the memory that it can take."""
    waiting = len(raw) - at
    if waiting > MAX_ROW:
        raise ValueError(f"an element is longer than {MAX_ROW >> 20} MiB")
    if waiting > 2 * CHUNK and raw.count("{", at) + raw.count("[", at) > MAX_CONTAINERS:
        raise ValueError(f"an element holds more than {MAX_CONTAINERS:,} lists and objects")


def _object(value: Any, line: int) -> Numbered | Refused:
    if isinstance(value, dict):
        return line, value
    return Refused(line, "it is not an object with named fields")


def _reason(error: ValueError) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"it is not JSON: {error.msg.removesuffix(' at')} at column {error.colno}"
    return "a number in it is too long" if "digits" in str(error) else str(error)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen = set[str]()
        again = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {again!r:.60} stands in it twice")
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _refuse_other_kinds(start: bytes, path: Path) -> None:
    kind = next((name for magic, name in _ARCHIVES.items() if start.startswith(magic)), "")
    if start[257:262] == b"ustar":
        kind = "tar"
    if kind:
        raise ImportRefused(
            f"{path} is a {kind} file.",
            data="Nothing was imported from it.",
            remedy="Unpack it and import what is in it.",
        )
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        command = f"iconv -f UTF-16 -t UTF-8 {quote(str(path))} > {quote(f'{path.stem}-utf8{path.suffix}')}"
        raise ImportRefused(
            f"{path} is text in UTF-16.",
            data="Nothing was imported from it.",
            remedy=f"Import what this writes: {command}",
        )
    if b"\0" in start[:200]:
        raise ImportRefused(
            f"{path} is no text: it holds zero bytes.",
            data="Nothing was imported from it.",
            remedy="Give a text file in UTF-8, such as JSON Lines.",
        )


_LENIENT = json.JSONDecoder(parse_int=float)
_DECODER = json.JSONDecoder(object_pairs_hook=_once, parse_constant=_no_constant)
