"""How llama.cpp stores a Llama: its tensors' names in transformers, and config.json from its metadata. Torch-free."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from sessions.errors import ModelUnusable
from sessions.models.gguf_file import GgufHeader, read_floats

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
LLAMA_3_ROPE = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
"""Of all Llama 3 models; only the factor differs, and a file stores the result for each frequency."""
TOLERANCE = 1e-3


def own_name(name: str) -> str | None:
    """Return the name in transformers of llama.cpp's tensor `name`, or None if a Llama has no such tensor."""
    stem, _, leaf = name.rpartition(".")
    if stem in OUTER:
        return f"{OUTER[stem]}.{leaf}"
    block, _, part = stem.removeprefix("blk.").partition(".")
    if not stem.startswith("blk.") or part not in INNER:
        return None
    return f"model.layers.{block}.{INNER[part]}.{leaf}"


def config_of(header: GgufHeader) -> dict[str, Any]:
    """Return the transformers config. Raises ModelUnusable for what is not a Llama, KeyError for missing metadata."""
    metadata = header.metadata
    _refuse_other(header)
    hidden, heads = metadata["llama.embedding_length"], metadata["llama.attention.head_count"]
    head = metadata.get("llama.attention.key_length", hidden // heads)
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        "vocab_size": header.tensors["token_embd.weight"].shape[0],
        "hidden_size": hidden,
        "intermediate_size": metadata["llama.feed_forward_length"],
        "num_hidden_layers": metadata["llama.block_count"],
        "num_attention_heads": heads,
        "num_key_value_heads": metadata.get("llama.attention.head_count_kv", heads),
        "head_dim": head,
        "max_position_embeddings": metadata["llama.context_length"],
        "rms_norm_eps": metadata["llama.attention.layer_norm_rms_epsilon"],
        "rope_parameters": _rope(header, head),
        "attention_bias": "blk.0.attn_q.bias" in header.tensors,
        "mlp_bias": "blk.0.ffn_up.bias" in header.tensors,
        "tie_word_embeddings": "output.weight" not in header.tensors,
        "bos_token_id": metadata.get("tokenizer.ggml.bos_token_id"),
        "eos_token_id": metadata.get("tokenizer.ggml.eos_token_id"),
        "dtype": "bfloat16",
    }


def _refuse_other(header: GgufHeader) -> None:
    metadata = header.metadata
    architecture = metadata.get("general.architecture")
    if architecture != "llama":
        raise _unsupported(header, f"the architecture {architecture!r:.40}, not 'llama'")
    if metadata.get("llama.expert_count", 0):
        raise _unsupported(header, "a mixture of experts")
    sizes = ("feed_forward_length", "attention.head_count", "attention.head_count_kv")
    if any(isinstance(metadata.get(f"llama.{size}"), list) for size in sizes):
        raise _unsupported(header, "layers of different sizes")
    other = next((name for name in header.tensors if name != ROPE and own_name(name) is None), None)
    if other is not None:
        raise _unsupported(header, f"the tensor {other:.80}, which a Llama does not have")


def _rope(header: GgufHeader, head: int) -> dict[str, Any]:
    """Return the parameters of the rotary embeddings: plain, with a linear scale, or with Llama 3's scale."""
    metadata = header.metadata
    if metadata.get("llama.rope.dimension_count", head) != head:
        raise _unsupported(header, "rotary embeddings on a part of each head")
    theta = metadata.get("llama.rope.freq_base", 10000.0)
    if ROPE in header.tensors:
        return {"rope_theta": theta, **_llama_3_rope(header, theta, head)}
    linear = metadata.get("llama.rope.scale_linear", 1.0)
    kind = metadata.get("llama.rope.scaling.type", "linear" if linear != 1.0 else "none")
    factor = metadata.get("llama.rope.scaling.factor", linear)
    if kind == "none" or (kind == "linear" and factor in (0.0, 1.0)):
        return {"rope_theta": theta, "rope_type": "default"}
    if kind != "linear":
        raise _unsupported(header, f"rotary embeddings of the type {kind!r:.40}")
    return {"rope_theta": theta, "rope_type": "linear", "factor": factor}


def _llama_3_rope(header: GgufHeader, theta: float, head: int) -> dict[str, Any]:
    """Return Llama 3's parameters if they give the factors that are stored in the file."""
    stored = read_floats(header, ROPE)
    factor = max(stored, default=1.0)
    expected = _llama_3_factors(theta, head, factor)
    same = len(stored) == len(expected) and all(
        math.isclose(one, other, rel_tol=TOLERANCE) for one, other in zip(stored, expected, strict=True)
    )
    if not same:
        raise _unsupported(header, "factors for rotary embeddings that are not Llama 3's")
    return {"rope_type": "llama3", "factor": factor, **LLAMA_3_ROPE}


def _llama_3_factors(theta: float, head: int, factor: float) -> Sequence[float]:
    """Return the divisor of each frequency: 1 for short waves, `factor` for long ones, interpolated between them."""
    low, high, context = LLAMA_3_ROPE.values()
    factors = []
    for index in range(0, head, 2):
        wave = 2 * math.pi * theta ** (index / head)
        smooth = min(max((context / wave - low) / (high - low), 0.0), 1.0)
        factors.append(1 / ((1 - smooth) / factor + smooth))
    return factors


def end_ids(metadata: Mapping[str, Any]) -> list[int]:
    """Return the ids that end a reply: end of text, of a turn, of a message."""
    named = ("eos_token_id", "eot_token_id", "eom_token_id")
    found = (metadata.get(f"tokenizer.ggml.{name}") for name in named)
    return sorted({end for end in found if end is not None})


def _unsupported(header: GgufHeader, what: str) -> ModelUnusable:
    return ModelUnusable(
        f"{header.path} has {what}; GGUF files are loaded for plain Llamas only.",
        data="Nothing was loaded.",
        remedy="Give the folder of the model's safetensors instead.",
    )
