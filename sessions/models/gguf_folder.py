"""A GGUF file as a model folder: config.json, tokenizer.json and more, written once from its metadata into the cache.

Everything that reads a model folder then works; the weights stay in the GGUF file. Torch-free.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from sessions.errors import UNREADABLE, ModelUnusable
from sessions.models.folder import cannot_write
from sessions.models.gguf_file import GgufHeader, damaged, read_header
from sessions.models.gguf_llama import config_of, end_ids
from sessions.paths import cache_folder, write_atomic

FORMAT = 1
"""Increased when the same metadata leads to other files."""
RECORD = "gguf.json"
_QUANTIZATION = re.compile(r"[.-](?:UD-)?(?:I?Q\d\w*|B?F16|F32)$", re.IGNORECASE)


class Record(msgspec.Struct, frozen=True):
    """The file that a folder was written from: an equal record means an unchanged file."""

    path: str
    size: int
    changed: int
    inode: int
    format: int = FORMAT

    @classmethod
    def of(cls, path: Path) -> Record:
        """Return the record of a file now. Raises OSError."""
        about = path.stat()
        return cls(str(path), about.st_size, about.st_mtime_ns, about.st_ino)


def gguf_folder(path: Path) -> Path:
    """Return the folder of a GGUF file; write it first if it is missing or the file has changed.

    Raises ModelUnusable for a damaged file or one of another architecture, DiskFull.
    """
    try:
        record = Record.of(path)
    except OSError as error:
        raise damaged(path, error) from error
    folder = cache_folder() / "gguf" / hashlib.sha256(str(path).encode()).hexdigest()[:16] / model_name(path)
    if _record_in(folder) != record:
        _write(folder, read_header(path), record)
    return folder


def model_name(path: Path) -> str:
    """Return the file's name without its quantization: `llama-2-7b-chat` of `llama-2-7b-chat.Q4_K_M.gguf`."""
    return _QUANTIZATION.sub("", path.stem) or path.stem


def _record_in(folder: Path) -> Record | None:
    try:
        return msgspec.json.decode((folder / RECORD).read_bytes(), type=Record)
    except (OSError, *UNREADABLE):
        return None


def _write(folder: Path, header: GgufHeader, record: Record) -> None:
    """Write the files; the record is last, as it marks the folder as complete."""
    files = _files(header)
    try:
        for name, content in files.items():
            write_atomic(folder / name, content)
        write_atomic(folder / RECORD, msgspec.json.encode(record))
    except OSError as error:
        raise cannot_write("The model's configuration", folder, error) from error


def _files(header: GgufHeader) -> dict[str, bytes]:
    from sessions.models.gguf_tokenizer import tokenizer_of

    metadata = header.metadata
    try:
        config, tokenizer = config_of(header), tokenizer_of(header.path, metadata)
        texts = {
            "config.json": json.dumps(config, indent=2),
            "generation_config.json": json.dumps({"eos_token_id": end_ids(metadata)}),
            "tokenizer.json": tokenizer.to_str(),
            "tokenizer_config.json": json.dumps(_tokenizer_config(metadata), indent=2),
        }
    except ModelUnusable:
        raise
    except Exception as error:  # the metadata is foreign, and the tokenizers library raises nothing narrower
        raise damaged(header.path, f"its metadata cannot be used ({type(error).__name__} {error})") from error
    return {name: text.encode() for name, text in texts.items()}


def _tokenizer_config(metadata: Mapping[str, Any]) -> dict[str, Any]:
    tokens = metadata["tokenizer.ggml.tokens"]
    keys = {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding"}
    ids = {name: metadata.get(f"tokenizer.ggml.{key}_token_id") for name, key in keys.items()}
    named = {f"{name}_token": tokens[index] for name, index in ids.items() if index is not None}
    template = metadata.get("tokenizer.chat_template")
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        **named,
        **({"chat_template": template} if template else {}),
    }
