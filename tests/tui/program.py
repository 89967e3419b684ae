"""`python -m tests.tui.program FOLDER`: the app in a terminal, on a host that a test serves."""

from __future__ import annotations

import sys
from pathlib import Path

from sessions.settings import Settings
from sessions.workspace import Workspace
from tests.hosts import MODEL
from tests.tui.driving import paths_in
from tui.app import run

if __name__ == "__main__":
    workspace = Workspace(paths_in(Path(sys.argv[1])), Settings())
    try:
        sys.exit(run(workspace, MODEL))
    finally:
        workspace.close()
