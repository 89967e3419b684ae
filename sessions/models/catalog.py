"""Models to choose from: size, license, access, whether they are on this disk and fit this machine. Torch-free."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import msgspec

from sessions.machine import gpus, memory
from sessions.models import hub
from sessions.models.locate import on_disk
from sessions.models.names import DEMO, LLAMA_2, NAMES, OPEN_CHAT, STARTER, hub_name

MB, GB = 10**6, 10**9
LLAMA_7B_CHAT, LLAMA_7B_TRAIN = 5 * GB, 9 * GB
"""Memory that Llama-2-7b takes in 4 bit: for chat with a full context; with a run beside it."""
SLOW = 2 * GB
"""A model that takes more than this for chat is slow without a GPU."""

Access: TypeAlias = Literal["included", "open", "gated", ""]
Fit: TypeAlias = Literal["yes", "chat only", "slow", "no"]


@dataclass(frozen=True, slots=True)
class Known:
    """A model of the catalog. Sizes in bytes: the download, memory for chat, memory with a run beside it."""

    name: str
    license: str
    access: Access
    size: int
    chat: int
    train: int


class Listed(msgspec.Struct, frozen=True):
    """One row of `models list`. `path` is empty for a model that is not on this disk, `memory` is for chat."""

    name: str
    hub: str
    license: str
    access: Access
    size: int
    memory: int
    fits: Fit
    path: str = ""
    short: str = ""


class Machine(msgspec.Struct, frozen=True):
    """What decides whether a model fits: bytes of the largest GPU's memory (0: none) and of main memory."""

    gpu: int
    main: int


_SIZES = {
    "7b": (13_500 * MB, LLAMA_7B_CHAT, LLAMA_7B_TRAIN),
    "13b": (26_000 * MB, 9 * GB, 16 * GB),
    "70b": (138_000 * MB, 40 * GB, 48 * GB),
}
CATALOG = (
    Known(STARTER, "Apache-2.0", "open", 93 * MB, GB, 2 * GB),
    Known(OPEN_CHAT, "Llama 2", "open", *_SIZES["7b"]),
    *(Known(name, "Llama 2", "gated", *_SIZES[short.removesuffix("-chat")]) for short, name in LLAMA_2.items()),
    Known(DEMO, "Apache-2.0", "included", 9 * MB, 700 * MB, GB),
)


def machine() -> Machine:
    """Return the memory of this machine."""
    found, _ = gpus()
    return Machine(max((gpu.memory for gpu in found), default=0), int(memory()[0]))


def listing(here: Machine) -> list[Listed]:
    """Return the catalog and the other models in the hub's cache, each with whether it fits the machine."""
    return [*(_listed(known, here) for known in CATALOG), *_others(here)]


def _listed(known: Known, here: Machine) -> Listed:
    place = on_disk(known.name)
    return Listed(
        name=known.name,
        hub="" if known.name == DEMO else hub_name(known.name),
        license=known.license,
        access=known.access,
        size=known.size,
        memory=known.chat,
        fits=fit(known, here),
        path="" if place is None else str(place),
        short=next((short for short, name in LLAMA_2.items() if name == known.name), ""),
    )


def _others(here: Machine) -> Iterator[Listed]:
    """Yield complete causal language models that other programs, or a name typed before, left in the hub's cache."""
    known = {each.name for each in CATALOG} | set(NAMES.values())
    for name in hub.cached_names():
        folder = None if name in known else hub.cached(name)
        if folder is not None and _is_causal(folder):
            size = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
            other = Known(name, "", "", size, size // 3 + GB, size // 2 + 3 * GB)
            yield msgspec.structs.replace(_listed(other, here), path=str(folder))


def _is_causal(folder: Path) -> bool:
    try:
        kinds = json.loads((folder / "config.json").read_bytes()).get("architectures") or []
        return (folder / "tokenizer.json").exists() and any("CausalLM" in str(kind) for kind in kinds)
    except (OSError, ValueError, AttributeError):
        return False


def fit(known: Known, here: Machine) -> Fit:
    """Return whether a model fits: on the GPU where there is one, else in main memory."""
    room = here.gpu or here.main
    if room < known.chat:
        return "no"
    if not here.gpu and known.chat > SLOW:
        return "slow"
    return "yes" if room >= known.train else "chat only"
