"""Which versions the person accepted, and which are offered: small files beside the versions of a name.

`adapters/NAME/current` and `adapters/NAME/offered` hold identities (content digests), so that a rename or a new
version under an old name never changes what they mean. Nothing is accepted by being published.
"""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

import msgspec

from sessions import adapter_folder
from sessions import lineage as lineages
from sessions.catalog import Catalog, ancestors
from sessions.errors import AdapterDamaged, GateFailed
from sessions.lineage import Lineage
from sessions.paths import write_atomic
from sessions.protocol import BASE

CURRENT, OFFERED = "current", "offered"


class Acceptance:
    """The accepted and the offered version of each name in a catalog."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog

    def identity(self, name: str) -> str:
        """The identity of the accepted version: a digest, or `base`."""
        return self._written(name, CURRENT) or BASE

    def current(self, name: str) -> str:
        """The accepted version as `NAME/vN`; `base` where none was accepted, or it is no longer there."""
        return self.address_in(name, self.identity(name)) or BASE

    def accept(self, found: Lineage, *, force: bool = False) -> None:
        """Make a version the current one of its name, its content compared first.

        Raises GateFailed for one that failed the gate, without `force`; AdapterDamaged.
        """
        if found.gate is not None and not found.gate.passed and not force:
            raise _gate_failed(found, found.gate.reasons)
        folder = self.catalog.folder(found.adapter, found.version)
        adapter_folder.verify(folder, found.digest, found.checksum)
        known = msgspec.structs.replace(
            found,
            accepted=found.accepted or time.time(),
            checksum=found.checksum or adapter_folder.checksum(folder),
        )
        if known != found:
            write_atomic(folder / lineages.FILE, known.encoded())
        self._write(found.adapter, CURRENT, found.digest)
        if self._written(found.adapter, OFFERED) == found.digest:
            self._file(found.adapter, OFFERED).unlink(missing_ok=True)

    def go_back(self, name: str) -> str:
        """Accept the nearest ancestor of the same name that was accepted before; returns it, or `base`."""
        target = self._accepted_ancestor(name)
        self._write(name, CURRENT, target.digest if target else BASE)
        return target.address if target else BASE

    def use_base(self, name: str) -> None:
        """Make the base the current one of a name that has versions."""
        if self.catalog.numbers(name):
            self._write(name, CURRENT, BASE)

    def offer(self, found: Lineage) -> None:
        """Offer a new version instead of the one that was offered before."""
        self._write(found.adapter, OFFERED, found.digest)

    def offered(self, name: str) -> Lineage | None:
        """The newest trained version of a name that waits to be accepted."""
        address = self.address_in(name, self._written(name, OFFERED))
        if address is None or address == self.current(name):
            return None
        with contextlib.suppress(AdapterDamaged):
            return self.catalog.read(*lineages.parts(address))
        return None

    def forget(self, name: str) -> None:
        """Nothing of a name is accepted or offered any more."""
        for file in (CURRENT, OFFERED):
            self._file(name, file).unlink(missing_ok=True)

    def address_in(self, name: str, identity: str) -> str | None:
        """The version of a name with this content; the newest of several."""
        if identity in ("", BASE):
            return None
        found = [each for each in self.catalog.entries(name) if each.identity == identity and not each.removed]
        return found[-1].address if found else None

    def _accepted_ancestor(self, name: str) -> Lineage | None:
        known = self.catalog.identities()
        now = self.current(name)
        start = known.find(self.identity(name)) if now == BASE else known.at(now)
        for entry in ancestors(known, start):
            address = self.address_in(name, entry.identity)
            with contextlib.suppress(AdapterDamaged):
                if address is not None and (found := self.catalog.read(*lineages.parts(address))).accepted:
                    return found
        return None

    def _file(self, name: str, file: str) -> Path:
        return self.catalog.adapters / name / file

    def _written(self, name: str, file: str) -> str:
        try:
            return self._file(name, file).read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError):
            return ""

    def _write(self, name: str, file: str, identity: str) -> None:
        write_atomic(self._file(name, file), f"{identity}\n".encode())


def _gate_failed(lineage: Lineage, reasons: tuple[str, ...]) -> GateFailed:
    error = GateFailed(
        f"{lineage.address} failed the gate: {' '.join(reasons) or 'no reason was recorded.'}",
        data="Nothing was changed.",
        remedy="Use another version, or train again.",
    )
    error.reasons = reasons
    return error
