"""How this program is typed in a person's shell: by its name where that is on PATH, else by its whole path."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path

PROGRAM = "llama-tui"


def command(*arguments: str) -> str:
    """Return a command line that works where it is pasted, such as `llama-tui --model demo`."""
    return " ".join((typed(PROGRAM), *map(shlex.quote, arguments)))


def typed(name: str) -> str:
    """Return how the shell takes a program of this environment: its name if PATH leads to it, else its path."""
    own, found = installed(name), shutil.which(name)
    if not own.exists() or (found is not None and Path(found).resolve() == own.resolve()):
        return name
    return _quoted(own)


def installed(name: str = PROGRAM) -> Path:
    """Return the path of a program of this environment."""
    return Path(sys.executable).absolute().parent / name


def path_line() -> str:
    """Return the shell line that puts the program on PATH; empty where its name is enough."""
    folder = shlex.quote(str(installed().parent))
    return "" if typed(PROGRAM) == PROGRAM else f'export PATH={folder}:"$PATH"'


def _quoted(path: Path) -> str:
    """Return a path quoted for the shell, with `~` for the home directory."""
    home = Path.home()
    if path.is_relative_to(home) and home != Path("/"):
        return f"~/{shlex.quote(str(path.relative_to(home)))}"
    return shlex.quote(str(path))
