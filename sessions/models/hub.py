"""Models of the Hugging Face hub: which are on disk, how one is downloaded, and why one cannot be. Torch-free."""

from __future__ import annotations

import errno
import io
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeAlias

from sessions.command import command, typed
from sessions.errors import DiskFull, LlamaTuiError, ModelNotFound, ModelUnusable
from sessions.models.folder import has_weights
from sessions.models.names import open_alternatives

WANTED = ["*.json", "*.safetensors", "*.jinja", "LICENSE*", "USE_POLICY*"]
UNWANTED = ["original/*", "onnx/*", "*.gguf"]
ANSWER_TIMEOUT = 10.0
"""Timeout of the first request, in seconds."""
Progress: TypeAlias = Callable[[str, float | None], None]


def cached(model: str) -> Path | None:
    """Return the folder of a hub model that is complete on disk, or None; without the network."""
    if not _may_be_cached(model):
        return None
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        found = snapshot_download(
            model, local_files_only=True, cache_dir=cache(), allow_patterns=WANTED, ignore_patterns=UNWANTED
        )
        folder = Path(found)
        return folder if (folder / "config.json").exists() and has_weights(folder) else None
    except (LocalEntryNotFoundError, HFValidationError, ModelUnusable, OSError):
        return None


def cache() -> Path:
    """Return the hub's cache, shared with other programs."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def cached_names() -> list[str]:
    """Return the names of models that the hub's cache has a folder for, complete or not."""
    folders = cache().glob("models--*--*")
    return sorted(folder.name.removeprefix("models--").replace("--", "/", 1) for folder in folders)


def _may_be_cached(model: str) -> bool:
    """Return whether the hub's cache has a folder for the model; checked before the slow import of the client."""
    try:
        return (cache() / f"models--{model.replace('/', '--')}").is_dir()
    except (OSError, ValueError):
        return False


def download(name: str, progress: Progress) -> Path:
    """Download a hub model and return its folder. Raises ModelNotFound, ModelUnusable, DiskFull."""
    from huggingface_hub import errors as hub
    from huggingface_hub import snapshot_download

    try:
        _check_remote(name, progress)
        progress(f"Downloading {name}", None)
        bar = download_bar(name, progress)
        return Path(snapshot_download(name, allow_patterns=WANTED, ignore_patterns=UNWANTED, tqdm_class=bar))
    except hub.GatedRepoError as error:
        raise gated(name) from error
    except (hub.RepositoryNotFoundError, hub.HFValidationError) as error:
        raise ModelNotFound(
            f"The hub has no model {name!r:.120}, or it is private.",
            data="Nothing was downloaded.",
            remedy=f"Check its spelling (`{command('models', 'list')}` shows names); for a private model log in with "
            f"`{typed('hf')} auth login`. {open_alternatives(name)}",
        ) from error
    except LlamaTuiError:
        raise
    except Exception as error:
        raise _unreachable(name, error) from error


def download_bar(name: str, progress: Progress) -> Any:
    """Return a progress bar for the hub's client that calls `progress` and prints nothing."""
    from tqdm.auto import tqdm  # type: ignore[import-untyped]

    class Bar(tqdm):  # type: ignore[misc]
        """Counts bytes; the client's bar of files is not shown."""

        def __init__(self, *values: Any, **options: Any) -> None:
            options.pop("name", None)
            super().__init__(*values, **{**options, "file": io.StringIO(), "disable": False})

        def update(self, n: float | None = 1) -> Any:
            """Count, and report how far the download is."""
            shown = super().update(n)
            if self.unit == "B":
                progress(f"Downloading {name}", min(self.n / self.total, 1.0) if self.total else None)
            return shown

    return Bar


def _check_remote(name: str, progress: Progress) -> None:
    """Refuse, before the first byte, what needs access, has no safetensors or does not fit on the disk."""
    from huggingface_hub import get_token, model_info

    progress(f"Asking the hub for {name}", None)
    info = model_info(name, files_metadata=True, timeout=ANSWER_TIMEOUT)
    if info.gated and get_token() is None:
        raise gated(name)
    files = info.siblings or []
    weights = [file.size or 0 for file in files if _is_weight(file.rfilename)]
    if not weights:
        raise _no_safetensors(name, [file.rfilename for file in files])
    place = _existing(cache())
    free = shutil.disk_usage(place).free
    if sum(weights) > free:
        raise DiskFull(
            f"{name} takes {sum(weights) / 1e9:.1f} GB, and {place} has {free / 1e9:.1f} GB left.",
            data="Nothing was downloaded.",
            remedy="Free some disk space, or set HF_HOME to a folder on a larger disk.",
        )


def _is_weight(name: str) -> bool:
    return name.endswith(".safetensors") and "/" not in name


def _no_safetensors(name: str, files: list[str]) -> ModelUnusable:
    quantized = next((file for file in sorted(files) if file.lower().endswith(".gguf")), None)
    if quantized is None:
        remedy = "Choose a model, or a revision of it, that has them; pickled weights are not read."
    else:
        remedy = (
            f"It has GGUF files: `{typed('hf')} download {name} {quantized} --local-dir .`, then "
            f"`{command('--model', quantized)}`."
        )
    return ModelUnusable(f"{name} has no safetensors on the hub.", data="Nothing was downloaded.", remedy=remedy)


def _existing(path: Path) -> Path:
    parents: Iterable[Path] = (path, *path.parents)
    return next((parent for parent in parents if parent.exists()), Path("/"))


def gated(name: str) -> ModelNotFound:
    """Return the error for a gated model, with the steps to get access and the open alternatives."""
    return ModelNotFound(
        f"{name} is gated: its license has to be accepted on the hub, and this account has no access yet.",
        data="Nothing was downloaded.",
        remedy=f"{how_to_ask(name)} {open_alternatives(name)}",
    )


def how_to_ask(name: str) -> str:
    """Return the steps to get access to a gated model."""
    return (
        f"Ask for access at https://huggingface.co/{name} (approval takes hours to days), log in with "
        f"`{typed('hf')} auth login`, then `{command('models', 'get', name)}`."
    )


def _unreachable(name: str, error: Exception) -> LlamaTuiError:
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return DiskFull(
            f"The disk filled up while {name} was downloaded.",
            data="What was downloaded stays and is continued next time.",
            remedy="Free some disk space, or set HF_HOME to a folder on a larger disk.",
        )
    offline = os.environ.get("HF_HUB_OFFLINE", "") not in ("", "0")
    return ModelNotFound(
        f"{name} is not on this disk, and the hub cannot be reached{' (HF_HUB_OFFLINE is set)' if offline else ''}: "
        f"{(str(error).splitlines() or [''])[0]:.200}",
        data="Nothing was loaded; what was downloaded before stays.",
        remedy="Go online and try again, or copy the model's folder or GGUF file here and give its path. "
        f"{open_alternatives(name)}",
    )
