"""Weights of a GGUF file, one tensor at a time under the names and in the layout of transformers' Llama."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
import xxhash
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize

from sessions.errors import ModelUnusable
from sessions.models.gguf_file import TensorPlace, damaged, read_header

Bytes: TypeAlias = np.ndarray[Any, np.dtype[np.uint8]]
ROWS = 1 << 22
"""Elements that are dequantized at a time: the float32 values of one block of rows are all that is in memory."""
CHUNK = 64 << 20
OUTER = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
INNER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
ROPE = "rope_freqs.weight"


def gguf_digest(path: Path) -> str:
    """XXH3 (128 bits) of the whole file."""
    digest = xxhash.xxh3_128()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def gguf_tensors(path: Path, config: Any, dtype: torch.dtype) -> Iterator[tuple[str, torch.Tensor, float]]:
    """Each tensor with its name in transformers, and the fraction that is read after it.

    Raises ModelUnusable for a damaged file and for tensors that a Llama does not have.
    """
    header = read_header(path)
    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
    data = np.memmap(path, np.uint8, "r")
    for index, (name, place) in enumerate(header.tensors.items()):
        if name == ROPE:
            continue
        own, part = _own_name(path, name)
        tensor = _dequantized(path, data, place, dtype)
        if part in heads:
            tensor = _unpermuted(tensor, heads[part])
        yield own, tensor, (index + 1) / len(header.tensors)


def _own_name(path: Path, name: str) -> tuple[str, str]:
    """The name in transformers, and the part of a layer that it is."""
    stem, _, leaf = name.rpartition(".")
    if stem in OUTER:
        return f"{OUTER[stem]}.{leaf}", stem
    block, _, part = stem.removeprefix("blk.").partition(".")
    if not stem.startswith("blk.") or part not in INNER:
        raise ModelUnusable(
            f"{path} has the tensor {name:.80}, which a Llama does not have.",
            data="Nothing was loaded.",
            remedy="Give the folder of the model's safetensors instead.",
        )
    return f"model.layers.{block}.{INNER[part]}.{leaf}", part


def _dequantized(path: Path, data: Bytes, place: TensorPlace, dtype: torch.dtype) -> torch.Tensor:
    """One tensor, dequantized block by block of rows."""
    try:
        kind = GGMLQuantizationType(place.kind)
        block, size = GGML_QUANT_SIZES[kind]
        *outer, inner = place.shape
        rows = int(np.prod(outer, dtype=np.int64))
        length = rows * inner // block * size
        raw = data[place.offset : place.offset + length].reshape(rows, length // rows)
        made = torch.empty((rows, inner), dtype=dtype)
        step = max(1, ROWS // inner)
        for start in range(0, rows, step):
            values = dequantize(_typed(raw[start : start + step], kind), kind)
            made[start : start + step] = torch.from_numpy(np.require(values, np.float32, ["C", "W"]))
        return made.view(place.shape)
    except (ValueError, KeyError, NotImplementedError) as error:
        raise damaged(path, error) from error


def _typed(raw: Bytes, kind: GGMLQuantizationType) -> np.ndarray[Any, Any]:
    plain = {GGMLQuantizationType.F32: np.float32, GGMLQuantizationType.F16: np.float16}
    return raw.view(plain[kind]) if kind in plain else raw


def _unpermuted(tensor: torch.Tensor, heads: int) -> torch.Tensor:
    """Rows of a query or key projection in transformers' order: llama.cpp interleaves the halves of each head."""
    rows = tensor.shape[0]
    return tensor.view(heads, rows // heads // 2, 2, *tensor.shape[1:]).transpose(1, 2).reshape(tensor.shape)
