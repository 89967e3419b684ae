"""Anchors: generic prompts with the base's own greedy replies and its distribution at each reply token.

Training keeps the adapter close to the base on them; a disjoint part is for the gate alone. They are computed once
per base, in chunks, and kept in `anchors/BASE_DIGEST/` of the cache folder; an interrupted build continues there.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from random import Random
from typing import Any

import torch
from rapidfuzz import fuzz, process, utils
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch.nn import functional

from corpora.dialog import Message
from corpora.errors import DialogError
from corpora.llama2 import encode_prompt
from sessions.engine.base import LoadedBase
from sessions.paths import private_folder, private_open
from sessions.training.generation import evaluating, greedy
from sessions.training.objective import Reference, TrainRow, target_logits

FORMAT = 1
REPLY_TOKENS = 40
TOP = 64
"""Tokens whose log-probabilities are stored for each position."""
CHUNK = 64
FORWARD_ROWS = 16
SIMILAR = 85
"""Score of rapidfuzz (of 100) from which an anchor counts as a wording of a trained prompt and is left out."""
DAMAGED = (SafetensorError, ValueError, KeyError, TypeError)
PARTIAL = ".partial-"
"""How the name of a chunk begins while it is being written."""
LOCK_POLL = 0.05
"""Seconds between two attempts to get the lock that another process holds."""
Progress = Callable[[float], None]


@dataclass(frozen=True, slots=True)
class Anchor:
    """One prompt with the base's reply, as a row to train on."""

    prompt: str
    row: TrainRow

    @property
    def held_out(self) -> bool:
        """Whether the anchor belongs to the gate and is never trained on: one of four, by the prompt's hash."""
        return hashlib.sha256(self.prompt.encode()).digest()[0] % 4 == 0

    @property
    def prompt_ids(self) -> tuple[int, ...]:
        """The token ids of the prompt."""
        return self.row.ids[: self.row.targets[0]]

    @property
    def reply_ids(self) -> tuple[int, ...]:
        """The token ids of the base's reply; its end is included where the base ended it."""
        return self.row.ids[self.row.targets[0] :]


@cache
def shipped_prompts() -> tuple[str, ...]:
    """Return the prompts that ship with the package, shuffled once and for all so that any part of them is mixed."""
    folder = resources.files("sessions.training") / "anchor_prompts"
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".txt")), key=lambda file: file.name)
    prompts = dict.fromkeys(line.strip() for file in files for line in file.read_text("utf-8").splitlines())
    found = [prompt for prompt in prompts if prompt]
    Random(0).shuffle(found)
    return tuple(found)


class AnchorCache:
    """The anchors of one base on disk. Anchors depend on the weights, the chat format and the shipped prompts."""

    def __init__(self, root: Path, base: LoadedBase) -> None:
        self.base = base
        self.prompts = shipped_prompts()
        self.folder = root / base.digest[:32]
        told = [FORMAT, REPLY_TOKENS, TOP, CHUNK, self.prompts, _encoded("?", base)]
        self._stem = hashlib.sha256(json.dumps(told).encode()).hexdigest()[:12]

    @property
    def chunks(self) -> int:
        """The number of chunks of a complete cache."""
        return -(-len(self.prompts) // CHUNK)

    def missing(self) -> list[int]:
        """Return the numbers of the chunks that are not on disk."""
        return [number for number in range(self.chunks) if not self._path(number).exists()]

    def prepared(self) -> tuple[int, int]:
        """Return the number of prompts whose chunk is on disk, and of all prompts."""
        missing = sum(len(self._prompts_of(number)) for number in self.missing())
        return len(self.prompts) - missing, len(self.prompts)

    def load(self) -> list[Anchor]:
        """Return the anchors on disk, in the order of the prompts. A damaged chunk is removed, to be built again."""
        found: list[Anchor] = []
        for number in range(self.chunks):
            try:
                found += _read(self._path(number))
            except FileNotFoundError:
                continue
            except DAMAGED:
                self._path(number).unlink(missing_ok=True)
        return found

    def build(self, model: Any, check: Callable[[], None], progress: Progress, chunks: int | None = None) -> None:
        """Compute the missing and the damaged ones of the first `chunks` chunks (all by default); `check` may raise.

        `model` is the base, or a PEFT model whose adapter is disabled. Chunks that another process computes
        meanwhile are not computed again.
        """
        private_folder(self.folder)
        self.load()  # removes damaged chunks
        wanted = [number for number in self.missing() if chunks is None or number < chunks]
        for done, number in enumerate(wanted):
            progress(done / len(wanted))
            with self._claim(number, check) as claimed:
                if claimed:
                    _write(self._path(number), compute(model, self.base, self._prompts_of(number), check))
        if wanted:
            progress(1.0)

    @contextmanager
    def _claim(self, number: int, check: Callable[[], None]) -> Iterator[bool]:
        """Hold the lock to compute a chunk; yield False once the chunk is on disk and need not be computed.

        One process at a time computes anchors of a base. The lock is held for one chunk only, and the kernel
        releases it when a process dies. `check` is called while another process holds it.
        """
        path = self._path(number)
        with open(self.folder / "lock", "ab", opener=private_open) as file:
            while not path.exists():
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    check()
                    time.sleep(LOCK_POLL)
                    continue
                for partial in self.folder.glob(f"{PARTIAL}*"):  # of a process that was killed
                    partial.unlink(missing_ok=True)
                yield not path.exists()
                return
        yield False

    def _prompts_of(self, number: int) -> Sequence[str]:
        return self.prompts[number * CHUNK : (number + 1) * CHUNK]

    def _path(self, number: int) -> Path:
        return self.folder / f"{self._stem}-{number:03}.safetensors"


def compute(
    model: Any,
    base: LoadedBase,
    prompts: Iterable[str],
    check: Callable[[], None],
    reply_tokens: int = REPLY_TOKENS,
) -> list[Anchor]:
    """Return anchors for prompts: greedy replies of the model and its distributions. Unencodable ones are left out."""
    encoded = [(prompt, ids) for prompt in prompts if (ids := _encoded(prompt, base))]
    replies = greedy(model, [ids for _, ids in encoded], base.words.ends, reply_tokens, check)
    rows = []
    for (prompt, ids), reply in zip(encoded, replies, strict=True):
        if reply:
            ended = len(reply) < reply_tokens
            full = (*ids, *reply, *([base.words.vocabulary.eos_id] if ended else []))
            rows.append((prompt, TrainRow(full, tuple(range(len(ids), len(full))), "anchor")))
    rows.sort(key=lambda each: len(each[1].ids))
    found = []
    for start in range(0, len(rows), FORWARD_ROWS):
        check()
        part = rows[start : start + FORWARD_ROWS]
        references = _references(model, [row for _, row in part])
        found += [
            Anchor(prompt, TrainRow(row.ids, row.targets, "anchor", -1, reference))
            for (prompt, row), reference in zip(part, references, strict=True)
        ]
    return found


def without_similar(anchors: Sequence[Anchor], prompts: Sequence[str]) -> list[Anchor]:
    """Return the anchors whose prompt is no wording of any of these prompts; case and punctuation do not count."""
    if not prompts or not anchors:
        return list(anchors)
    asked = [anchor.prompt for anchor in anchors]
    scores = process.cdist(asked, prompts, scorer=fuzz.token_sort_ratio, processor=utils.default_process, workers=1)
    return [anchor for anchor, row in zip(anchors, scores, strict=True) if row.max() < SIMILAR]


def _encoded(prompt: str, base: LoadedBase) -> list[int]:
    try:
        return encode_prompt((Message("user", prompt),), base.words.vocabulary)
    except DialogError:
        return []


def _references(model: Any, rows: Sequence[TrainRow]) -> Iterator[Reference]:
    with evaluating(model):
        logprobs = functional.log_softmax(target_logits(model, rows).float(), dim=-1)
    values, tokens = logprobs.topk(min(TOP, logprobs.shape[-1]), dim=-1)
    start = 0
    for row in rows:
        end = start + len(row.targets)
        yield Reference(tokens[start:end].to("cpu", torch.int32), values[start:end].to("cpu", torch.float16))
        start = end


def _write(path: Path, anchors: Sequence[Anchor]) -> None:
    """Write a chunk atomically."""
    references = [anchor.row.reference for anchor in anchors if anchor.row.reference]
    index = [[anchor.prompt, len(anchor.row.ids), anchor.row.targets[0]] for anchor in anchors]
    tensors = {
        "ids": torch.tensor([token for anchor in anchors for token in anchor.row.ids], dtype=torch.int32),
        "tokens": torch.cat([reference.tokens for reference in references] or [torch.zeros(0, TOP, dtype=torch.int32)]),
        "logprobs": torch.cat([reference.logprobs for reference in references] or [torch.zeros(0, TOP).half()]),
    }
    beside = path.with_name(f"{PARTIAL}{secrets.token_hex(8)}")
    try:
        save_file(tensors, beside, metadata={"index": json.dumps(index)})
        beside.chmod(0o600)
        beside.rename(path)
    finally:
        beside.unlink(missing_ok=True)


def _read(path: Path) -> list[Anchor]:
    if not path.exists():
        raise FileNotFoundError(path)
    with safe_open(path, framework="pt") as file:
        index = json.loads(file.metadata()["index"])
        ids, tokens, logprobs = (file.get_tensor(name) for name in ("ids", "tokens", "logprobs"))
    found, at, target = [], 0, 0
    for prompt, length, first in index:
        count = length - first
        reference = Reference(tokens[target : target + count], logprobs[target : target + count])
        row = tuple(ids[at : at + length].tolist())
        found.append(Anchor(prompt, TrainRow(row, tuple(range(first, length)), "anchor", -1, reference)))
        at, target = at + length, target + count
    if (at, target, target) != (len(ids), len(tokens), len(logprobs)):
        raise ValueError(f"{path} does not have the tensors that its index lists")
    return found
