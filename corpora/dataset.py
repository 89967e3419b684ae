"""Kept exchanges → snapshot → examples, held-out split, replay. Torch-free.

A snapshot fixes what a run trains on: one JSON object a line, hashed.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from corpora.dialog import Example, Message
from corpora.errors import CorpusError, DialogError
from corpora.files import written_whole
from corpora.llama2 import encode_examples, fit_example
from corpora.store import Store
from corpora.store.rows import clean
from corpora.store.values import folded
from corpora.tokens import Tokenizer

BATCH = 500


@dataclass(frozen=True, slots=True)
class Row:
    """A dialog to train on. `key` is a hash of its content; `replay` marks one that was taught before."""

    key: str
    dialog: tuple[Message, ...]
    exchange_ids: tuple[int, ...] = ()
    replay: bool = False


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Rows in a fixed order and the sha256 of the file they make."""

    rows: tuple[Row, ...]
    sha256: str

    @property
    def new(self) -> int:
        """Rows that were never taught to the parent."""
        return sum(not row.replay for row in self.rows)


def row_key(dialog: Iterable[Message]) -> str:
    """A hash of what is said and what of it is trained: an edited exchange is a new row."""
    content = [[said.role, clean(said.content), said.kept] for said in dialog]
    return hashlib.sha256(json.dumps(content).encode("ascii")).hexdigest()[:32]


def kept_rows(store: Store) -> tuple[Row, ...]:
    """All kept dialogs, each content once, in the order of the store."""
    found: dict[str, Row] = {}
    for ids, dialog in store.kept_dialogs():
        key = row_key(dialog)
        before = found[key].exchange_ids if key in found else ()
        found[key] = Row(key, dialog, (*before, *ids))
    return tuple(found.values())


def take_snapshot(store: Store, *, seen: Collection[str] = (), replay: float = 1.0, seed: int = 0) -> Snapshot:
    """Kept dialogs: those whose key is not in `seen` as new, and `replay` × as many of the seen ones."""
    rows, known = kept_rows(store), set(seen)
    old = [row.key for row in rows if row.key in known]
    wanted = min(len(old), round(replay * (len(rows) - len(old))))
    again = set(random.Random(seed).sample(old, wanted))
    return snapshot_of(
        replace(row, replay=row.key in known) for row in rows if row.key not in known or row.key in again
    )


def contradictions(rows: Iterable[Row]) -> int:
    """Prompts to which the rows teach different replies after the same words; case and blanks do not count."""
    taught: dict[int, int] = {}
    against: set[int] = set()
    for row in rows:
        said = 0
        for message in row.dialog:
            before, text = said, folded(message.content)
            said = hash((before, message.role, text))
            if message.role == "assistant" and message.kept and taught.setdefault(before, said) != said:
                against.add(before)
    return len(against)


def snapshot_of(rows: Iterable[Row]) -> Snapshot:
    """Rows with the hash of the file that they make."""
    kept = tuple(rows)
    digest = hashlib.sha256()
    for row in kept:
        digest.update(_line(row))
    return Snapshot(kept, digest.hexdigest())


def write_snapshot(snapshot: Snapshot, path: Path) -> None:
    """Write as JSONL, atomically; the last line holds the hash of the lines before it."""
    with written_whole(path) as file:
        file.writelines(_line(row) for row in snapshot.rows)
        file.write(_json({"rows": len(snapshot.rows), "sha256": snapshot.sha256}))


def read_snapshot(path: Path) -> Snapshot:
    """Read back; raises CorpusError where the content does not give the hash in the file's last line."""
    try:
        *lines, last = path.read_bytes().splitlines(keepends=True)
        told = json.loads(last)["sha256"]
        rows = tuple(_row(json.loads(line)) for line in lines)
    except OSError as error:
        raise CorpusError(f"The snapshot {path} cannot be read: {error.strerror}.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(path) from error
    if hashlib.sha256(b"".join(lines)).hexdigest() != told:
        raise _damaged(path)
    return Snapshot(rows, told)


@dataclass(frozen=True, slots=True)
class Encoded:
    """Examples in the order of their rows, rows left out with the reason, and rows that lost exchanges.

    `shortened` says how many of the oldest exchanges of a row did not fit.
    """

    examples: tuple[tuple[Row, Example], ...]
    left_out: tuple[tuple[Row, str], ...]
    shortened: tuple[tuple[Row, int], ...] = ()


def encode_rows(rows: tuple[Row, ...], tokenizer: Tokenizer, max_length: int) -> Encoded:
    """Encode in batches. A row that is too long loses whole exchanges from its front (the system prompt
    stays), never a part of a reply; one whose last exchange alone does not fit is left out, and said."""
    examples: list[tuple[Row, Example]] = []
    left_out: list[tuple[Row, str]] = []
    shortened: list[tuple[Row, int]] = []
    for start in range(0, len(rows), BATCH):
        for row, example in _encoded(rows[start : start + BATCH], tokenizer):
            fitting, dropped, reason = _fitted(row, example, tokenizer, max_length)
            if reason:
                left_out.append((row, reason))
                continue
            examples.append((row, fitting))
            if dropped:
                shortened.append((row, dropped))
    return Encoded(tuple(examples), tuple(left_out), tuple(shortened))


def split(rows: tuple[Row, ...], held_out: float, minimum: int = 20) -> tuple[tuple[Row, ...], tuple[Row, ...]]:
    """(train, held out) by the rows' keys, so that a row stays on its side from run to run.

    Nothing is held out of fewer than `minimum` rows.
    """
    if len(rows) < minimum or held_out <= 0:
        return rows, ()
    out = tuple(row for row in rows if _share(row.key) < held_out)
    if len(out) == len(rows):
        return rows, ()
    return tuple(row for row in rows if _share(row.key) >= held_out), out


def _share(key: str) -> float:
    """The key as a number in [0, 1), evenly spread."""
    return int(hashlib.sha256(key.encode()).hexdigest()[:12], 16) / 16**12


def _encoded(rows: tuple[Row, ...], tokenizer: Tokenizer) -> list[tuple[Row, Example | DialogError]]:
    """The batch at once; one by one only where a dialog in it cannot be expressed."""
    try:
        return list(zip(rows, encode_examples([row.dialog for row in rows], tokenizer), strict=True))
    except DialogError:
        return [(row, _one(row, tokenizer)) for row in rows]


def _one(row: Row, tokenizer: Tokenizer) -> Example | DialogError:
    try:
        return encode_examples([row.dialog], tokenizer)[0]
    except DialogError as error:
        return error


def _fitted(
    row: Row, example: Example | DialogError, tokenizer: Tokenizer, max_length: int
) -> tuple[Example, int, str]:
    """(example, exchanges dropped, why it is left out)."""
    if isinstance(example, DialogError):
        return Example(), 0, example.what
    dropped = 0
    if len(example.ids) > max_length:
        try:
            fitted = fit_example(row.dialog, tokenizer, max_length)
        except DialogError as error:
            return Example(), 0, error.what
        example, dropped = Example(fitted.ids, fitted.trained), fitted.dropped_exchanges
    if not any(example.trained):
        return Example(), 0, "No reply in it is kept."
    return example, dropped, ""


def _line(row: Row) -> bytes:
    said = [
        {"role": each.role, "content": clean(each.content), "kept": each.kept, "tags_allowed": each.tags_allowed}
        for each in row.dialog
    ]
    return _json({"key": row.key, "messages": said, "exchange_ids": row.exchange_ids, "replay": row.replay})


def _json(value: object) -> bytes:
    return (json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n").encode("utf-8")


def _row(value: Any) -> Row:
    dialog = tuple(Message(**said) for said in value["messages"])
    return Row(value["key"], dialog, tuple(value["exchange_ids"]), bool(value["replay"]))


def _damaged(path: Path) -> CorpusError:
    return CorpusError(
        f"The snapshot {path} is not what was written: its content does not give its hash.",
        data="The corpus itself is unharmed.",
        remedy="Start a new run; it takes a new snapshot.",
    )
