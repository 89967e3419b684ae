"""Which disks are another machine's too."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from sessions.disks import network_kind


@pytest.mark.parametrize(("kind", "told"), [("nfs4", "nfs4"), ("nfs", "nfs"), ("smb3", "smb3"), ("ext4", ""), ("", "")])
def test_the_nearest_mount_decides(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str, told: str) -> None:
    mounts = [SimpleNamespace(mountpoint="/", fstype="overlay"), SimpleNamespace(mountpoint=str(tmp_path), fstype=kind)]
    monkeypatch.setattr(psutil, "disk_partitions", lambda all: mounts)
    assert network_kind(tmp_path / "deep" / "home") == told
    assert network_kind(Path("/")) == ""


def test_of_two_mounts_on_one_place_the_last_is_seen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def mounted(*kinds: str) -> list[SimpleNamespace]:
        return [SimpleNamespace(mountpoint=str(tmp_path), fstype=kind) for kind in kinds]

    monkeypatch.setattr(psutil, "disk_partitions", lambda all: mounted("autofs", "nfs4"))
    assert network_kind(tmp_path) == "nfs4"
    monkeypatch.setattr(psutil, "disk_partitions", lambda all: mounted("nfs4", "tmpfs"))
    assert network_kind(tmp_path) == ""
