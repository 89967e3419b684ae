"""Data homes of older programs: settings that were renamed, addresses that become identities."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sessions import upgrading
from sessions.paths import Paths
from sessions.registry import Registry
from sessions.settings import load
from sessions.workspace import Workspace
from tests.sessions.test_registry import publish


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            '# a\nnew_version = "use"  # yes\n\n[sampling]\ntop_k = 3\n',
            '# a\nauto_use = "passed"  # yes\n\n[sampling]\ntop_k = 3\n',
        ),
        ("theme = 'x'\nnew_version='offer'\n", "theme = 'x'\nauto_use=\"never\"\n"),
        ('auto_use = "passed"\nnew_version = "offer"\n', 'auto_use = "passed"\n'),
        ('new_version = "nonsense"\n', 'new_version = "nonsense"\n'),
        ("# new_version = 'use'\n", "# new_version = 'use'\n"),
        ("x = [", "x = ["),
    ],
)
def test_the_old_key_becomes_the_new_one(paths: Paths, before: str, after: str) -> None:
    paths.config.parent.mkdir(parents=True)
    paths.config.write_text(before)
    for _ in range(2):
        upgrading.upgrade(paths)
        assert paths.config.read_text() == after


def test_opening_a_home_upgrades_its_settings(paths: Paths) -> None:
    paths.config.parent.mkdir(parents=True)
    paths.config.write_text('new_version = "use"\n')
    assert Workspace.open().settings.auto_use == "passed" == load(paths.config).auto_use


def downgrade(paths: Paths, current: str) -> None:
    """Write what older programs wrote: no digests of parents, `current` as a number, `worse` as a sentence."""
    for file in paths.adapters.glob("*/v*/lineage.json"):
        told = json.loads(file.read_text())
        told |= {"worse": "Its loss is higher."} if told["version"] == 3 else {}
        for key in ("parent_digest", "checksum", "accepted", "gate"):
            told.pop(key)
        file.write_text(json.dumps(told))
    for file in paths.adapters.glob("*/offered"):
        file.unlink()
    (paths.adapters / "mine" / "current").write_text(current)
    (paths.adapters / upgrading.MARK).unlink(missing_ok=True)


@pytest.fixture
def old(paths: Paths) -> Registry:
    """Three versions of one line, and one of another name that continues it."""
    registry = Registry(paths)
    for parent in ("base", "mine/v1", "mine/v2"):
        publish(registry, parent=parent)
    publish(registry, "other", parent="mine/v1")
    return registry


def test_versions_refer_to_each_other_by_identity(paths: Paths, old: Registry) -> None:
    downgrade(paths, "v2\n")
    upgrading.upgrade(paths)
    registry = Registry(paths)
    assert registry.current("mine") == "mine/v2" and registry.current("other") == "base"
    assert [lineage.parent for lineage in registry.all()] == ["base", "mine/v1", "mine/v2", "mine/v1"]
    registry.rename("mine", "ours")
    publish(registry)
    assert registry.lineage("other/v1").parent == "ours/v1" and registry.current("ours") == "ours/v2"
    failed = registry.lineage("ours/v3")
    assert failed.checked == "failed" and failed.gate.reasons == ("Its loss is higher.",)
    # What answered until now, and what it was made from, counts as accepted.
    assert registry.rollback("ours") == "ours/v1"


@pytest.mark.parametrize("current", ["v9", "base", ""])
def test_what_did_not_answer_is_not_accepted(paths: Paths, old: Registry, current: str) -> None:
    downgrade(paths, current)
    upgrading.upgrade(paths)
    assert Registry(paths).current("mine") == "base"
    assert not any(lineage.accepted for lineage in Registry(paths).all())


def test_an_interrupted_upgrade_is_completed(paths: Paths, old: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    real, written = upgrading.write_atomic, 0

    def killed(path: Path, content: bytes) -> None:
        nonlocal written
        written += 1
        if written > moment:
            raise KeyboardInterrupt
        real(path, content)

    monkeypatch.setattr(upgrading, "write_atomic", killed)
    for moment in range(12):
        done = True
        downgrade(paths, "v2\n")
        written = 0
        try:
            upgrading.upgrade(paths)
        except KeyboardInterrupt:
            done, written = False, -100
            upgrading.upgrade(paths)
        assert not done or moment > 3
        registry = Registry(paths)
        assert registry.current("mine") == "mine/v2"
        assert [lineage.parent for lineage in registry.all()] == ["base", "mine/v1", "mine/v2", "mine/v1"]


def test_an_upgraded_home_is_not_looked_at_again(paths: Paths, old: Registry) -> None:
    upgrading.upgrade(paths)
    (paths.adapters / "mine" / "current").write_text("v2\n")
    upgrading.upgrade(paths)
    assert Registry(paths).current("mine") == "base"


def test_a_damaged_lineage_stays_as_it_is(paths: Paths, old: Registry) -> None:
    downgrade(paths, "v2\n")
    (paths.adapter("mine", 1) / "lineage.json").write_bytes(b"{")
    upgrading.upgrade(paths)
    assert (paths.adapter("mine", 1) / "lineage.json").read_bytes() == b"{"
    assert Registry(paths).current("mine") == "mine/v2"
    assert Registry(paths).lineage("mine/v2").parent == "mine/v1 (removed)"
