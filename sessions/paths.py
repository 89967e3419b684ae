"""Every path that the program writes. Folders are 0700 and files 0600, whatever the umask.

Knows nothing of what stands in the files.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from corpora.files import private_folder, whole
from sessions.errors import HostUnreachable, UsageError

__all__ = [
    "APP",
    "Paths",
    "cache_folder",
    "checked_name",
    "private_folder",
    "private_open",
    "write_all",
    "write_atomic",
]

APP = "llama-tui"
NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")


@dataclass(frozen=True, slots=True)
class Paths:
    """The data home and what lies in it, the cache, the config file and the runtime folder."""

    home: Path
    cache: Path
    config: Path
    runtime: Path

    @classmethod
    def find(cls, home: str | None = None) -> Paths:
        """From `--home`, else `$LLAMA_TUI_HOME`, else the platform's folders.

        With a home of one's own, `config.toml` lies in it, so that two homes never share settings.
        """
        chosen = home or os.environ.get("LLAMA_TUI_HOME")
        folder = Path(chosen).expanduser().absolute() if chosen else Path(platformdirs.user_data_dir(APP))
        config = folder if chosen else Path(platformdirs.user_config_dir(APP))
        return cls(folder, cache_folder(), config / "config.toml", _runtime())

    @property
    def corpus(self) -> Path:
        """The store."""
        return self.home / "corpus.db"

    @property
    def adapters(self) -> Path:
        """`NAME/vN/` folders."""
        return self.home / "adapters"

    @property
    def anchors(self) -> Path:
        """Cached replies of bases to general prompts, a folder for each base; the same for all data homes."""
        return self.cache / "anchors"

    @property
    def runs(self) -> Path:
        """`ID/` folders."""
        return self.home / "runs"

    @property
    def logs(self) -> Path:
        """Logs of the program's own processes."""
        return self.home / "logs"

    @property
    def backups(self) -> Path:
        """Copies of the store, made before a migration or on request."""
        return self.home / "backups"

    @property
    def exports(self) -> Path:
        """Where a relative export or a copied reply goes when no path is named."""
        return self.home / "exports"

    @property
    def history(self) -> Path:
        """Prompts typed before, for the line REPL and the prompt's arrow keys."""
        return self.home / "history"

    def run(self, run: str) -> Path:
        """The folder of one run; raises UsageError for a name that could lead elsewhere."""
        return self.runs / checked_name(run)

    def adapter(self, name: str, version: int) -> Path:
        """The folder of one version."""
        return self.adapters / checked_name(name) / f"v{version}"

    def socket(self, model: str) -> Path:
        """The host's socket for this home and model; short, as Unix sockets must be."""
        key = hashlib.sha256(f"{self.home.resolve()}\0{model}".encode()).hexdigest()[:16]
        return self.runtime / f"{key}.sock"


def cache_folder() -> Path:
    """The folder of what can be made or downloaded again; shared by all data homes."""
    return Path(os.environ.get("LLAMA_TUI_CACHE") or platformdirs.user_cache_dir(APP)).expanduser().absolute()


def checked_name(name: str) -> str:
    """The name, if it is letters, digits, `.`, `_`, `-` (at most 64) and no way out of a folder."""
    if not NAME.fullmatch(name) or name in (".", ".."):
        raise UsageError(
            f"{name!r:.80} cannot be a name.", remedy="Use up to 64 letters, digits, dots, underscores and dashes."
        )
    return name


def private_open(path: str, flags: int) -> int:
    """An `opener` for `open()` that makes files 0600 whatever the umask."""
    descriptor = os.open(path, flags, 0o600)
    if flags & os.O_CREAT:
        os.fchmod(descriptor, 0o600)
    return descriptor


def write_all(descriptor: int, content: bytes) -> None:
    """Write to the last byte. Raises OSError where a full disk takes only a part, which one call would not say."""
    written = os.write(descriptor, content)
    while written < len(content):
        written += os.write(descriptor, content[written:])


def write_atomic(path: Path, content: bytes) -> None:
    """Write a small file whole or not at all. Raises OSError; the old file then stands."""
    private_folder(path.parent)
    with whole(path) as file:
        file.write(content)


def _runtime() -> Path:
    given = os.environ.get("XDG_RUNTIME_DIR")
    folder = Path(given) / APP if given and os.access(given, os.W_OK) else _temporary_runtime()
    private_folder(folder)
    return folder


def _temporary_runtime() -> Path:
    folder = Path(tempfile.gettempdir()) / f"{APP}-{os.getuid()}"
    private_folder(folder)
    about = folder.lstat()
    if folder.is_symlink() or about.st_uid != os.getuid() or about.st_mode & 0o077:
        raise HostUnreachable(
            f"{folder} belongs to someone else or is open to others.",
            data="Nothing was started.",
            remedy="Remove it, or set XDG_RUNTIME_DIR to a folder of your own.",
        )
    return folder
