"""Files with bytes that are no text, or nested without end: each is reported by itself and brings nothing down."""

from __future__ import annotations

from pathlib import Path

import pytest

from sessions.engine import arena
from sessions.errors import ModelUnusable
from sessions.lineage import FILE as LINEAGE
from sessions.paths import Paths, private_folder
from sessions.registry import Registry
from sessions.training import events, runs
from tests.sessions.test_registry import fill, publish
from tests.tui.worlds import run_folder
from tui.prompts import Draft, load_draft

FIELDS = ("name", "adapter", "peft_type", "type", "prompt", "chat_template")
NO_TEXT = b"{" + b", ".join(f'"{field}": "'.encode() + b'\xff\xfe"' for field in FIELDS) + b"}"
WITHOUT_END = b'{"odd": ' + b"[" * 100_000
BAD = pytest.mark.parametrize("bad", [NO_TEXT, WITHOUT_END], ids=["no text", "without end"])


@BAD
@pytest.mark.parametrize("file", [LINEAGE, "adapter_config.json"])
def test_one_bad_version_hides_no_other(paths: Paths, bad: bytes, file: str) -> None:
    registry = Registry(paths)
    publish(registry), publish(registry)
    (paths.adapter("mine", 1) / file).write_bytes(bad)
    assert [found.address for found in registry.all()] == ["mine/v2"]
    assert len(registry.damaged("mine")) == 1


@BAD
def test_a_bad_lineage_stops_no_import(paths: Paths, bad: bytes, tmp_path: Path) -> None:
    folder = fill(tmp_path / "given")
    (folder / LINEAGE).write_bytes(bad)
    assert Registry(paths).import_folder(folder, "mine") == "mine/v1"


@BAD
def test_one_bad_line_hides_no_run(paths: Paths, bad: bytes) -> None:
    folder = run_folder(paths, "one")
    with (folder / events.FILE).open("ab") as file:
        file.write(b'{"type": "Stage", "name": "\xff", ' + bad[1:] + b"\n")
    events.append(folder, events.RunCancelled())
    (state,) = runs.states(paths)
    assert state.phase == "cancelled" and len(state.warnings) == 1


@BAD
def test_a_bad_manifest_is_a_damaged_cache(tmp_path: Path, bad: bytes) -> None:
    (tmp_path / arena.MANIFEST).write_bytes(bad)
    with pytest.raises(ModelUnusable, match="cannot be read"):
        arena.read_manifest(tmp_path / arena.MANIFEST)


@BAD
def test_a_bad_draft_is_none(paths: Paths, bad: bytes) -> None:
    (private_folder(paths.home) / "draft.json").write_bytes(bad)
    assert load_draft(paths) == Draft()
