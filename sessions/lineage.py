"""lineage.json: where a version comes from, what it has seen, how it scored; and the tree that versions make.

Knows nothing of how folders get into place.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from corpora.selection import Selection
from sessions.adapter_folder import card
from sessions.errors import UNREADABLE, AdapterDamaged
from sessions.protocol import BASE
from sessions.training.events import Scored
from sessions.training.report import GateReport

FILE = "lineage.json"
ADDRESS = re.compile(r"(?P<name>[^/@]+)(?:/v|@v?)(?P<version>[1-9][0-9]{0,8})")
"""`NAME/vN`, `NAME@vN` or `NAME@N`."""


class Lineage(msgspec.Struct, frozen=True, kw_only=True):
    """Where a version comes from and what it has seen.

    `parent` is `base` or `NAME/vN`; `base_digest` identifies the base's weights; `seen` are hashes of the
    rows that this run trained on (those of its ancestors stand in theirs).
    """

    adapter: str
    version: int
    parent: str
    base_model: str
    base_digest: str = ""
    digest: str = ""
    run: str = ""
    snapshot: str = ""
    rows: int = 0
    seen: tuple[str, ...] = ()
    selection: Selection | None = None
    method: str = ""
    rank: int = 0
    loss: float | None = None
    held_out: float | None = None
    scores: tuple[Scored, ...] = ()
    gate: GateReport | None = None
    worse: str = ""
    steps: int = 0
    created: float = 0.0
    note: str = ""

    @property
    def address(self) -> str:
        """`NAME/vN`."""
        return f"{self.adapter}/v{self.version}"

    def encoded(self) -> bytes:
        """As JSON, for people to read too."""
        return msgspec.json.format(msgspec.json.encode(self), indent=1)


@dataclass(frozen=True, slots=True)
class Branch:
    """One line of the tree of versions: its depth below a version that starts from the base."""

    depth: int
    lineage: Lineage
    current: bool


def read(path: Path, name: str, version: int) -> Lineage:
    """A lineage file, under the name and version of the place where it lies. Raises AdapterDamaged."""
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Lineage)
    except (OSError, *UNREADABLE) as error:
        raise AdapterDamaged(
            f"{name}/v{version} is not whole: {path} cannot be read ({error}).",
            data="Its folder is left as it is.",
            remedy="Use another version.",
        ) from error
    parent = renamed(found.parent, found.adapter, name)
    return msgspec.structs.replace(found, adapter=name, version=version, parent=parent)


def parts(address: str) -> tuple[str, int]:
    """Name and number of `NAME/vN`."""
    name, _, version = address.partition("/v")
    return name, int(version)


def renamed(address: str, name: str, new: str) -> str:
    """An address after the rename of an adapter."""
    return f"{new}/{address.removeprefix(f'{name}/')}" if address.startswith(f"{name}/") else address


def tree(lineages: Iterable[Lineage], current: set[str]) -> Iterator[Branch]:
    """Every version below its parent, depth first; one whose parent is gone starts a tree of its own."""
    everything = {lineage.address: lineage for lineage in lineages}
    children: dict[str, list[Lineage]] = {}
    for lineage in everything.values():
        children.setdefault(lineage.parent if lineage.parent in everything else BASE, []).append(lineage)
    waiting = [(0, lineage) for lineage in reversed(children.get(BASE, []))]
    while waiting:
        depth, lineage = waiting.pop()
        yield Branch(depth, lineage, lineage.address in current)
        waiting += [(depth + 1, child) for child in reversed(children.get(lineage.address, []))]


def model_card(lineage: Lineage) -> str:
    """README.md of a version."""
    rows = [
        ("base model", lineage.base_model),
        ("continues", lineage.parent),
        ("rows", str(lineage.rows)),
        ("steps", str(lineage.steps)),
        ("method", lineage.method),
        ("rank", str(lineage.rank or "")),
        ("training loss", _figure(lineage.loss)),
        ("held-out loss", _figure(lineage.held_out)),
        *((f"loss on {score.subset} rows: base, parent, this", _scored(score)) for score in lineage.scores),
        ("worse on old rows", lineage.worse),
        ("content", lineage.digest),
        ("note", lineage.note),
    ]
    return card(f"{lineage.adapter} v{lineage.version}", lineage.base_model, lineage.method, rows)


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _scored(score: Scored) -> str:
    return f"{score.base:.4f}, {score.parent:.4f}, {score.new:.4f}"
