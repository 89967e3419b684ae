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
