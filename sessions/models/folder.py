"""A model's folder: whether it has what is needed to load it. Torch-free."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import msgspec

from sessions.errors import UNREADABLE, DiskFull, LlamaTuiError, ModelUnusable


def has_weights(folder: Path) -> bool:
    """Return whether all the safetensors that a folder's index names are there (any at all, without an index)."""
    index = folder / "model.safetensors.index.json"
    if not index.exists():
        return any(folder.glob("*.safetensors"))
    try:
        names = set(msgspec.json.decode(index.read_bytes(), type=dict[str, Any])["weight_map"].values())
    except (*UNREADABLE, KeyError, AttributeError) as error:
        raise ModelUnusable(f"{index} is damaged: {error!s:.200}", remedy="Download the model again.") from error
    return all((folder / str(name)).exists() for name in names)


def checked(folder: Path) -> Path:
    """Return the folder if it is complete. Raises ModelUnusable that names what is missing."""
    if not (folder / "config.json").exists():
        raise ModelUnusable(f"{folder} has no config.json.", remedy=_not_a_model(folder))
    if not any(folder.glob("*.safetensors")):
        raise ModelUnusable(f"{folder} has no safetensors.", remedy=_other_weights(folder))
    if not has_weights(folder):
        raise ModelUnusable(
            f"{folder} is not complete: its index names weights that are not there.", remedy="Download it again."
        )
    if not (folder / "tokenizer.json").exists():
        raise ModelUnusable(
            f"{folder} has no tokenizer.json.",
            remedy="Take tokenizer.json from the model's page on the hub and put it into that folder.",
        )
    return folder


def _not_a_model(folder: Path) -> str:
    files = sorted(folder.glob("*.gguf"))
    if files:
        return f"It has GGUF files: give the path of one, such as {files[0]}."
    return "Give the folder of a Hugging Face model, or a GGUF file."


def _other_weights(folder: Path) -> str:
    if any(folder.glob("*.bin")) or any(folder.glob("*.pth")):
        return (
            "Its weights are pickles, which can run code and are not read. Take the model's safetensors version, "
            "or convert it with https://huggingface.co/spaces/safetensors/convert."
        )
    return _not_a_model(folder) if any(folder.glob("*.gguf")) else "Give a folder with *.safetensors."


def cannot_write(what: str, folder: Path, error: OSError) -> LlamaTuiError:
    """Return the error for a cache that cannot be written."""
    kind = DiskFull if error.errno in (errno.ENOSPC, errno.EDQUOT) else ModelUnusable
    return kind(
        f"{what} cannot be written to {folder}: {error.strerror or error}.",
        data="Nothing was loaded.",
        remedy="Free some disk space there, or set LLAMA_TUI_CACHE to another folder.",
    )
