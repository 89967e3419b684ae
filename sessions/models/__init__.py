"""Which model is meant: `demo`, a folder, a short name or a hub name; where its files are. Torch-free.

Downloads a hub model when it is not on disk yet. Knows nothing of how a model is loaded.
"""

from __future__ import annotations

import errno
import io
import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sessions.errors import DiskFull, LlamaTuiError, ModelNotFound, ModelUnusable
from sessions.models.gguf_file import is_gguf
from sessions.models.gguf_folder import gguf_folder
from sessions.models.starter import download_starter, starter_file
from sessions.settings import Settings

DEMO, STARTER = "demo", "smollm2"
LLAMA_2_CHAT = "meta-llama/Llama-2-7b-chat-hf"
NAMES = {
    f"{size}{kind}": f"meta-llama/Llama-2-{size}{kind}-hf" for size in ("7b", "13b", "70b") for kind in ("", "-chat")
}
WANTED = ["*.json", "*.safetensors", "*.jinja", "LICENSE*", "USE_POLICY*"]
UNWANTED = ["original/*", "onnx/*", "*.gguf"]
Progress = Callable[[str, float | None], None]


@dataclass(frozen=True, slots=True)
class Source:
    """A model on disk: the name it was asked for by, its folder, and the GGUF file of its weights, if it has one."""

    name: str
    folder: Path
    weights: Path | None = None


def default_model(settings: Settings) -> str:
    """The configured model; else Llama-2-7b-chat where an NVIDIA GPU and its files are at hand; else `demo`."""
    if settings.model:
        return settings.model
    return LLAMA_2_CHAT if has_nvidia() and cached(LLAMA_2_CHAT) is not None else DEMO


def absolute(model: str) -> str:
    """The absolute path of a folder or GGUF file, so that the host finds it wherever it runs; other names unchanged."""
    found = None if model.lower() in (DEMO, STARTER, *NAMES) else _on_disk(model)
    return model if found is None else str(found.absolute())


def has_nvidia() -> bool:
    """Whether the driver knows a GPU; asked without torch."""
    import pynvml

    try:
        pynvml.nvmlInit()
        return int(pynvml.nvmlDeviceGetCount()) > 0
    except pynvml.NVMLError:
        return False


def hub_name(model: str) -> str:
    """The hub's name for a short one such as `7b-chat`; any other name as it is."""
    return NAMES.get(model.lower(), model)


def cached(model: str) -> Path | None:
    """The folder of a hub model that is whole on disk, or None; asks no network."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        found = snapshot_download(model, local_files_only=True, allow_patterns=WANTED, ignore_patterns=UNWANTED)
    except (LocalEntryNotFoundError, HFValidationError, OSError):
        return None
    folder = Path(found)
    return folder if (folder / "config.json").exists() and has_weights(folder) else None


def has_weights(folder: Path) -> bool:
    """Whether all the safetensors that a folder's index names are there (any at all, without an index)."""
    index = folder / "model.safetensors.index.json"
    if not index.exists():
        return any(folder.glob("*.safetensors"))
    import msgspec

    names = set(msgspec.json.decode(index.read_bytes(), type=dict[str, Any])["weight_map"].values())
    return all((folder / name).exists() for name in names)


def resolve(model: str, progress: Progress) -> Source:
    """The model's folder, downloaded where it is a hub name and not here yet.

    Raises ModelNotFound, ModelUnusable, DiskFull.
    """
    if model == DEMO:
        return Source(DEMO, _demo())
    if model.lower() == STARTER:
        return _gguf(STARTER, starter_file() or download_starter(progress))
    found = _on_disk(model)
    if found is not None:
        return _gguf(model, found.resolve()) if found.is_file() else Source(model, _checked(found.resolve()))
    if model.startswith((".", "/", "~")) or model.count("/") > 1:
        raise ModelNotFound(
            f"There is no folder {model!r:.200}.",
            data="Nothing was loaded.",
            remedy="Check the path given as the model.",
        )
    name = hub_name(model)
    if "/" not in name:
        raise ModelNotFound(
            f"No model is called {model!r:.80}.",
            data="Nothing was loaded.",
            remedy=f"Give `demo`, a folder, a hub name (owner/name), or one of {', '.join(NAMES)}.",
        )
    return Source(model, _checked(cached(name) or _download(name, progress)))


def _gguf(name: str, file: Path) -> Source:
    return Source(name, gguf_folder(file), file)


def _on_disk(model: str) -> Path | None:
    """The folder or GGUF file at that path, or None; no text that a person types raises an error."""
    try:
        path = Path(model).expanduser()
        return path if model and (path.is_dir() or (is_gguf(path) and path.is_file())) else None
    except (OSError, ValueError, RuntimeError):
        return None


def _demo() -> Path:
    try:
        from sessions.demo import MODEL_DIR
    except ImportError as error:
        raise ModelNotFound(
            "This copy of llama-tui has no demo model.", remedy="Install it again, or give --model."
        ) from error
    return _checked(Path(MODEL_DIR))


def _checked(folder: Path) -> Path:
    """The folder, if it holds what a model needs. Raises ModelUnusable that says what is missing."""
    if not (folder / "config.json").exists():
        raise ModelUnusable(f"{folder} holds no config.json.", remedy="Give the folder of a Hugging Face model.")
    if not any(folder.glob("*.safetensors")):
        raise ModelUnusable(f"{folder} holds no safetensors.", remedy=_bin_remedy(folder))
    if not has_weights(folder):
        raise ModelUnusable(
            f"{folder} is not whole: its index names weights that are not there.", remedy="Download it again."
        )
    if not (folder / "tokenizer.json").exists():
        raise ModelUnusable(
            f"{folder} holds no tokenizer.json.",
            remedy="Take tokenizer.json from the model's page on the hub and put it into that folder.",
        )
    return folder


def _bin_remedy(folder: Path) -> str:
    if any(folder.glob("*.bin")) or any(folder.glob("*.pth")):
        return (
            "Its weights are pickles, which can run code and are not read. Take the model's safetensors version, "
            "or convert it with https://huggingface.co/spaces/safetensors/convert."
        )
    return "Give a folder with *.safetensors."


def _download(name: str, progress: Progress) -> Path:
    from huggingface_hub import errors as hub
    from huggingface_hub import snapshot_download

    try:
        _check_remote(name, progress)
        progress(f"Downloading {name}", None)
        bar = _bar(name, progress)
        return Path(snapshot_download(name, allow_patterns=WANTED, ignore_patterns=UNWANTED, tqdm_class=bar))
    except hub.GatedRepoError as error:
        raise _gated(name) from error
    except (hub.RepositoryNotFoundError, hub.HFValidationError) as error:
        raise ModelNotFound(
            f"The hub has no model {name!r:.120}, or it is private.",
            data="Nothing was loaded.",
            remedy="Check its spelling; for a private model log in with `hf auth login`.",
        ) from error
    except LlamaTuiError:
        raise
    except Exception as error:
        raise _unreachable(name, error) from error


def _bar(name: str, progress: Progress) -> Any:
    """A progress bar for the hub's client that tells `progress` and prints nothing."""
    from tqdm.auto import tqdm  # type: ignore[import-untyped]

    class Bar(tqdm):  # type: ignore[misc]
        """Counts bytes; the client's bar of files is not told."""

        def __init__(self, *values: Any, **options: Any) -> None:
            options.pop("name", None)
            super().__init__(*values, **{**options, "file": io.StringIO(), "disable": False})

        def update(self, n: float | None = 1) -> Any:
            """Count, and tell how far the download is."""
            told = super().update(n)
            if self.unit == "B":
                progress(f"Downloading {name}", min(self.n / self.total, 1.0) if self.total else None)
            return told

    return Bar


def _check_remote(name: str, progress: Progress) -> None:
    """Refuse, before the first byte, what has no safetensors or does not fit the disk."""
    from huggingface_hub import constants, model_info

    progress(f"Asking the hub for {name}", None)
    files = model_info(name, files_metadata=True).siblings or []
    weights = [file.size or 0 for file in files if _is_weight(file.rfilename)]
    if not weights:
        raise ModelUnusable(
            f"{name} has no safetensors on the hub.",
            data="Nothing was downloaded.",
            remedy="Choose a model, or a revision of it, that has them; pickled weights are not read.",
        )
    home = _existing(Path(constants.HF_HUB_CACHE))
    free = shutil.disk_usage(home).free
    if sum(weights) > free:
        raise DiskFull(
            f"{name} takes {sum(weights) / 1e9:.1f} GB, and {home} has {free / 1e9:.1f} GB left.",
            data="Nothing was downloaded.",
            remedy="Make room, or set HF_HOME to a folder on a larger disk.",
        )


def _is_weight(name: str) -> bool:
    return name.endswith(".safetensors") and "/" not in name


def _existing(path: Path) -> Path:
    parents: Iterable[Path] = (path, *path.parents)
    return next((parent for parent in parents if parent.exists()), Path("/"))


def _gated(name: str) -> ModelNotFound:
    return ModelNotFound(
        f"{name} asks for its licence to be accepted, and this account has no access yet.",
        data="Nothing was loaded.",
        remedy=f"Ask for access at https://huggingface.co/{name}, then log in with `hf auth login`. "
        "Until then `--model demo` works.",
    )


def _unreachable(name: str, error: Exception) -> LlamaTuiError:
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return DiskFull(
            f"The disk filled up while {name} was downloaded.",
            data="What was fetched stays and is continued next time.",
            remedy="Make room, or set HF_HOME to a folder on a larger disk.",
        )
    offline = os.environ.get("HF_HUB_OFFLINE", "") not in ("", "0")
    return ModelNotFound(
        f"{name} is not on this disk, and the hub cannot be reached{' (HF_HUB_OFFLINE is set)' if offline else ''}: "
        f"{(str(error).splitlines() or [''])[0]:.200}",
        data="Nothing was loaded; what was fetched before stays.",
        remedy="Go online and try again, copy the model's folder here and give its path, or use `--model demo`.",
    )
