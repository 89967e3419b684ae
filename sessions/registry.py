"""Adapters on disk: names, versions, lineage, atomic publish, roll-back, import and export. Torch-free.

`adapters/NAME/vN/` is a PEFT folder, whole or absent; `adapters/NAME/current` names the version in use.
"""

from __future__ import annotations

import contextlib
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from corpora.files import sync_folder
from sessions import adapter_folder
from sessions import lineage as lineages
from sessions.errors import UNREADABLE, AdapterDamaged, AdapterError, AdapterNotFound, UsageError
from sessions.lineage import ADDRESS, Branch, Lineage
from sessions.paths import Paths, checked_name, private_folder, write_atomic
from sessions.protocol import BASE

__all__ = ["Branch", "Lineage", "Registry"]

VERSION = re.compile(r"v([1-9][0-9]{0,8})")
STAGING, REMOVED, CURRENT = ".staging-", ".removed", "current"
STALE = 24 * 3600.0


class Registry:
    """The adapters of one data home."""

    def __init__(self, paths: Paths) -> None:
        self.paths = paths

    # looking

    def names(self) -> list[str]:
        """Names that have a version, sorted."""
        if not self.paths.adapters.is_dir():
            return []
        found = (path.name for path in self.paths.adapters.iterdir() if not path.name.startswith("."))
        return sorted(name for name in found if self._numbers(name))

    def versions(self, name: str) -> list[Lineage]:
        """Whole versions, the oldest first; one that is damaged is left out."""
        return [found for _, found in self._read_all(name) if isinstance(found, Lineage)]

    def damaged(self, name: str) -> list[AdapterDamaged]:
        """What is wrong with the versions that `versions` leaves out."""
        return [found for _, found in self._read_all(name) if isinstance(found, AdapterDamaged)]

    def all(self) -> list[Lineage]:
        """Every version of every name."""
        return [lineage for name in self.names() for lineage in self.versions(name)]

    def tree(self) -> list[Branch]:
        """Every version below its parent, the oldest first."""
        return list(lineages.tree(self.all(), {self.current(name) for name in self.names()}))

    def lineage(self, adapter: str) -> Lineage:
        """Of `NAME/vN` or `NAME` (its current version). Raises AdapterNotFound, AdapterDamaged."""
        address = self.resolve(adapter)
        if address == BASE:
            raise self._at_base(adapter)
        return self._read(*lineages.parts(address))

    def resolve(self, adapter: str) -> str:
        """`base`, or `NAME/vN` for `NAME/vN`, `NAME@vN`, `NAME@N` or `NAME`. Raises AdapterNotFound."""
        if adapter == BASE:
            return BASE
        match = ADDRESS.fullmatch(adapter)
        name = checked_adapter(match["name"] if match else adapter)
        numbers = self._numbers(name)
        if match is None and numbers:
            return self.current(name)
        if match is None or int(match["version"]) not in numbers:
            raise self._not_found(adapter, name, numbers)
        return f"{name}/v{match['version']}"

    def folder(self, adapter: str) -> Path:
        """The PEFT folder of `NAME/vN`, checked to be whole. Raises AdapterNotFound, AdapterDamaged."""
        lineage = self.lineage(adapter)
        return self.paths.adapter(lineage.adapter, lineage.version)

    def verified(self, adapter: str) -> Path:
        """`folder`, its content compared with the digest it was published with (reads all of it)."""
        lineage = self.lineage(adapter)
        folder = self.paths.adapter(lineage.adapter, lineage.version)
        adapter_folder.verify(folder, lineage.digest)
        return folder

    def seen(self, adapter: str) -> set[str]:
        """Hashes of all rows that a version and its ancestors were trained on, removed ones too."""
        found: set[str] = set()
        done: set[str] = set()
        address = self.resolve(adapter)
        while address != BASE and address not in done:
            done.add(address)
            lineage = self._ancestor(address)
            if lineage is None:
                break
            found |= set(lineage.seen)
            address = lineage.parent
        return found

    # the version in use

    def current(self, name: str) -> str:
        """The version in use as `NAME/vN`; `base` after a roll-back past v1 or where none exists.

        The first version of a name is in use as soon as it is there.
        """
        numbers = self._numbers(name)
        written = self._written_current(name)
        if written == BASE or not numbers:
            return BASE
        match = VERSION.fullmatch(written)
        return f"{name}/v{match[1]}" if match and int(match[1]) in numbers else f"{name}/v{numbers[0]}"

    def use(self, adapter: str) -> None:
        """Make `NAME/vN` the current version of its name."""
        name, version = lineages.parts(self.resolve(adapter))
        self.folder(f"{name}/v{version}")
        self._write_current(name, f"v{version}")

    def rollback(self, name: str) -> str:
        """Make the parent of the current version current; returns it (`base` at the first)."""
        self.resolve(name)
        now = self.current(name)
        if now == BASE:
            raise AdapterError(f"{name} stands at the base already.", remedy=f"Use a version: {name}/v1, say.")
        parent = self._parent(now)
        while parent != BASE and not self._is_there(parent, name):
            parent = self._parent(parent)
        self._write_current(name, parent.rpartition("/")[2])
        return parent

    # coming and going

    def stage(self, name: str) -> Path:
        """An empty folder beside the versions, to be filled and handed to `publish`."""
        home = private_folder(self.paths.adapters / checked_adapter(name))
        self._sweep(home)
        return private_folder(home / f"{STAGING}{secrets.token_hex(8)}")

    def publish(self, staged: Path, lineage: Lineage) -> str:
        """Move a finished PEFT folder into place as the next version; returns `NAME/vN`.

        Writes lineage.json and README.md, fsyncs, renames: a reader sees all of it or nothing.
        """
        name = checked_adapter(lineage.adapter)
        config = adapter_folder.check(staged)
        staged = self._beside(staged, name)
        known = msgspec.structs.replace(
            lineage,
            digest=adapter_folder.digest(staged),
            method=config.method,
            rank=lineage.rank or config.r,
            created=lineage.created or time.time(),
        )
        number = self._next(name)
        while not self._put(staged, msgspec.structs.replace(known, version=number)):
            number = max(number + 1, self._next(name))
        if not self._written_current(name):
            self._write_current(name, f"v{number}")
        return f"{name}/v{number}"

    def rename(self, name: str, new: str) -> None:
        """Rename an adapter with all its versions (lineages of others follow)."""
        self.resolve(name)
        target = self.paths.adapters / checked_adapter(new)
        if target.exists():
            raise UsageError(f"There is an adapter {new!r} already.", data="Nothing was renamed.")
        (self.paths.adapters / name).rename(target)
        sync_folder(self.paths.adapters)
        for path, found in self._lineage_files():
            if found.parent.startswith((f"{name}/", f"{new}/")) or found.adapter == new:
                moved = msgspec.structs.replace(found, parent=lineages.renamed(found.parent, name, new))
                write_atomic(path, moved.encoded())

    def remove(self, adapter: str) -> None:
        """Remove `NAME/vN` or `NAME` with all versions. The current version is refused with the way out.

        What a removed version had seen is remembered, so that its descendants are not taught it again.
        """
        if ADDRESS.fullmatch(adapter) is None:
            for number in self._numbers(self._known(adapter)):
                self._discard(adapter, number)
            (self.paths.adapters / adapter / CURRENT).unlink(missing_ok=True)
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
        """Copy a PEFT folder in as the next version of a name; safetensors only. Raises AdapterDamaged."""
        config = adapter_folder.check(folder)
        lineage = Lineage(
            adapter=name,
            version=0,
            parent=BASE,
            base_model=config.base_model_name_or_path or "",
            note=f"imported from {folder.absolute()}",
        )
        with contextlib.suppress(OSError, *UNREADABLE):
            ours = msgspec.json.decode((folder / lineages.FILE).read_bytes(), type=Lineage)
            lineage = msgspec.structs.replace(ours, adapter=name, parent=BASE, note=lineage.note)
        staged = self.stage(name)
        for file in (adapter_folder.CONFIG, adapter_folder.WEIGHTS):
            shutil.copyfile(folder / file, staged / file)
        return self.publish(staged, lineage)

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

    def _numbers(self, name: str) -> list[int]:
        home = self.paths.adapters / name
        if not home.is_dir():
            return []
        return sorted(int(match[1]) for path in home.iterdir() if (match := VERSION.fullmatch(path.name)))

    def _next(self, name: str) -> int:
        gone = self.paths.adapters / name / REMOVED
        removed = [int(path.stem[1:]) for path in gone.glob("v*.json") if path.stem[1:].isdigit()]
        return max([0, *self._numbers(name), *removed]) + 1

    def _known(self, name: str) -> str:
        if not self._numbers(checked_adapter(name)):
            raise self._not_found(name, name, [])
        return name

    def _not_found(self, adapter: str, name: str, numbers: list[int]) -> AdapterNotFound:
        there = ", ".join(f"{name}/v{number}" for number in numbers) if numbers else ", ".join(self.names())
        return AdapterNotFound(f"There is no adapter {adapter!r}.", remedy=f"There are: {there or 'none yet'}.")

    def _at_base(self, adapter: str) -> AdapterNotFound:
        if adapter == BASE:
            what, there = f"{BASE} is the model without an adapter; it has no version.", self.names()
        else:
            what = f"{adapter} was rolled back to the base, so none of its versions is in use."
            there = [f"{adapter}/v{number}" for number in self._numbers(adapter)]
        return AdapterNotFound(what, remedy=f"Name one: {', '.join(there)}." if there else "There is no adapter yet.")

    def _read_all(self, name: str) -> Iterator[tuple[int, Lineage | AdapterDamaged]]:
        for number in self._numbers(name):
            try:
                yield number, self._read(name, number)
            except AdapterDamaged as error:
                yield number, error

    def _read(self, name: str, version: int) -> Lineage:
        folder = self.paths.adapter(name, version)
        adapter_folder.check(folder)
        return lineages.read(folder / lineages.FILE, name, version)

    def _ancestor(self, address: str) -> Lineage | None:
        """The lineage of a version, also of a removed or damaged one."""
        name, version = lineages.parts(address)
        home = self.paths.adapters / name
        for path in (home / f"v{version}" / lineages.FILE, home / REMOVED / f"v{version}.json"):
            with contextlib.suppress(AdapterDamaged):
                return lineages.read(path, name, version)
        return None

    def _parent(self, address: str) -> str:
        above = self._ancestor(address)
        return above.parent if above else BASE

    def _is_there(self, address: str, name: str) -> bool:
        found, version = lineages.parts(address)
        return found == name and version in self._numbers(name)

    def _lineage_files(self) -> Iterator[tuple[Path, Lineage]]:
        for pattern in (f"*/v*/{lineages.FILE}", f"*/{REMOVED}/v*.json"):
            for path in self.paths.adapters.glob(pattern):
                name, part = path.relative_to(self.paths.adapters).parts[0], path.stem
                number = (part if part.startswith("v") else path.parent.name)[1:]
                with contextlib.suppress(AdapterDamaged, ValueError):
                    yield path, lineages.read(path, name, int(number))

    def _written_current(self, name: str) -> str:
        try:
            return (self.paths.adapters / name / CURRENT).read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError):
            return ""

    def _write_current(self, name: str, version: str) -> None:
        write_atomic(self.paths.adapters / name / CURRENT, f"{version}\n".encode())

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
        lineage = self._ancestor(f"{name}/v{version}")
        if lineage is not None:
            write_atomic(home / REMOVED / f"v{version}.json", lineage.encoded())
        doomed = home / f"{STAGING}{secrets.token_hex(8)}"
        (home / f"v{version}").rename(doomed)
        sync_folder(home)
        shutil.rmtree(doomed, ignore_errors=True)

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
