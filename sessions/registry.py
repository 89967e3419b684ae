"""Adapters on disk: names, versions, lineage, atomic publish, roll-back, import and export. Torch-free.

`adapters/NAME/vN/` is a PEFT folder, whole or absent; `adapters/NAME/current` names the version in use.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from sessions import adapter_folder
from sessions.errors import AdapterDamaged, AdapterError, AdapterNotFound, UsageError
from sessions.paths import Paths, checked_name, private_folder, sync_folder, write_atomic
from sessions.protocol import BASE
from sessions.training.events import Scored

VERSION = re.compile(r"v([1-9][0-9]{0,8})")
ADDRESS = re.compile(r"(?P<name>[^/@]+)(?:/v|@v?)(?P<version>[1-9][0-9]{0,8})")
STAGING, REMOVED, CURRENT = ".staging-", ".removed", "current"
STALE = 24 * 3600.0


class Lineage(msgspec.Struct, frozen=True, kw_only=True):
    """lineage.json: where a version comes from and what it has seen.

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
    rank: int = 0
    loss: float | None = None
    held_out: float | None = None
    scores: tuple[Scored, ...] = ()
    worse: str = ""
    steps: int = 0
    created: float = 0.0
    note: str = ""

    @property
    def address(self) -> str:
        """`NAME/vN`."""
        return f"{self.adapter}/v{self.version}"


@dataclass(frozen=True, slots=True)
class Branch:
    """One line of the tree of versions: its depth below a version that starts from the base."""

    depth: int
    lineage: Lineage
    current: bool


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
        everything = {lineage.address: lineage for lineage in self.all()}
        current = {self.current(name) for name in self.names()}
        children: dict[str, list[Lineage]] = {}
        for lineage in everything.values():
            children.setdefault(lineage.parent if lineage.parent in everything else BASE, []).append(lineage)
        return list(_walk(children, BASE, 0, current))

    def lineage(self, adapter: str) -> Lineage:
        """Of `NAME/vN` or `NAME` (its current version). Raises AdapterNotFound, AdapterDamaged."""
        address = self.resolve(adapter)
        if address == BASE:
            raise AdapterNotFound(f"{adapter} stands at the base, which has no lineage.")
        return self._read(*_parts(address))

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
        name, version = _parts(self.resolve(adapter))
        self.folder(f"{name}/v{version}")
        self._write_current(name, f"v{version}")

    def rollback(self, name: str) -> str:
        """Make the parent of the current version current; returns it (`base` at the first)."""
        self.resolve(name)
        now = self.current(name)
        if now == BASE:
            raise AdapterError(f"{name} stands at the base already.", remedy=f"Use a version: {name}/v1, say.")
        target = self._ancestor(now)
        parent = target.parent if target else BASE
        while parent != BASE and (parent.split("/")[0] != name or _parts(parent)[1] not in self._numbers(name)):
            above = self._ancestor(parent)
            parent = above.parent if above else BASE
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
        for lineage in self.all():
            if lineage.parent.startswith(f"{name}/") or lineage.adapter == new:
                moved = msgspec.structs.replace(lineage, parent=_renamed(lineage.parent, name, new))
                write_atomic(self.paths.adapter(lineage.adapter, lineage.version) / "lineage.json", _json(moved))

    def remove(self, adapter: str) -> None:
        """Remove `NAME/vN` or `NAME` with all versions. The current version is refused with the way out.

        What a removed version had seen is remembered, so that its descendants are not taught it again.
        """
        if ADDRESS.fullmatch(adapter) is None:
            for number in self._numbers(self._known(adapter)):
                self._discard(adapter, number)
            (self.paths.adapters / adapter / CURRENT).unlink(missing_ok=True)
            return
        name, version = _parts(self.resolve(adapter))
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
        with contextlib.suppress(OSError, msgspec.MsgspecError):
            ours = msgspec.json.decode((folder / adapter_folder.LINEAGE).read_bytes(), type=Lineage)
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

    def _read_all(self, name: str) -> Iterator[tuple[int, Lineage | AdapterDamaged]]:
        for number in self._numbers(name):
            try:
                yield number, self._read(name, number)
            except AdapterDamaged as error:
                yield number, error

    def _read(self, name: str, version: int) -> Lineage:
        folder = self.paths.adapter(name, version)
        adapter_folder.check(folder)
        return _placed(_lineage_file(folder / adapter_folder.LINEAGE), name, version)

    def _ancestor(self, address: str) -> Lineage | None:
        """The lineage of a version, also of a removed or damaged one."""
        name, version = _parts(address)
        home = self.paths.adapters / name
        for path in (home / f"v{version}" / adapter_folder.LINEAGE, home / REMOVED / f"v{version}.json"):
            with contextlib.suppress(AdapterDamaged):
                return _placed(_lineage_file(path), name, version)
        return None

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
        (staged / adapter_folder.CARD).write_text(_card(lineage), "utf-8")
        adapter_folder.sync_files(staged)
        write_atomic(staged / adapter_folder.LINEAGE, _json(lineage))
        try:
            os.rename(staged, self.paths.adapter(lineage.adapter, lineage.version))
        except (FileExistsError, OSError) as error:
            if not self.paths.adapter(lineage.adapter, lineage.version).exists():
                raise
            del error
            return False
        sync_folder(self.paths.adapters / lineage.adapter)
        return True

    def _discard(self, name: str, version: int) -> None:
        home = self.paths.adapters / name
        lineage = self._ancestor(f"{name}/v{version}")
        if lineage is not None:
            write_atomic(home / REMOVED / f"v{version}.json", _json(lineage))
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
