"""A data home for the real program; whatever it started is ended afterwards."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from sessions.paths import Paths
from tests.terminals import Terminal, program


@dataclass
class Home:
    """Where one test's program keeps everything, and how it is started."""

    folder: Path
    environment: dict[str, str]

    @property
    def paths(self) -> Paths:
        """The same paths that the program finds."""
        return Paths(
            self.folder / "home",
            self.folder / "cache",
            self.folder / "home" / "config.toml",
            self.folder / "run" / "llama-tui",
        )

    def open(self, *arguments: str, columns: int = 120, rows: int = 40) -> Terminal:
        """The program in a pty."""
        return Terminal([*program(), *arguments], self.environment, columns=columns, rows=rows)

    def processes(self) -> list[psutil.Process]:
        """Hosts and workers of this home."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get("LLAMA_TUI_HOME") == str(self.folder / "home"):
                    found.append(process)
        return found


@pytest.fixture
def home() -> Iterator[Home]:
    """A short path, as sockets need."""
    folder = Path(tempfile.mkdtemp(prefix="lt"))
    (folder / "run").mkdir(mode=0o700)
    (folder / "home").mkdir(mode=0o700)
    (folder / "home" / "config.toml").write_text("prepare_anchors = false\n")  # tests share few cores
    environment = {
        "LLAMA_TUI_HOME": str(folder / "home"),
        "LLAMA_TUI_CACHE": str(folder / "cache"),
        "HF_HOME": str(folder / "hf"),
        "XDG_RUNTIME_DIR": str(folder / "run"),
        "OMP_NUM_THREADS": str(min(2, os.cpu_count() or 1)),
        "LANG": "C.UTF-8",
    }
    here = Home(folder, environment)
    yield here
    for process in here.processes():
        with contextlib.suppress(psutil.Error):
            process.send_signal(signal.SIGKILL)
    shutil.rmtree(folder, ignore_errors=True)
