"""Kept replies → snapshot → examples, held-out split, replay. Torch-free.

A snapshot fixes what a run trains on: one JSON object a line, hashed. The unit of every count is a kept
reply: a row is a dialog that trains one or more of them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from corpora.dialog import Example, Exchange, Message, answered, dialog_of
from corpora.errors import CorpusError, DialogError
from corpora.files import written_whole
from corpora.llama2 import encode_examples, fit_example
from corpora.selection import rank
from corpora.store import Branch, Store
from corpora.store.rows import clean
from corpora.store.values import folded
from corpora.tokens import Tokenizer

BATCH = 500
MAX_REPLAY = 2000
"""Replies of earlier runs that a snapshot contains at most."""


@dataclass(frozen=True, slots=True)
class Row:
    """A dialog to train on: its replies with `kept` are trained, the others are context.

    `key` is a hash of its content. `exchange_ids` are those of the kept replies in their order, then those
    of equal replies elsewhere. `replay` marks a row whose replies were trained in an earlier run.
    """

    key: str
    dialog: tuple[Message, ...]
    exchange_ids: tuple[int, ...] = ()
    replay: bool = False

    @property
    def replies(self) -> int:
        """How many replies it trains."""
        return sum(said.role == "assistant" and said.kept for said in self.dialog)

    @property
    def reply_keys(self) -> tuple[str, ...]:
        """The keys of the replies that it trains, as a lineage's `seen` remembers them."""
        return tuple(key for _, key in _reply_keys(self.dialog))


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Rows in a fixed order and the sha256 of the file they make."""

    rows: tuple[Row, ...]
    sha256: str


@dataclass(frozen=True, slots=True)
class Taken:
    """The rows for a snapshot, and what became of the other selected replies.

    `trained` counts all replies of earlier runs, of which the rows contain MAX_REPLAY at most; `duplicates`
    those that are equal to another one, with all that was said before.
    """

    rows: tuple[Row, ...]
    trained: int
    duplicates: int
    unreadable: int


def row_key(dialog: Iterable[Message]) -> str:
    """A hash of what is said and what of it is trained: an edited exchange is a new row."""
    content = [[said.role, clean(said.content), said.kept] for said in dialog]
    return hashlib.sha256(json.dumps(content).encode("ascii")).hexdigest()[:32]


def take_rows(
    store: Store, wanted: Sequence[tuple[int, int]] | None = None, *, seen: Collection[str] = (), seed: int = 0
) -> Taken:
    """The kept replies (or those that are `wanted`, as `Chosen.wanted` gives them) as rows.

    Replies whose key is in `seen` are replayed; beyond MAX_REPLAY a sample of them, chosen by `seed`. The
    new and the replayed replies of one chat are a row each.
    """
    if wanted is None:
        wanted = sorted((each.conversation_id, each.id) for each in store.kept_replies())
    branches, duplicates = _distinct_branches(store, wanted, set(seen))
    trained = [reply.id for branch in branches for reply in branch.replies if reply.trained]
    again = set(trained)
    if len(trained) > MAX_REPLAY:
        again = set(sorted(trained, key=lambda exchange_id: rank(seed, exchange_id))[:MAX_REPLAY])
    equal: dict[str, list[int]] = {}
    for key, exchange_id in duplicates:
        equal.setdefault(key, []).append(exchange_id)
    rows = tuple(row for branch in branches for row in branch.rows(again, equal))
    read = sum(len(branch.replies) for branch in branches) + len(duplicates)
    return Taken(rows, len(trained), len(duplicates), len(wanted) - read)


class _Reply(NamedTuple):
    """A kept reply: its place among the messages of its branch, its key, its exchange."""

    place: int
    key: str
    id: int
    trained: bool


class _Branch(NamedTuple):
    """A dialog with those of its kept replies that no other branch trains."""

    dialog: tuple[Message, ...]
    replies: tuple[_Reply, ...]

    def rows(self, again: set[int], equal: dict[str, list[int]]) -> Iterator[Row]:
        """A row for the replies to train again, and one for the new ones."""
        for replay in (True, False):
            mine = [each for each in self.replies if each.trained is replay and (not replay or each.id in again)]
            if mine:
                dialog = _keeping(self.dialog, {each.place for each in mine})
                others = [other for each in mine for other in equal.get(each.key, ())]
                # Where every reply is kept, the key of the last one is the row's.
                key = mine[-1].key if all(said.kept for said in dialog) else row_key(dialog)
                yield Row(key, dialog, (*(each.id for each in mine), *others), replay)


def _distinct_branches(
    store: Store, wanted: Sequence[tuple[int, int]], seen: set[str]
) -> tuple[list[_Branch], list[tuple[str, int]]]:
    """The branches that end with wanted replies, and the replies that repeat one of them as (key, id)."""
    found: list[_Branch] = []
    known: set[str] = set()
    duplicates: list[tuple[str, int]] = []
    for branch in store.branches_to(wanted):
        dialog = dialog_of(branch.exchanges, branch.wanted)
        replies = []
        for exchange_id, (place, key) in zip(_ids(branch), _reply_keys(dialog), strict=True):
            if key in known:
                duplicates.append((key, exchange_id))
                continue
            known.add(key)
            replies.append(_Reply(place, key, exchange_id, key in seen))
        if replies:
            found.append(_Branch(dialog, tuple(replies)))
    return found, duplicates


def _ids(branch: Branch) -> Iterator[int]:
    """The ids of the wanted exchanges in the order of their replies in `dialog_of`."""
    said: tuple[Exchange, ...] = (*answered(branch.exchanges[:-1]), *branch.exchanges[-1:])
    return (each.id for each in said if each.id in branch.wanted)


def _reply_keys(dialog: Sequence[Message]) -> Iterator[tuple[int, str]]:
    """(place, key) of each kept reply: a hash of all that is said up to it, whatever else is trained."""
    digest, separator = hashlib.sha256(b"["), b""
    for place, said in enumerate(dialog):
        digest.update(separator + json.dumps([said.role, clean(said.content), True]).encode("ascii"))
        separator = b", "
        if said.role == "assistant" and said.kept:
            whole = digest.copy()
            whole.update(b"]")
            yield place, whole.hexdigest()[:32]


def _keeping(dialog: tuple[Message, ...], places: set[int]) -> tuple[Message, ...]:
    """The dialog up to the last of these replies; of all replies only they are kept."""
    return tuple(
        said if said.role != "assistant" or said.kept == (place in places) else replace(said, kept=place in places)
        for place, said in enumerate(dialog[: max(places) + 1])
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
    """Read a snapshot; raises CorpusError where the content does not give the hash in the file's last line."""
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

    A row that is too long comes as several, each with the replies that its example trains as `kept`.
    `shortened` says how many of the oldest exchanges of a row did not fit.
    """

    examples: tuple[tuple[Row, Example], ...]
    left_out: tuple[tuple[Row, str], ...]
    shortened: tuple[tuple[Row, int], ...] = ()


def encode_rows(rows: tuple[Row, ...], tokenizer: Tokenizer, max_length: int) -> Encoded:
    """Encode in batches. From a row that is too long, whole exchanges are dropped from the front (the system
    prompt stays), never a part of a reply; kept replies among them become an example of their own. A reply
    whose exchange alone does not fit is left out."""
    examples: list[tuple[Row, Example]] = []
    left_out: list[tuple[Row, str]] = []
    shortened: list[tuple[Row, int]] = []
    for start in range(0, len(rows), BATCH):
        for row, example in _encoded(rows[start : start + BATCH], tokenizer):
            if isinstance(example, DialogError):
                left_out.append((row, example.what))
            elif not any(example.trained):
                left_out.append((row, "No reply in it is kept."))
            elif len(example.ids) <= max_length:
                examples.append((row, example))
            else:
                for part, fitted, dropped in _parts(row, tokenizer, max_length):
                    if isinstance(fitted, DialogError):
                        left_out.append((part, fitted.what))
                    else:
                        examples.append((part, fitted))
                        shortened += [(part, dropped)] if dropped else []
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


def _parts(row: Row, tokenizer: Tokenizer, max_length: int) -> Iterator[tuple[Row, Example | DialogError, int]]:
    """A row that is too long in parts that fit, the last one first: (row, example, exchanges dropped)."""
    head = 1 if row.dialog[0].role == "system" else 0
    places = [place for place, said in enumerate(row.dialog) if said.role == "assistant" and said.kept]
    while places:
        part = _keeping(row.dialog, set(places))
        try:
            fitted: Example | DialogError
            found = fit_example(part, tokenizer, max_length)
            fitted, dropped = Example(found.ids, found.trained), found.dropped_exchanges
        except DialogError as error:
            fitted, dropped = error, (len(part) - head) // 2 - 1
        mine = [place for place in places if place >= head + 2 * dropped]
        yield _with(row, _keeping(part, set(mine)), len(places) - len(mine)), fitted, dropped
        places = places[: -len(mine)]


def _with(row: Row, dialog: tuple[Message, ...], skipped: int) -> Row:
    """A row with a part of the replies of another; `skipped` of them come before."""
    part = replace(row, key=row_key(dialog), dialog=dialog)
    return replace(part, exchange_ids=row.exchange_ids[skipped : skipped + part.replies])


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
