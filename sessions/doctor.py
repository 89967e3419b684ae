"""What this machine can do, found without torch: GPU, memory, disk, versions, model, data; and what to do.

Changes nothing and downloads nothing. Knows nothing of screens.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal, TypeAlias

from corpora.dialog import Status
from corpora.store import Store
from sessions import models
from sessions.command import command, installed, path_line
from sessions.disks import network_kind
from sessions.errors import LlamaTuiError
from sessions.machine import Gpu, gpus, memory
from sessions.models.catalog import LLAMA_7B_CHAT, LLAMA_7B_TRAIN
from sessions.models.hub import how_to_ask
from sessions.models.names import is_gated, open_alternatives
from sessions.paths import APP, Paths
from sessions.registry import Registry
from sessions.settings import Settings
from sessions.version import VERSION

GB = 1e9
ROOM = 2 * GB
"""Bytes free below which a disk or the memory is worth a word."""
SOCKET_LIMIT = 107
"""Bytes of a Unix socket's path that Linux takes."""

Judgement: TypeAlias = Literal["good", "note", "bad"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One fact. `note`: works, with less than could be; `bad`: something will fail. `remedy` says what to do."""

    name: str
    judgement: Judgement
    says: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Subject:
    """What is looked at: a data home, its settings, and the model that would be opened."""

    paths: Paths
    settings: Settings
    model: str


def examine(paths: Paths, settings: Settings, model: str) -> list[Finding]:
    """Every finding, in a fixed order; a check that fails itself is a finding too."""
    subject = Subject(paths, settings, model)
    return [finding for check in CHECKS for finding in _safely(check, subject)]


def _safely(check: Callable[[Subject], Iterable[Finding]], subject: Subject) -> list[Finding]:
    name = check.__name__.strip("_")
    try:
        return list(check(subject))
    except LlamaTuiError as error:
        return [Finding(name, "bad", " ".join(filter(None, (error.what, error.data))), error.remedy)]
    except OSError as error:
        return [Finding(name, "bad", f"cannot be looked at: {error}")]


# the machine


def _command(_: Subject) -> Iterator[Finding]:
    if line := path_line():
        yield Finding(
            "command",
            "note",
            f"{installed()} is not on PATH",
            f"{line}  (in this shell, or in ~/.bashrc)",
        )
    else:
        yield Finding("command", "good", f"`{command()}` is on PATH ({installed()})")


def _program(_: Subject) -> Iterator[Finding]:
    yield Finding("program", "good", f"llama-tui {VERSION}, Python {platform.python_version()} ({sys.executable})")


def _libraries(_: Subject) -> Iterator[Finding]:
    yield from judge_libraries(metadata.requires(APP) or [], _installed)


def judge_libraries(wanted: Iterable[str], installed: Callable[[str], str | None]) -> Iterator[Finding]:
    """Requirements such as `torch>=2.8` against what is there (a version, or None)."""
    there = []
    for requirement in wanted:
        match = re.match(r"([A-Za-z0-9_.-]+)\s*(?:>=\s*([0-9.]+))?", requirement)
        if match is None or "extra ==" in requirement:
            continue
        name, least = match[1], match[2] or "0"
        found = installed(name)
        if found is None:
            yield Finding("library", "bad", f"{name} is missing", f"pip install '{name}>={least}'")
        elif _numbers(found) < _numbers(least):
            yield Finding(
                "library", "bad", f"{name} {found} is older than {least}", f"pip install -U '{name}>={least}'"
            )
        else:
            there.append(f"{name} {found}")
    yield Finding("libraries", "good", ", ".join(there))


def _gpu(_: Subject) -> Iterator[Finding]:
    found, reason = gpus()
    yield from judge_gpus(found, reason, _installed("torch") or "")


def judge_gpus(found: list[Gpu], reason: str, torch_version: str) -> Iterator[Finding]:
    """What the GPUs are good for, and whether torch was built for them."""
    if not found:
        yield Finding(
            "GPU",
            "note",
            f"no NVIDIA GPU ({reason}): models run on the CPU",
            "The starter model and small Llamas are fine; Llama-2-7b wants an NVIDIA GPU with 6 GB or more.",
        )
    for gpu in found:
        major, minor = gpu.capability
        says = f"{gpu.name}, {_gb(gpu.memory)}, {_gb(gpu.free)} free, compute {major}.{minor}"
        yield Finding("GPU", *_gpu_judgement(gpu, says))
    if found and "+cpu" in torch_version:
        yield Finding(
            "torch",
            "bad",
            f"torch {torch_version} was built for the CPU: the GPU stays idle",
            "pip install --force-reinstall torch  (a build for CUDA; see https://pytorch.org)",
        )


def _gpu_judgement(gpu: Gpu, says: str) -> tuple[Judgement, str, str]:
    if gpu.memory < LLAMA_7B_CHAT:
        return "note", says, "Too small for Llama-2-7b in 4 bit; smaller models fit."
    if gpu.memory < LLAMA_7B_TRAIN:
        return "note", says, "Enough for chat with Llama-2-7b; for a run beside it lower max_length in the recipe."
    if gpu.free < LLAMA_7B_CHAT:
        return "note", says, "Other programs hold most of its memory; `nvidia-smi` shows which."
    return "good", says, ""


def _memory(_: Subject) -> Iterator[Finding]:
    total, free = memory()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    says = f"{_gb(total)}, {_gb(free)} available; {cores} CPU cores"
    if free < ROOM:
        yield Finding("memory", "note", says, "Close other programs before a run; the demo model needs about 1 GB.")
    else:
        yield Finding("memory", "good", says)


def _disk(subject: Subject) -> Iterator[Finding]:
    for name, path in (("data home", subject.paths.home), ("cache", subject.paths.cache)):
        place = _existing(path)
        free = shutil.disk_usage(place).free
        kind = network_kind(place)
        says = f"{path}: {_gb(free)} free" + (f", on {kind}" if kind else "")
        if not os.access(place, os.W_OK):
            yield Finding(name, "bad", f"{path} cannot be written", "Give another folder with --home.")
        elif free < ROOM:
            yield Finding(
                name, "note", says, "Make room: a run writes checkpoints, and a 7B model takes 4 GB of cache."
            )
        else:
            yield Finding(name, "good", says)


# the model


def _model(subject: Subject) -> Iterator[Finding]:
    where = models.on_disk(subject.model)
    if subject.model == models.DEMO:
        says = "the demo model: 4.5 M parameters, shows how the program works and knows little else"
        yield Finding("model", "note", says, _better_models())
    elif where is None:
        models.refuse_unknown(subject.model)
        yield Finding("model", "note", f"{subject.model} is not on this disk", _how_to_get(subject.model))
    elif subject.model == models.STARTER:
        says = f"the starter model, SmolLM2-135M-Instruct, in {where}"
        yield Finding("model", "good", says, f"`{command('models', 'list')}` shows larger ones.")
    else:
        yield Finding("model", "good", f"{subject.model} in {where}")


def _how_to_get(model: str) -> str:
    name = models.hub_name(model)
    get = f"`{command('models', 'get', model)}` downloads it, and so does the first chat."
    return f"{how_to_ask(name) if is_gated(name) else get} {open_alternatives(model)}"


def _better_models() -> str:
    """Return the command for a better model than the demo: one on this disk, else one to download."""
    here = [name for name in (models.LLAMA_2_CHAT, models.OPEN_CHAT, models.STARTER) if models.on_disk(name)]
    if here:
        return f"`{command('--model', here[0])}` opens {here[0]}, which is on this disk."
    return (
        f"`{command('models', 'get', models.STARTER)}` downloads the starter model, a real one (93 MB); "
        f"`{command('models', 'list')}` shows all."
    )


def _checkpoints(subject: Subject) -> Iterator[Finding]:
    folder = subject.paths.cache / "models"
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    size = sum(path.stat().st_size for path in files)
    yield Finding("checkpoints", "good", f"{_gb(size)} of quantized models in {folder}")


def _sharing(_: Subject) -> Iterator[Finding]:
    found, _reason = gpus()
    if found and "+cpu" not in (_installed("torch") or ""):
        how = "CUDA IPC; where the driver refuses it, a run loads the cached checkpoint itself"
    else:
        how = "one file that both map; the base is in memory once"
    yield Finding("sharing", "good", f"chat and training share the base by {how}")


# the data


def _settings(subject: Subject) -> Iterator[Finding]:
    there = subject.paths.config.exists()
    yield Finding("settings", "good", f"{subject.paths.config}" if there else "the defaults (no config.toml)")


def _corpus(subject: Subject) -> Iterator[Finding]:
    if not subject.paths.corpus.exists():
        yield Finding("corpus", "good", "empty: the first chat makes it")
        return
    store = Store(subject.paths.corpus)
    try:
        stats = store.stats()
        kept = stats.by_status.get(Status.KEPT, 0)
        says = f"{stats.exchanges} exchanges, {kept} kept, {_gb(subject.paths.corpus.stat().st_size)}"
        remedy = "A newer version wrote it: update llama-tui to write to it." if store.read_only else ""
        yield Finding("corpus", "note" if store.read_only else "good", says, remedy)
    finally:
        store.close()


def _adapters(subject: Subject) -> Iterator[Finding]:
    registry = Registry(subject.paths)
    yield Finding("adapters", "good", f"{len(registry.all())} versions of {len(registry.names())} adapters")
    for name in registry.names():
        for error in registry.damaged(name):
            yield Finding("adapter", "note", error.what, error.remedy)


def _runtime(subject: Subject) -> Iterator[Finding]:
    folder = subject.paths.runtime
    length = len(os.fsencode(subject.paths.socket(subject.model)))
    if length > SOCKET_LIMIT:
        remedy = "Set XDG_RUNTIME_DIR to a folder with a shorter path."
        yield Finding("sockets", "bad", f"{folder} is too long a path for a socket ({length} bytes)", remedy)
    else:
        yield Finding("sockets", "good", f"{folder}")


def _terminal(_: Subject) -> Iterator[Finding]:
    term, encoding = os.environ.get("TERM", ""), (sys.stdout.encoding or "").lower().replace("-", "")
    if encoding not in ("utf8", ""):
        remedy = "Set LANG to a UTF-8 locale, such as C.UTF-8."
        yield Finding("terminal", "note", f"TERM={term}, {sys.stdout.encoding}: not every script can be shown", remedy)
    elif term in ("", "dumb", "unknown"):
        yield Finding("terminal", "note", f"TERM={term or 'unset'}: the line REPL opens instead of the app")
    else:
        yield Finding("terminal", "good", f"TERM={term}, UTF-8")


CHECKS: tuple[Callable[[Subject], Iterable[Finding]], ...] = (
    _program,
    _command,
    _libraries,
    _gpu,
    _memory,
    _disk,
    _model,
    _checkpoints,
    _sharing,
    _settings,
    _corpus,
    _adapters,
    _runtime,
    _terminal,
)


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version.partition("+")[0])[:3])


def _existing(path: Path) -> Path:
    return next(place for place in (path, *path.parents) if place.exists())


def _gb(count: float) -> str:
    return f"{count / GB:.1f} GB" if count >= GB / 10 else f"{count / 1e6:.1f} MB"
