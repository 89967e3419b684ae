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

from sessions.errors import UNREADABLE, DiskFull, ModelUnusable
from sessions.models.gguf_file import GgufHeader, damaged, read_header
from sessions.models.gguf_tokenizer import tokenizer_of
from sessions.paths import cache_folder, write_atomic

FORMAT = 1
"""Raised when what is written from the same metadata changes."""
RECORD = "gguf.json"
_QUANTIZATION = re.compile(r"[.-](?:I?Q\d\w*|B?F16|F32)$", re.IGNORECASE)


class Record(msgspec.Struct, frozen=True):
    """The file that a folder was written from: an equal record means an unchanged file."""

    path: str
    size: int
    changed: int
    inode: int
    format: int = FORMAT


def gguf_folder(path: Path) -> Path:
    """The folder of a GGUF file, written where it is not there or the file has changed since.

    Raises ModelUnusable for a damaged file or one of another architecture, DiskFull.
    """
    about = path.stat()
    record = Record(str(path), about.st_size, about.st_mtime_ns, about.st_ino)
    folder = cache_folder() / "gguf" / hashlib.sha256(str(path).encode()).hexdigest()[:16] / model_name(path)
    if _record_of(folder) != record:
        _write(folder, read_header(path), record)
    return folder


def model_name(path: Path) -> str:
    """The file's name without its quantization: `llama-2-7b-chat` of `llama-2-7b-chat.Q4_K_M.gguf`."""
    return _QUANTIZATION.sub("", path.stem) or path.stem


def _record_of(folder: Path) -> Record | None:
    try:
        return msgspec.json.decode((folder / RECORD).read_bytes(), type=Record)
    except (OSError, *UNREADABLE):
        return None


def _write(folder: Path, header: GgufHeader, record: Record) -> None:
    files = _files(header)
    try:
        for name, content in files.items():
            write_atomic(folder / name, content)
        write_atomic(folder / RECORD, msgspec.json.encode(record))
    except OSError as error:
        raise DiskFull(
            f"The model's configuration cannot be written to {folder}: {error.strerror}.",
            data="Nothing was loaded.",
            remedy="Make room there, or set LLAMA_TUI_CACHE to another folder.",
        ) from error


def _files(header: GgufHeader) -> dict[str, bytes]:
    try:
        config = config_of(header)
        tokenizer = tokenizer_of(header.metadata)
        texts = {
            "config.json": json.dumps(config, indent=2),
            "generation_config.json": json.dumps({"eos_token_id": _ends(header.metadata)}),
            "tokenizer.json": tokenizer.to_str(),
            "tokenizer_config.json": json.dumps(_tokenizer_config(header.metadata), indent=2, ensure_ascii=False),
        }
    except (KeyError, IndexError, TypeError, ValueError, ZeroDivisionError) as error:
        raise damaged(header.path, f"{type(error).__name__} {error}") from error
    return {name: text.encode() for name, text in texts.items()}


def config_of(header: GgufHeader) -> dict[str, Any]:
    """The transformers config of a Llama. Raises ModelUnusable for what is not one, KeyError for lacking metadata."""
    metadata = header.metadata
    _refuse_other(header)
    hidden, heads = metadata["llama.embedding_length"], metadata["llama.attention.head_count"]
    head = metadata.get("llama.attention.key_length", hidden // heads)
    vocabulary = header.tensors["token_embd.weight"].shape[0]
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        "vocab_size": vocabulary,
        "hidden_size": hidden,
        "intermediate_size": metadata["llama.feed_forward_length"],
        "num_hidden_layers": metadata["llama.block_count"],
        "num_attention_heads": heads,
        "num_key_value_heads": metadata.get("llama.attention.head_count_kv", heads),
        "head_dim": head,
        "max_position_embeddings": metadata["llama.context_length"],
        "rms_norm_eps": metadata["llama.attention.layer_norm_rms_epsilon"],
        "rope_parameters": {"rope_type": "default", "rope_theta": metadata.get("llama.rope.freq_base", 10000.0)},
        "attention_bias": "blk.0.attn_q.bias" in header.tensors,
        "tie_word_embeddings": "output.weight" not in header.tensors,
        "bos_token_id": metadata.get("tokenizer.ggml.bos_token_id"),
        "eos_token_id": metadata.get("tokenizer.ggml.eos_token_id"),
        "torch_dtype": "bfloat16",
    }


def _refuse_other(header: GgufHeader) -> None:
    architecture = header.metadata.get("general.architecture")
    if architecture != "llama" or header.metadata.get("llama.expert_count", 0):
        what = f"architecture {architecture!r:.40}" if architecture != "llama" else "a mixture of experts"
        raise ModelUnusable(
            f"{header.path} has {what}; only GGUF files of the Llama architecture can be loaded.",
            data="Nothing was loaded.",
            remedy="Give the folder of the model's safetensors instead.",
        )


def _ends(metadata: Mapping[str, Any]) -> list[int]:
    named = ("eos_token_id", "eot_token_id", "eom_token_id")
    found = (metadata.get(f"tokenizer.ggml.{name}") for name in named)
    return sorted({end for end in found if end is not None})


def _tokenizer_config(metadata: Mapping[str, Any]) -> dict[str, Any]:
    tokens = metadata["tokenizer.ggml.tokens"]
    named = {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding"}
    ids = {name: metadata.get(f"tokenizer.ggml.{key}_token_id") for name, key in named.items()}
    config: dict[str, Any] = {f"{name}_token": tokens[index] for name, index in ids.items() if index is not None}
    template = metadata.get("tokenizer.chat_template")
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        **config,
        **({"chat_template": template} if template else {}),
    }
