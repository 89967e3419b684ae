"""Changes of data homes that older programs wrote: settings that were renamed, addresses that become identities.

Each step can be interrupted anywhere and is completed when the home is opened again.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import tomlkit
from tomlkit.exceptions import TOMLKitError

from sessions import lineage
from sessions.acceptance import CURRENT
from sessions.catalog import VERSION, Catalog, Entry, Identities, ancestors
from sessions.errors import UNREADABLE, AdapterDamaged
from sessions.paths import Paths, write_atomic
from sessions.protocol import BASE
from sessions.training.report import GateReport

MARK, FORMAT = ".format", "2\n"
"""The file in `adapters/` that says that the versions in it refer to each other by identity."""

AUTO_USE = {"use": "passed", "offer": "never"}
_OLD_KEY = re.compile(r"^([ \t]*)new_version([ \t]*=)", re.MULTILINE)


def upgrade(paths: Paths) -> None:
    """Bring a data home to the present form. Raises OSError where it cannot be written."""
    upgrade_settings(paths.config)
    if paths.adapters.is_dir() and not (paths.adapters / MARK).exists():
        upgrade_adapters(paths.adapters)
        write_atomic(paths.adapters / MARK, FORMAT.encode())


def upgrade_settings(path: Path) -> None:
    """Rename the key `new_version` to `auto_use`; comments and order stay. A file that is no TOML is left alone."""
    with contextlib.suppress(FileNotFoundError, UnicodeDecodeError, TOMLKitError):
        text = path.read_text("utf-8")
        document = tomlkit.parse(text) if _OLD_KEY.search(text) else {}
        if "new_version" not in document or document["new_version"] not in AUTO_USE:
            return
        if "auto_use" in document:
            document.pop("new_version")
        else:
            document = tomlkit.parse(_OLD_KEY.sub(r"\1auto_use\2", text, count=1))
            value = document["auto_use"]
            document["auto_use"] = tomlkit.string(AUTO_USE[value])
            document["auto_use"].trivia.comment = value.trivia.comment
            document["auto_use"].trivia.comment_ws = value.trivia.comment_ws
        write_atomic(path, tomlkit.dumps(document).encode())


def upgrade_adapters(adapters: Path) -> None:
    """Let lineages name their parents by digest, and `current` files the accepted versions.

    What answered in the chat until now, and what it was made from, counts as accepted.
    """
    catalog = Catalog(adapters)
    known = catalog.identities()
    for name in catalog.names():
        for entry in catalog.entries(name):
            _upgrade_lineage(entry, known)
    known = catalog.identities()
    for name in catalog.names():
        _upgrade_current(catalog, known, name)


def _upgrade_lineage(entry: Entry, known: Identities) -> None:
    fields = _raw(entry.file)
    parent, worse = str(fields.get("parent", BASE)), str(fields.pop("worse", ""))
    if parent != BASE and not fields.get("parent_digest"):
        # A version is always in the folder of its name, whatever an interrupted rename left in its lineage.
        old = f"{fields.get('adapter', '')}/"
        parent = f"{entry.adapter}/{parent.removeprefix(old)}" if parent.startswith(old) else parent
        above = known.at(parent)
        fields |= {"parent": parent, "parent_digest": above.identity if above else ""}
    if worse and not fields.get("gate"):
        fields["gate"] = msgspec.to_builtins(GateReport(passed=False, reasons=(worse,)))
    _rewrite(entry, fields)


def _upgrade_current(catalog: Catalog, known: Identities, name: str) -> None:
    file = catalog.adapters / name / CURRENT
    try:
        match = VERSION.fullmatch(file.read_text("utf-8").strip())
    except (OSError, UnicodeDecodeError):
        return
    if match is None:
        return
    now = known.at(f"{name}/{match[0]}")
    for entry in _line_of(known, now):
        fields = _raw(entry.file)
        _rewrite(entry, fields | {"accepted": fields.get("accepted") or fields.get("created") or 1.0})
    write_atomic(file, f"{now.identity if now and not now.removed else BASE}\n".encode())


def _line_of(known: Identities, entry: Entry | None) -> Iterator[Entry]:
    if entry is not None:
        yield entry
        yield from ancestors(known, entry)


def _raw(file: Path) -> dict[str, Any]:
    try:
        return msgspec.json.decode(file.read_bytes(), type=dict[str, Any])
    except (OSError, *UNREADABLE):
        return {}


def _rewrite(entry: Entry, fields: dict[str, Any]) -> None:
    """Write a lineage where it has changed; one that is damaged is left alone."""
    with contextlib.suppress(msgspec.ValidationError, AdapterDamaged):
        found = msgspec.convert(fields, lineage.Lineage)
        if found != msgspec.convert(_raw(entry.file), lineage.Lineage):
            write_atomic(entry.file, found.encoded())
