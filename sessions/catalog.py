"""Versions as they are on disk, by address and by identity, removed ones too. Reads only. Torch-free.

`adapters/NAME/vN/` is a version; `adapters/NAME/.removed/vN.json` is the lineage of one that was removed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from sessions import adapter_folder, lineage
from sessions.errors import UNREADABLE, AdapterDamaged
from sessions.lineage import Lineage
from sessions.protocol import BASE

VERSION = re.compile(r"v([1-9][0-9]{0,8})")
REMOVED = ".removed"


class _Digest(msgspec.Struct, frozen=True):
    """The one field of a lineage that identifies the version."""

    digest: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """One version that is or was in the data home; `file` is its lineage."""

    identity: str
    adapter: str
    version: int
    file: Path
    removed: bool

    @property
    def address(self) -> str:
        """`NAME/vN`, where it is or was."""
        return f"{self.adapter}/v{self.version}"

    @property
    def name(self) -> str:
        """The address, with a note where it was removed."""
        return f"{self.address} (removed)" if self.removed else self.address

    def lineage(self) -> Lineage:
        """As it was written. Raises AdapterDamaged."""
        return lineage.read(self.file, self.adapter, self.version)


class Identities:
    """Every version that a data home has or had. Of two with the same content the first in order is meant."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self._entries = order = sorted(entries, key=lambda each: (each.removed, each.adapter, each.version))
        self._by_identity = {each.identity: each for each in reversed(order)}
        self._by_address = {each.address: each for each in reversed(order)}

    def find(self, identity: str) -> Entry | None:
        """The version with this content."""
        return self._by_identity.get(identity)

    def at(self, address: str) -> Entry | None:
        """The version that is at an address, else the removed one that was."""
        return self._by_address.get(address)

    def address(self, identity: str) -> str | None:
        """Where a version is now: `base` or `NAME/vN`; None where it was removed or never known."""
        if identity == BASE:
            return BASE
        found = self.find(identity)
        return None if found is None or found.removed else found.address

    def name(self, identity: str, address: str) -> str:
        """What a version is called now that was at an address before; the address where it is not known."""
        here = self.at(address)
        if here is not None and here.identity == identity:
            return here.name
        entry = self.find(identity)
        return address if entry is None else entry.name

    def addresses(self, *, removed: bool = False) -> list[tuple[str, str]]:
        """Identity and address of every version that is here; or of every removed one."""
        return [(each.identity, each.address) for each in self._entries if each.removed is removed]

    def recorded(self) -> dict[str, str]:
        """Identities by address, of removed versions too."""
        return {address: each.identity for address, each in self._by_address.items()}


class Catalog:
    """The versions of one data home."""

    def __init__(self, adapters: Path) -> None:
        self.adapters = adapters
        self._digests: dict[Path, tuple[tuple[int, int], str]] = {}

    def names(self) -> list[str]:
        """Names that have a version, sorted."""
        return [name for name in self._folders() if self.numbers(name)]

    def numbers(self, name: str) -> list[int]:
        """Numbers of the versions of a name."""
        home = self.adapters / name
        if not home.is_dir():
            return []
        return sorted(int(match[1]) for path in home.iterdir() if (match := VERSION.fullmatch(path.name)))

    def removed(self, name: str) -> list[int]:
        """Numbers of the removed versions of a name."""
        found = (VERSION.fullmatch(path.stem) for path in (self.adapters / name / REMOVED).glob("v*.json"))
        return sorted(int(match[1]) for match in found if match)

    def folder(self, name: str, version: int) -> Path:
        """The folder of a version."""
        return self.adapters / name / f"v{version}"

    def read(self, name: str, version: int) -> Lineage:
        """The lineage of a version as it was written, its folder checked to be whole. Raises AdapterDamaged."""
        folder = self.folder(name, version)
        adapter_folder.check(folder)
        found = lineage.read(folder / lineage.FILE, name, version)
        return found if found.digest else msgspec.structs.replace(found, digest=adapter_folder.digest(folder))

    def identities(self) -> Identities:
        """Every version whose lineage can be read."""
        return Identities(entry for name in self._folders() for entry in self.entries(name))

    def entries(self, name: str) -> Iterator[Entry]:
        """The versions that a name has or had."""
        home = self.adapters / name
        files = [(number, home / f"v{number}" / lineage.FILE, False) for number in self.numbers(name)]
        files += [(number, home / REMOVED / f"v{number}.json", True) for number in self.removed(name)]
        for number, file, removed in files:
            if digest := self._digest(file, removed):
                yield Entry(digest, name, number, file, removed)

    def _folders(self) -> list[str]:
        if not self.adapters.is_dir():
            return []
        return sorted(path.name for path in self.adapters.iterdir() if path.is_dir() and not path.name.startswith("."))

    def _digest(self, file: Path, removed: bool) -> str:
        """Empty where the lineage cannot be read. Read once as long as the file stays the same."""
        try:
            about = file.stat()
            stamp = about.st_mtime_ns, about.st_size
            if (known := self._digests.get(file)) is None or known[0] != stamp:
                digest = msgspec.json.decode(file.read_bytes(), type=_Digest).digest
                if not digest and not removed:
                    digest = adapter_folder.digest(file.parent)
                self._digests[file] = known = (stamp, digest)
            return known[1]
        except (OSError, *UNREADABLE):
            return ""


def ancestors(identities: Identities, start: Entry | None) -> Iterator[Entry]:
    """The parent of a version, its parent, and so on, removed ones too, as far as their lineages can be read."""
    done: set[str] = set()
    entry = start
    while entry is not None and entry.identity not in done:
        done.add(entry.identity)
        try:
            entry = identities.find(entry.lineage().parent_digest)
        except AdapterDamaged:
            return
        if entry is not None:
            yield entry
