"""What kind of disk a folder lies on. Knows nothing of what is kept there."""

from __future__ import annotations

from pathlib import Path

import psutil

NETWORKED = ("nfs", "cifs", "smb", "lustre", "gpfs", "beegfs", "ceph", "9p", "afs", "fuse.", "virtiofs")
"""Beginnings of the names of file systems on which another machine may change or remove a file (`nfs4`, `smb3`)."""


def network_kind(path: Path) -> str:
    """The name of the network file system that a path lies on; empty for a disk of this machine."""
    place = path.resolve()
    mounts = [part for part in psutil.disk_partitions(all=True) if place.is_relative_to(part.mountpoint)]
    # Of several on one place the last hides the others: an automount's own lies below what it mounts.
    kind = max(reversed(mounts), key=lambda part: len(part.mountpoint)).fstype if mounts else ""
    return kind if kind.startswith(NETWORKED) else ""
