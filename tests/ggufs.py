"""GGUF files that tests write for themselves, with the gguf package, as llama.cpp's converter writes them."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter
from gguf.quants import quantize
from safetensors.torch import load_file

LAYER = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
OUTER = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, _, BYTE = range(1, 7)


def write_gguf(
    target: Path,
    folder: Path,
    words: Mapping[str, Any],
    *,
    kind: GGMLQuantizationType = GGMLQuantizationType.F32,
    architecture: str = "llama",
    extra: Mapping[str, Any] | None = None,
    tensors: Mapping[str, np.ndarray] | None = None,
) -> Path:
    """Write a Llama's folder as a GGUF file with these `tokenizer.…` keys; norms stay float32, as in real files."""
    config = json.loads((folder / "config.json").read_text("utf-8"))
    writer = GGUFWriter(target, architecture)
    for key, value in {**_metadata(config, architecture), **words, **(extra or {})}.items():
        _add(writer, key, value)
    for name, weight in _weights(folder, config):
        used = kind if weight.ndim > 1 else GGMLQuantizationType.F32
        writer.add_tensor(name, quantize(weight, used), raw_dtype=used)
    for name, weight in (tensors or {}).items():
        writer.add_tensor(name, weight)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target


def _metadata(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {
        f"{name}.block_count": config["num_hidden_layers"],
        f"{name}.context_length": config["max_position_embeddings"],
        f"{name}.embedding_length": config["hidden_size"],
        f"{name}.feed_forward_length": config["intermediate_size"],
        f"{name}.attention.head_count": config["num_attention_heads"],
        f"{name}.attention.head_count_kv": config["num_key_value_heads"],
        f"{name}.attention.layer_norm_rms_epsilon": float(config["rms_norm_eps"]),
        f"{name}.rope.dimension_count": config["hidden_size"] // config["num_attention_heads"],
        f"{name}.rope.freq_base": float(config["rope_parameters"]["rope_theta"]),
    }


def _add(writer: GGUFWriter, key: str, value: Any) -> None:
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    else:
        writer.add_array(key, value)


def _weights(folder: Path, config: Mapping[str, Any]) -> Iterator[tuple[str, np.ndarray]]:
    for key, tensor in load_file(folder / "model.safetensors").items():
        owner, _, leaf = key.rpartition(".")
        weight = tensor.float().numpy()
        if owner in OUTER:
            yield f"{OUTER[owner]}.{leaf}", weight
            continue
        _, _, layer, part = owner.split(".", 3)
        heads = {"self_attn.q_proj": "num_attention_heads", "self_attn.k_proj": "num_key_value_heads"}.get(part)
        yield f"blk.{layer}.{LAYER[part]}.{leaf}", _permuted(weight, config[heads]) if heads else weight


def _permuted(weight: np.ndarray, heads: int) -> np.ndarray:
    """As llama.cpp's converter orders the rows of query and key."""
    rows = weight.shape[0]
    return np.ascontiguousarray(
        weight.reshape(heads, 2, rows // heads // 2, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape)
    )


def sentence_piece_words(model: Path) -> dict[str, Any]:
    """The `tokenizer.…` keys of a SentencePiece model, read from its file, as the converter writes them."""
    pieces = [dict(_fields(value)) for number, value in _fields(model.read_bytes()) if number == 1]
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": [piece[1].decode("utf-8") for piece in pieces],
        "tokenizer.ggml.scores": [float(piece.get(2, 0.0)) for piece in pieces],
        "tokenizer.ggml.token_type": [int(piece.get(3, NORMAL)) for piece in pieces],
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.unknown_token_id": 0,
    }


def byte_level_words(folder: Path, pre: str | None, *, template: str = "") -> dict[str, Any]:
    """The `tokenizer.…` keys of a byte-level tokenizer.json."""
    backend = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    named = json.loads((folder / "tokenizer_config.json").read_text("utf-8"))
    ids = {**backend["model"]["vocab"], **{each["content"]: each["id"] for each in backend["added_tokens"]}}
    tokens = sorted(ids, key=ids.__getitem__)
    special = {each["content"] for each in backend["added_tokens"] if each["special"]}
    words = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [CONTROL if token in special else NORMAL for token in tokens],
        "tokenizer.ggml.merges": [" ".join(pair) for pair in backend["model"]["merges"]],
        **({"tokenizer.ggml.pre": pre} if pre else {}),
        **({"tokenizer.chat_template": template} if template else {}),
    }
    for name in ("bos", "eos"):
        if f"{name}_token" in named:
            words[f"tokenizer.ggml.{name}_token_id"] = ids[named[f"{name}_token"]]
    return words


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """The fields of a protocol buffer: their numbers, and numbers, floats or bytes."""
    place = 0
    while place < len(data):
        key, place = _varint(data, place)
        if key & 7 == 0:
            value, place = _varint(data, place)
        elif key & 7 == 2:
            length, place = _varint(data, place)
            value, place = data[place : place + length], place + length
        else:
            size = 4 if key & 7 == 5 else 8
            value, place = struct.unpack("<f" if size == 4 else "<d", data[place : place + size])[0], place + size
        yield key >> 3, value


def _varint(data: bytes, place: int) -> tuple[int, int]:
    found = shift = 0
    while True:
        byte = data[place]
        place, found, shift = place + 1, found | (byte & 127) << shift, shift + 7
        if byte < 128:
            return found, place
