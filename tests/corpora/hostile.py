"""Files that mean harm or are broken, by name: what an import must take in its stride."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

ROW = b'{"instruction": "a", "output": "b"}'
MIB = 1 << 20


def hostile_files(folder: Path) -> Iterator[Path]:
    """Write them one by one; each is to be read and removed before the next."""
    for name, content in _all():
        path = folder / name
        with path.open("wb") as file:
            for piece in content():
                file.write(piece)
        yield path
        path.unlink()


def _all() -> Iterator[tuple[str, Callable[[], Iterator[bytes]]]]:
    for suffix in ("json", "jsonl"):
        for name, content in _contents():
            yield f"{name}.{suffix}", content
            yield f"{name}-packed.{suffix}.gz", lambda content=content: _packed(content())
    for name, raw in _others():
        yield name, lambda raw=raw: iter((raw,))


def _contents() -> Iterator[tuple[str, Callable[[], Iterator[bytes]]]]:
    for depth in (100, 5_000, 200_000):
        yield f"lists-{depth}", lambda depth=depth: iter((b"[" * depth + b"]" * depth,))
        yield f"objects-{depth}", lambda depth=depth: iter((b'{"a":' * depth + b"1" + b"}" * depth,))
        yield f"unclosed-{depth}", lambda depth=depth: iter((b"[" * depth,))
        inner = b'{"instruction": ' + b"[" * depth + b"]" * depth + b', "output": "x"}'
        yield f"inside-{depth}", lambda inner=inner: iter((inner + b"\n" + ROW,))
    yield "long-text", lambda: _around(b'{"instruction": "', b"a", 80, b'", "output": "b"}')
    yield "long-text-wide", lambda: _around(b'{"instruction": "\xf0\x9f\x91\x8d', b"a", 80, b'", "output": "b"}')
    yield "long-line", lambda: _around(b"", b"x", 120, b"")
    yield "blanks", lambda: _around(ROW, b" ", 40, b"")
    yield "line-breaks", lambda: _around(ROW, b"\n", 10, b"")
    yield "array-of-blanks", lambda: _around(b"[", b" ", 40, b"]")
    yield "empty-lists", lambda: _around(b'{"data": [', b"[],", 45, b"[]]}")
    yield "empty-lists-element", lambda: _around(b'[{"data": [', b"[],", 15, b"[]]}]")
    yield "numbers", lambda: _around(b'{"data": [', b"1,", 45, b"1]}")
    yield "objects-element", lambda: _around(b'[{"data": [', b'{"a":0},', 15, b"1]}]")
    yield "many-keys", lambda: iter((b"{" + b",".join(b'"k%d":0' % n for n in range(300_000)) + b"}",))
    yield "many-bad-rows", lambda: _around(b"", b"{\n", 2, b"")
    yield "huge-number", lambda: iter((b'{"instruction": ' + b"9" * 100_000 + b', "output": "x"}',))
    yield "huge-exponent", lambda: iter((b'{"instruction": 1e999999999, "output": "x"}',))
    for name, value in _VALUES.items():
        row = b'{"instruction": ' + value + b', "output": "x"}'
        yield f"value-{name}", lambda row=row: iter((row,))
        yield f"value-{name}-array", lambda row=row: iter((b"[" + ROW + b",\n" + row + b",\n" + ROW + b"]",))
    for name, raw in _RAW.items():
        yield f"raw-{name}", lambda raw=raw: iter((raw,))


_VALUES = {
    "nan": b"NaN",
    "infinity": b"-Infinity",
    "null": b"null",
    "number": b"7",
    "list": b"[]",
    "object": b'{"a": 1}',
    "half-pair": b'"\\ud83d"',
    "half-pair-low": b'"\\udc00 x"',
    "bad-escape": b'"\\x41"',
    "bad-unicode": b'"\\u12"',
    "raw-control": b'"a\x01b"',
    "latin-1": b'"\xe9t\xe9"',
    "overlong": b'"\xc0\xaf"',
    "cut-utf-8": b'"\xf0\x9f\x91"',
    "surrogate-utf-8": b'"\xed\xa0\x80"',
    "single-quotes": b"'a'",
    "comment": b'"a" /* b */',
    "unclosed": b'"abc',
    "twice": b'"a", "instruction": "b"',
    "escape-codes": b'"\\u001b]52;c;aGk=\\u0007"',
    "nul": b'"\\u0000"',
}
_RAW = {
    "empty": b"",
    "blank": b" \n\t\n ",
    "bom": b"\xef\xbb\xbf" + ROW,
    "utf-16": ROW.decode().encode("utf-16"),
    "utf-16-no-bom": ROW.decode().encode("utf-16-le"),
    "utf-32": ROW.decode().encode("utf-32"),
    "nul": b"\0" * 5000,
    "half-object": ROW[:-3],
    "half-array": b"[" + ROW + b"," + ROW[:-3],
    "array-without-end": b"[" + ROW,
    "array-and-more": b"[" + ROW + b"] trailing",
    "array-of-arrays": b"[[1], [2]]",
    "scalar": b"42",
    "string": b'"text"',
    "commas": b"[,,,,]",
    "no-commas": b"[" + ROW + ROW + b"]",
    "carriage-returns": ROW + b"\r" + ROW,
    "html": b"<!DOCTYPE html><html><body>404</body></html>",
    "markdown": b"# Title\n\ntext",
    "python": b"{'instruction': 'a', 'output': 'b'}",
    "unknown-fields": b'{"foo": 1}',
    "no-fields": b"{}",
    "roles": b'{"messages": [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]}',
    "no-reply": b'{"messages": [{"role": "user", "content": "a"}]}',
    "message-types": b'{"messages": [1, null, "x"]}',
    "role-types": b'{"messages": [{"role": ["user"], "content": {"a": 1}}]}',
    "tools": b'{"messages": [{"role": "tool", "content": "a"}]}',
    "circle": b'{"mapping": {"a": {"parent": "b"}, "b": {"parent": "a"}}, "current_node": "a"}',
    "mapping-types": b'{"mapping": {"a": 1, "b": {"message": 5, "parent": []}}, "current_node": "b"}',
    "share-types": b'{"conversations": [{"from": 1, "value": []}]}',
    "history-types": b'{"instruction": "a", "output": "b", "history": [["x"], 3]}',
    "pair-types": b'{"chosen": 1, "rejected": null, "prompt": {}}',
    "label-types": b'{"prompt": "a", "completion": "b", "label": "maybe"}',
    "squad-types": b'{"data": [1, {"paragraphs": [2]}, {"paragraphs": "x"}]}',
    "answers-types": b'{"question": "q", "answers": {"text": 5}}',
}


def _others() -> Iterator[tuple[str, bytes]]:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("a.json", ROW)
    yield "archive.json", archive.getvalue()
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as file:
        file.addfile(tarfile.TarInfo("a.json"), io.BytesIO())
    yield "tar.json", tar.getvalue()
    yield "tar.json.gz", gzip.compress(tar.getvalue())
    yield "zip.json.gz", gzip.compress(archive.getvalue())
    packed = gzip.compress(ROW * 1000)
    yield "cut.jsonl.gz", packed[: len(packed) // 2]
    yield "flipped.jsonl.gz", packed[:20] + b"\xff\xff" + packed[22:]
    yield "twice-packed.jsonl.gz", gzip.compress(packed)
    yield "not-gzip.jsonl.gz", ROW
    for magic in (b"7z\xbc\xaf\x27\x1c", b"Rar!\x1a", b"\xfd7zXZ\x00", b"BZh9", b"\x28\xb5\x2f\xfd", b"%PDF-1.7"):
        yield f"magic-{magic[:2].hex()}.json", magic + b"x" * 500
    yield "database.json", b"SQLite format 3\0" + b"\0" * 500
    yield "fake.parquet", b"PAR1" + b"\xff" * 500 + b"PAR1"
    yield "cut.parquet", b"PAR1"
    yield "empty.parquet", b""
    yield "wide.csv", b"instruction,output\n" + b"a,b,c,d\n" * 5
    yield "short.csv", b"instruction,output\nonly\n"
    yield "quote.csv", b'instruction,output\n"never closed,' + b"x" * (20 * MIB)
    yield "nul.csv", b"instruction,output\na\0,b\n"
    yield "latin.csv", b"instruction,output\n\xe9,b\n"
    yield "headless.csv", b"\n\n\n"
    yield "columns.csv", b",".join(b"c%d" % n for n in range(100_000)) + b"\n1\n"
    yield "json-cells.csv", b'messages\n"[[[[["\n' + json.dumps("[" * 100_000).encode() + b"\n"


def _around(start: bytes, filling: bytes, mib: int, end: bytes) -> Iterator[bytes]:
    yield start
    piece = filling * (MIB // len(filling))
    for _ in range(mib):
        yield piece
    yield end


def _packed(pieces: Iterator[bytes]) -> Iterator[bytes]:
    target = io.BytesIO()
    with gzip.GzipFile(fileobj=target, mode="wb", compresslevel=1, mtime=0) as file:
        for piece in pieces:
            file.write(piece)
    yield target.getvalue()
