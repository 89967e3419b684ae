"""One PEFT folder as files: whether it is whole, its digests, its model card. Torch-free.

Independent of names, versions and the place of the folder.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import xxhash

from sessions.errors import UNREADABLE, AdapterDamaged

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
CARD = "README.md"
CHUNK = 8 << 20
MAX_CONFIG = 1 << 20
MAX_HEADER = 100 << 20
METHODS = {
    "LORA": "LoRA",
    "IA3": "IA3",
    "PROMPT_TUNING": "prompt tuning",
    "P_TUNING": "P-tuning",
    "PREFIX_TUNING": "prefix tuning",
}
"""PEFT's names of what chat can use, and how people write them."""
CONTINUED = ("LoRA", "DoRA")
"""What a run can continue."""
DTYPES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of adapter_config.json that the program reads."""

    peft_type: str
    r: int = 0
    lora_alpha: float = 0.0
    base_model_name_or_path: str | None = None
    target_modules: list[str] | str | None = None
    use_dora: bool = False

    @property
    def method(self) -> str:
        """How it was made, as people write it."""
        return "DoRA" if self.use_dora else METHODS[self.peft_type]


def check(folder: Path) -> Config:
    """The config of a whole PEFT folder; raises AdapterDamaged with what is wrong with it.

    The weights' header is read and compared with the file's size; their values are not.
    """
    if not folder.is_dir():
        raise AdapterDamaged(
            f"{folder} is no folder." if folder.exists() else f"There is no folder {folder}.",
            data="Nothing was changed.",
            remedy=f"Name the folder with {CONFIG} and {WEIGHTS}.",
        )
    if not (folder / WEIGHTS).is_file():
        raise _damaged(folder, f"{WEIGHTS} is missing{_pickle_note(folder)}")
    _check_weights(folder)
    return read_config(folder)


def read_config(folder: Path) -> Config:
    """adapter_config.json; raises AdapterDamaged where it is missing or of a method that cannot be used."""
    path = folder / CONFIG
    try:
        if path.stat().st_size > MAX_CONFIG:
            raise _damaged(folder, f"{CONFIG} is larger than 1 MB")
        config = msgspec.json.decode(path.read_bytes(), type=Config)
    except (OSError, *UNREADABLE) as error:
        raise _damaged(folder, f"{CONFIG} cannot be read ({error})") from error
    if config.peft_type not in METHODS:
        raise _damaged(folder, f"it is of type {config.peft_type!r}; what can be used is {', '.join(METHODS.values())}")
    return config


def digest(folder: Path) -> str:
    """SHA-256 of the config and the weights: the identity of a version."""
    found = hashlib.sha256()
    for name in (CONFIG, WEIGHTS):
        with (folder / name).open("rb") as file:
            found.update(hashlib.file_digest(file, "sha256").digest())
    return found.hexdigest()


def checksum(folder: Path) -> str:
    """XXH3 of the config and the weights, as fast as the file can be read: it finds damage, not forgery."""
    with (folder / WEIGHTS).open("rb") as file:
        chunks = [xxhash.xxh3_128_hexdigest(chunk) for chunk in iter(lambda: file.read(CHUNK), b"")]
    return checksum_of(chunks, (folder / CONFIG).read_bytes())


def checksum_of(chunks: Iterable[str], config: bytes) -> str:
    """The checksum from the XXH3 of each `CHUNK` bytes of the weights and from the config."""
    return xxhash.xxh3_128_hexdigest("".join([*chunks, config.hex()]).encode())


def verify(folder: Path, expected: str, fast: str = "") -> None:
    """Raises AdapterDamaged where the content is not what was published: `expected` is its digest.

    With `fast`, its checksum, that is compared instead.
    """
    check(folder)
    if checksum(folder) != fast if fast else expected and digest(folder) != expected:
        raise changed(folder)


def changed(folder: Path) -> AdapterDamaged:
    """The error for a folder whose content is not what was published."""
    return _damaged(folder, "its content is not what was published")


def sync_files(folder: Path) -> None:
    """Make every file 0600 and durable; sub-folders are left alone."""
    for path in sorted(folder.iterdir()):
        if path.is_file() and not path.is_symlink():
            path.chmod(0o600)
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def card(title: str, base_model: str, method: str, rows: Iterable[tuple[str, str]]) -> str:
    """The model card: YAML front matter for hubs, then a table of what is known."""
    tag = "lora" if method in ("", *CONTINUED) else method.lower().replace(" ", "-")
    head = ["---", "library_name: peft", "tags:", f"- {tag}", "- llama-tui"]
    if base_model.count("/") == 1 and not base_model.startswith((".", "/", "~")):
        head.append(f"base_model: {json.dumps(base_model)}")
    table = [f"| {_cell(name)} | {_cell(value)} |" for name, value in rows if value]
    usage = f'PeftModel.from_pretrained(base, "this folder")  # base: {base_model}'
    return "\n".join([*head, "---", f"# {title}", "", "| | |", "|---|---|", *table, "", "```python", usage, "```", ""])


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def _check_weights(folder: Path) -> None:
    path = folder / WEIGHTS
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(MAX_HEADER, size - 8):
            raise _damaged(folder, f"{WEIGHTS} is cut short")
        raw = file.read(length)
    try:
        header = {name: entry for name, entry in json.loads(raw).items() if name != "__metadata__"}
        held = sum(_tensor_bytes(entry) for entry in header.values())
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise _damaged(folder, f"the header of {WEIGHTS} cannot be read") from error
    if not header or held != size - 8 - length:
        raise _damaged(folder, f"{WEIGHTS} has {size - 8 - length} bytes of weights instead of {held}")


def _tensor_bytes(entry: dict[str, Any]) -> int:
    count = 1
    for side in entry["shape"]:
        count *= int(side)
    start, end = entry["data_offsets"]
    if end - start != count * DTYPES[entry["dtype"]]:
        raise ValueError("a tensor's size does not fit its shape")
    return int(end - start)


def _pickle_note(folder: Path) -> str:
    return (
        " (an adapter_model.bin is a pickle, which could run code)" if (folder / "adapter_model.bin").exists() else ""
    )


def _damaged(folder: Path, why: str) -> AdapterDamaged:
    return AdapterDamaged(
        f"The adapter in {folder} cannot be used: {why}.",
        data="Nothing was switched, and the folder was not changed.",
        remedy="Use another version, or train or import it again.",
    )
