"""lineage.json: where a version comes from, what it was trained on, how it scored; the tree that versions make.

Does not know how folders are published.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

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
    """Where a version comes from and what it was trained on.

    `digest` identifies the version, whatever it is called; `checksum` is compared whenever it is loaded. `parent`
    is `base`, `NAME/vN` or `NAME/vN (removed)`, and names the version that `parent_digest` identifies.
    `base_digest` identifies the weights of the base. `seen` are hashes of the rows of this run (those of earlier
    runs are in the lineages of its ancestors). `accepted` is when the person first used it, 0 for never.
    """

    adapter: str
    version: int
    parent: str
    parent_digest: str = ""
    base_model: str
    base_digest: str = ""
    digest: str = ""
    checksum: str = ""
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
    accepted: float = 0.0
    steps: int = 0
    created: float = 0.0
    note: str = ""

    @property
    def address(self) -> str:
        """`NAME/vN`."""
        return f"{self.adapter}/v{self.version}"

    @property
    def checked(self) -> Literal["passed", "failed", "not checked"]:
        """The result of the gate in words."""
        if self.gate is None:
            return "not checked"
        return "passed" if self.gate.passed else "failed"

    def encoded(self) -> bytes:
        """As JSON, indented for people."""
        return msgspec.json.format(msgspec.json.encode(self), indent=1)


@dataclass(frozen=True, slots=True)
class Branch:
    """One line of the tree of versions: its depth below a version that starts from the base.

    `current` where it is the accepted version of its adapter, `offered` where it is new and waits to be accepted.
    """

    depth: int
    lineage: Lineage
    current: bool
    offered: bool = False

    @property
    def state(self) -> str:
        """`in use`, `new`, or nothing."""
        return "in use" if self.current else "new" if self.offered else ""


def read(path: Path, name: str, version: int) -> Lineage:
    """A lineage file, under the name and version of the folder that it is in. Raises AdapterDamaged."""
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Lineage)
    except (OSError, *UNREADABLE) as error:
        raise AdapterDamaged(
            f"{name}/v{version} is damaged: {path} cannot be read ({error}).",
            data="Its folder was not changed.",
            remedy="Use another version.",
        ) from error
    return msgspec.structs.replace(found, adapter=name, version=version)


def parts(address: str) -> tuple[str, int]:
    """Name and number of `NAME/vN`."""
    name, _, version = address.partition("/v")
    return name, int(version)


def tree(lineages: Iterable[Lineage], current: set[str], offered: set[str]) -> Iterator[Branch]:
    """Every version below its parent, depth first; one whose parent was removed starts a tree of its own.

    `current` and `offered` are addresses.
    """
    everything = list(lineages)
    by_identity = {lineage.digest: lineage.address for lineage in reversed(everything)}
    children: dict[str, list[Lineage]] = {}
    for lineage in everything:
        above = by_identity.get(lineage.parent_digest, BASE) if lineage.parent_digest else BASE
        children.setdefault(BASE if above == lineage.address else above, []).append(lineage)
    waiting = [(0, lineage) for lineage in reversed(children.get(BASE, []))]
    while waiting:
        depth, lineage = waiting.pop()
        yield Branch(depth, lineage, lineage.address in current, lineage.address in offered)
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
        *gate_rows(lineage),
        ("content", lineage.digest),
        ("note", lineage.note),
    ]
    return card(f"{lineage.adapter} v{lineage.version}", lineage.base_model, lineage.method, rows)


def gate_rows(lineage: Lineage) -> list[tuple[str, str]]:
    """What the gate found, as rows of a table: the result, the counts, the reasons against it."""
    gate = lineage.gate
    if gate is None:
        return [("gate", lineage.checked)]
    strength = f", at {gate.strength:g} of the trained strength" if gate.strength != 1 else ""
    counts = gate.summary + (f" · KL to the base {gate.kl:.3f} (at most {gate.kl_budget:g})" if gate.kl_budget else "")
    return [("gate", lineage.checked + strength), ("gate counts", counts), ("gate reasons", " ".join(gate.reasons))]


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _scored(score: Scored) -> str:
    return f"{score.base:.4f}, {score.parent:.4f}, {score.new:.4f}"
