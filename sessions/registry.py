"""Adapters on disk: names, versions, atomic publish, roll-back, rename, import and export. Torch-free.

`adapters/NAME/vN/` is a PEFT folder, whole or absent. Its identity is the digest of its content.
"""

from __future__ import annotations

import contextlib
import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from corpora.files import sync_folder
from sessions import adapter_folder
from sessions import lineage as lineages
from sessions.acceptance import Acceptance
from sessions.catalog import REMOVED, Catalog, Identities, ancestors
from sessions.errors import UNREADABLE, AdapterDamaged, AdapterError, AdapterNotFound, UsageError
from sessions.lineage import ADDRESS, Branch, Lineage
from sessions.paths import Paths, checked_name, private_folder, write_atomic
from sessions.protocol import BASE

__all__ = ["Branch", "Lineage", "Registry"]

STAGING = ".staging-"
STALE = 24 * 3600.0


class Registry:
    """The adapters of one data home."""

    def __init__(self, paths: Paths) -> None:
        self.paths = paths
        self.catalog = Catalog(paths.adapters)
        self.acceptance = Acceptance(self.catalog)

    # looking

    def names(self) -> list[str]:
        """Names that have a version, sorted."""
        return self.catalog.names()

    def identities(self) -> Identities:
        """Every version that is or was here, by identity and by address."""
        return self.catalog.identities()

    def versions(self, name: str) -> list[Lineage]:
        """Whole versions, the oldest first; damaged ones are left out."""
        known = self.identities()
        return [_named(found, known) for found in self._read_all(name) if isinstance(found, Lineage)]

    def damaged(self, name: str) -> list[AdapterDamaged]:
        """What is wrong with the versions that `versions` leaves out."""
        return [found for found in self._read_all(name) if isinstance(found, AdapterDamaged)]

    def all(self) -> list[Lineage]:
        """Every version of every name."""
        return [lineage for name in self.names() for lineage in self.versions(name)]

    def tree(self) -> list[Branch]:
        """Every version below its parent, the oldest first."""
        names = self.names()
        offered = {lineage.address for name in names if (lineage := self.acceptance.offered(name)) is not None}
        return list(lineages.tree(self.all(), {self.current(name) for name in names}, offered))

    def lineage(self, adapter: str) -> Lineage:
        """Of `NAME/vN`, or of `NAME` (its accepted version). Raises AdapterNotFound, AdapterDamaged."""
        return _named(self.stored(adapter), self.identities())

    def stored(self, adapter: str) -> Lineage:
        """`lineage` as it was written: its parent may have another name by now."""
        address = self.resolve(adapter)
        if address == BASE:
            raise self._no_version(adapter)
        return self.catalog.read(*lineages.parts(address))

    def resolve(self, adapter: str) -> str:
        """`base`, or `NAME/vN` for `NAME/vN`, `NAME@vN`, `NAME@N`, or for `NAME` with an accepted version.

        Raises AdapterNotFound.
        """
        if adapter == BASE:
            return BASE
        match = ADDRESS.fullmatch(adapter)
        name = checked_adapter(match["name"] if match else adapter)
        numbers = self.catalog.numbers(name)
        if match is None and numbers:
            if (address := self.current(name)) == BASE:
                raise self._no_version(name)
            return address
        if match is None or int(match["version"]) not in numbers:
            raise self._not_found(adapter, name, numbers)
        return f"{name}/v{match['version']}"

    def identity(self, adapter: str) -> str:
        """`base`, or the digest of a version. Raises AdapterNotFound, AdapterDamaged."""
        return BASE if adapter == BASE else self.stored(adapter).digest

    def address(self, identity: str) -> str:
        """Where the version with this identity is now. Raises AdapterNotFound where it was removed."""
        known = self.identities()
        address = known.address(identity)
        if address is None:
            entry = known.find(identity)
            what = f"{entry.address} was removed" if entry else f"The version {identity[:12]} is not in this data home"
            raise AdapterNotFound(f"{what}.", remedy="`llama-tui adapters list` shows the versions.")
        return address

    def folder(self, adapter: str) -> Path:
        """The PEFT folder of `NAME/vN`, checked to be whole. Raises AdapterNotFound, AdapterDamaged."""
        lineage = self.stored(adapter)
        return self.paths.adapter(lineage.adapter, lineage.version)

    def verified(self, adapter: str) -> Path:
        """`folder`, its content compared with the digest it was published with (reads all of it)."""
        lineage = self.stored(adapter)
        folder = self.paths.adapter(lineage.adapter, lineage.version)
        adapter_folder.verify(folder, lineage.digest)
        return folder

    def seen(self, adapter: str) -> set[str]:
        """Hashes of all rows that a version and its ancestors were trained on, removed ones too."""
        address = self.resolve(adapter)
        if address == BASE:
            return set()
        start = self.stored(address)
        found = set(start.seen)
        known = self.identities()
        for entry in ancestors(known, known.at(start.address)):
            with contextlib.suppress(AdapterDamaged):
                found |= set(entry.lineage().seen)
        return found

    # the accepted version

    def current(self, name: str) -> str:
        """The accepted version as `NAME/vN`; `base` where none was accepted, or it is no longer there."""
        return self.acceptance.current(name)

    def use(self, adapter: str, *, force: bool = False) -> str:
        """Accept a version as the current one of its name; returns `NAME/vN`.

        Raises GateFailed for one that failed the gate, without `force`; AdapterNotFound, AdapterDamaged.
        """
        found = self.stored(adapter)
        self.acceptance.accept(found, force=force)
        return found.address

    def rollback(self, name: str) -> str:
        """Go back to the nearest ancestor of the same name that was accepted before; returns it, or `base`."""
        self._refuse_unknown(name)
        if self.acceptance.identity(name) == BASE:
            raise AdapterError(
                f"No version of {name} is in use.", data="Nothing was changed.", remedy=f"Use one: {name}/v1, say."
            )
        return self.acceptance.go_back(name)

    # coming and going

    def stage(self, name: str) -> Path:
        """An empty folder beside the versions, to be filled and handed to `publish`."""
        home = private_folder(self.paths.adapters / checked_adapter(name))
        self._sweep(home)
        return private_folder(home / f"{STAGING}{secrets.token_hex(8)}")

    def publish(self, staged: Path, lineage: Lineage, *, offer: bool = True) -> str:
        """Move a finished PEFT folder into place as the next version; returns `NAME/vN`.

        Writes lineage.json and README.md, fsyncs, renames: a reader sees all of it or nothing. The version is not
        used: it is offered, unless it failed the gate or `offer` is False.
        """
        name = checked_adapter(lineage.adapter)
        config = adapter_folder.check(staged)
        staged = self._beside(staged, name)
        known = msgspec.structs.replace(
            lineage,
            parent_digest=lineage.parent_digest or self._parent_digest(lineage.parent),
            digest=adapter_folder.digest(staged),
            checksum=adapter_folder.checksum(staged),
            method=config.method,
            rank=lineage.rank or config.r,
            created=lineage.created or time.time(),
            accepted=0.0,
        )
        number = self._next(name)
        while not self._put(staged, msgspec.structs.replace(known, version=number)):
            number = max(number + 1, self._next(name))
        if offer and known.checked != "failed":
            self.acceptance.offer(known)
        return f"{name}/v{number}"

    def rename(self, name: str, new: str) -> None:
        """Rename an adapter with all its versions. Whatever refers to a version refers to its identity."""
        self._refuse_unknown(name)
        target = self.paths.adapters / checked_adapter(new)
        if target.exists():
            taken = f"There is an adapter {new!r} already."
            if not self.catalog.numbers(new):
                taken = f"{new!r} was the name of versions that were removed, and their numbers are not used again."
            raise UsageError(taken, data="Nothing was renamed.", remedy="Choose another name.")
        (self.paths.adapters / name).rename(target)
        sync_folder(self.paths.adapters)

    def remove(self, adapter: str) -> None:
        """Remove `NAME/vN`, or `NAME` with all versions. A single version that is in use is refused.

        The lineages of removed versions are kept: for what their descendants were trained on, for the names of
        the versions in old records, and so that no number is used again.
        """
        if ADDRESS.fullmatch(adapter) is None:
            self._refuse_unknown(adapter)
            self.acceptance.forget(adapter)
            for number in self.catalog.numbers(adapter):
                self._discard(adapter, number)
            return
        name, version = lineages.parts(self.resolve(adapter))
        if self.current(name) == f"{name}/v{version}":
            raise AdapterError(
                f"{name}/v{version} is the version in use.",
                data="Nothing was removed.",
                remedy=f"Use another version or roll back first, or remove {name} with all its versions.",
            )
        self._discard(name, version)

    def import_folder(self, folder: Path, name: str) -> str:
        """Copy a PEFT folder in as the next version of a name; safetensors only. Raises AdapterDamaged.

        Content that the name has already is not added again: its version is returned.
        """
        config = adapter_folder.check(folder)
        digest = adapter_folder.digest(folder)
        if (there := self.acceptance.address_in(checked_adapter(name), digest)) is not None:
            return there
        lineage = Lineage(adapter=name, version=0, parent=BASE, base_model=config.base_model_name_or_path or "")
        with contextlib.suppress(OSError, *UNREADABLE):
            ours = msgspec.json.decode((folder / lineages.FILE).read_bytes(), type=Lineage)
            # Figures and the gate's result hold for the content that they were measured on.
            measured = ours if ours.digest == digest else msgspec.structs.replace(ours, gate=None, scores=())
            lineage = msgspec.structs.replace(measured, adapter=name, parent=BASE, parent_digest="")
        staged = self.stage(name)
        for file in (adapter_folder.CONFIG, adapter_folder.WEIGHTS):
            shutil.copyfile(folder / file, staged / file)
        noted = msgspec.structs.replace(lineage, note=f"imported from {folder.absolute()}")
        return self.publish(staged, noted, offer=False)

    def export(self, adapter: str, target: Path) -> Path:
        """Copy a version out as a PEFT folder that `PeftModel.from_pretrained` opens."""
        source = self.verified(adapter)
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise UsageError(f"{target} exists and is not an empty folder.", data="Nothing was written.")
        target.parent.mkdir(parents=True, exist_ok=True)
        beside = target.parent / f".{target.name}.{secrets.token_hex(4)}"
        shutil.copytree(source, beside)
        beside.rename(target)
        return target

    # within

    def _next(self, name: str) -> int:
        return max([0, *self.catalog.numbers(name), *self.catalog.removed(name)]) + 1

    def _refuse_unknown(self, name: str) -> None:
        if not self.catalog.numbers(checked_adapter(name)):
            raise self._not_found(name, name, [])

    def _not_found(self, adapter: str, name: str, numbers: list[int]) -> AdapterNotFound:
        there = ", ".join(f"{name}/v{number}" for number in numbers) if numbers else ", ".join(self.names())
        return AdapterNotFound(f"There is no adapter {adapter!r}.", remedy=f"There are: {there or 'none yet'}.")

    def _no_version(self, adapter: str) -> AdapterNotFound:
        if adapter == BASE:
            what, there = f"{BASE} is the model without an adapter; it has no version.", self.names()
        else:
            what = f"No version of {adapter} is in use: none was accepted, or it was rolled back to the base."
            there = [f"{adapter}/v{number}" for number in self.catalog.numbers(adapter)]
        return AdapterNotFound(what, remedy=f"Name one: {', '.join(there)}." if there else "There is no adapter yet.")

    def _read_all(self, name: str) -> Iterator[Lineage | AdapterDamaged]:
        for number in self.catalog.numbers(name):
            try:
                yield self.catalog.read(name, number)
            except AdapterDamaged as error:
                yield error

    def _parent_digest(self, parent: str) -> str:
        entry = None if parent == BASE else self.identities().at(parent)
        return entry.identity if entry else ""

    def _beside(self, staged: Path, name: str) -> Path:
        if staged.parent == self.paths.adapters / name:
            return staged
        target = self.stage(name)
        shutil.copytree(staged, target, dirs_exist_ok=True)
        shutil.rmtree(staged, ignore_errors=True)
        return target

    def _put(self, staged: Path, lineage: Lineage) -> bool:
        """Complete the folder and rename it; False where another process took the number meanwhile."""
        (staged / adapter_folder.CARD).write_text(lineages.model_card(lineage), "utf-8")
        adapter_folder.sync_files(staged)
        write_atomic(staged / lineages.FILE, lineage.encoded())
        try:
            staged.rename(self.paths.adapter(lineage.adapter, lineage.version))
        except OSError:
            if not self.paths.adapter(lineage.adapter, lineage.version).exists():
                raise
            return False
        sync_folder(self.paths.adapters / lineage.adapter)
        return True

    def _discard(self, name: str, version: int) -> None:
        home = self.paths.adapters / name
        write_atomic(home / REMOVED / f"v{version}.json", self._last_lineage(name, version).encoded())
        doomed = home / f"{STAGING}{secrets.token_hex(8)}"
        (home / f"v{version}").rename(doomed)
        sync_folder(home)
        shutil.rmtree(doomed, ignore_errors=True)

    def _last_lineage(self, name: str, version: int) -> Lineage:
        """The lineage of a version that is about to be removed; a bare one where it cannot be read."""
        folder = self.paths.adapter(name, version)
        with contextlib.suppress(AdapterDamaged):
            return lineages.read(folder / lineages.FILE, name, version)
        return Lineage(adapter=name, version=version, parent=BASE, base_model="", note="its lineage was damaged")

    def _sweep(self, home: Path) -> None:
        """Remove what a killed process left, once it is a day old."""
        for path in home.glob(f"{STAGING}*"):
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime > STALE:
                    shutil.rmtree(path, ignore_errors=True)


def checked_adapter(name: str) -> str:
    """The name, where an adapter can have it. Raises UsageError."""
    if checked_name(name) == BASE or name.startswith("."):
        raise UsageError(f"An adapter cannot be called {name!r}.", remedy="Choose another name.")
    return name


def _named(lineage: Lineage, known: Identities) -> Lineage:
    """With the name that the parent has now."""
    if lineage.parent == BASE:
        return lineage
    if known.find(lineage.parent_digest) is None:
        return msgspec.structs.replace(lineage, parent=f"{lineage.parent} (removed)")
    return msgspec.structs.replace(lineage, parent=known.name(lineage.parent_digest, lineage.parent))
