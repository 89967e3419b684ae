"""An adapter is whole or absent: kill −9 and a full disk at any moment of publishing.

`LLAMA_TUI_KILLS` sets how many kills (500 for the whole promise).
"""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sessions import adapter_folder
from sessions.paths import Paths
from sessions.registry import Lineage, Registry
from tests.sessions.test_registry import fill

KILLS = int(os.environ.get("LLAMA_TUI_KILLS", "25"))
PUBLISHER = """
import sys
from pathlib import Path
from sessions.paths import Paths
from sessions.registry import Lineage, Registry
from tests.sessions.test_registry import fill
home = Path(sys.argv[1])
registry = Registry(Paths(home, home, home / "config.toml", home))
while True:
    staged = fill(registry.stage("mine"), rank=512)
    address = registry.publish(staged, Lineage(adapter="mine", version=0, parent="base", base_model="m", seen=("a",)))
    print(address, flush=True)
"""


def paths_of(home: Path) -> Paths:
    return Paths(home, home, home / "config.toml", home)


def check_whole(registry: Registry, said: list[str]) -> None:
    """Everything that was acknowledged is there, and everything that is there is whole."""
    assert registry.damaged("mine") == []
    there = {lineage.address for lineage in registry.versions("mine")}
    assert set(said) <= there
    for address in there:
        registry.verified(address)
    assert registry.current("mine") in {"base", *there}


def test_killed_at_any_moment(tmp_path: Path) -> None:
    registry = Registry(paths_of(tmp_path))
    root = Path(__file__).resolve().parents[2]
    chance = random.Random(7)
    for _ in range(KILLS):
        publisher = subprocess.Popen(
            [sys.executable, "-c", PUBLISHER, str(tmp_path)], cwd=root, stdout=subprocess.PIPE, text=True
        )
        assert publisher.stdout is not None
        first = publisher.stdout.readline()
        time.sleep(chance.random() * 0.02)
        publisher.send_signal(signal.SIGKILL)
        rest = publisher.communicate()[0].splitlines()
        check_whole(registry, [first.strip(), *rest])
        registry.remove("mine")
    assert registry.publish(fill(registry.stage("mine")), lineage()).startswith("mine/v")


def lineage() -> Lineage:
    return Lineage(adapter="mine", version=0, parent="base", base_model="m")


@pytest.mark.parametrize("moment", range(8))
def test_a_full_disk_at_every_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: int) -> None:
    """The n-th call that could find the disk full does; what was there stays, and nothing half-made is listed."""
    registry = Registry(paths_of(tmp_path))
    assert registry.publish(fill(registry.stage("mine")), lineage()) == "mine/v1"
    staged = fill(registry.stage("mine"), value=2.0)
    left = moment
    real = os.fsync

    def full(descriptor: int) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        try:
            registry.publish(staged, lineage())
            failed = False
        except OSError as error:
            assert error.errno == errno.ENOSPC
            failed = True
    there = [found.address for found in registry.versions("mine")]
    assert there in (["mine/v1"], ["mine/v1", "mine/v2"]) and (failed or len(there) == 2)
    check_whole(registry, there)
    adapter_folder.check(registry.folder("mine/v1"))
