"""One decoding step of a Llama on a CPU, written out: a third of the work of the general modules.

Computes what transformers' LlamaForCausalLM does for one new id in each row; the general path stays the
reference and does everything else.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, TypeAlias

import psutil
import torch
from torch import nn
from torch.nn import functional

from sessions.engine import packed
from sessions.engine.adapters import TunedLinear
from sessions.engine.base import LoadedBase
from sessions.engine.contract import Progress
from sessions.engine.kv import KvStore
from sessions.engine.libraries import bnb, bnf
from sessions.engine.packed import Packed
from sessions.paths import Paths

DENSE_LIMIT = 1 << 30
SMALL = 1 << 18
"""Below so many products, waking a second thread costs more than it gives."""
ROPES = ("default", "linear", "llama3")


class Group:
    """Linear layers with one input, as one product, with the deltas that are active on each."""

    def __init__(self, owner: Any, names: tuple[str, ...], product: Packed | torch.Tensor | None) -> None:
        self._owner, self._names, self._product = owner, names, product
        ends = list(accumulate(linear.out_features for linear in self.linears()))
        self._parts = [(name, slice(start, end)) for name, start, end in zip(names, [0, *ends], ends, strict=False)]

    def linears(self) -> list[Any]:
        """The frozen layers, whatever is wrapped around them."""
        found = [getattr(self._owner, name) for name in self._names]
        return [layer.base if isinstance(layer, TunedLinear) else layer for layer in found]

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """[rows, in] to [rows, sum of outs]."""
        out = self._base(x)
        tuned: list[tuple[Any, slice]] = [(getattr(self._owner, name), span) for name, span in self._parts]
        active = [(layer, span) for layer, span in tuned if getattr(layer, "a", None) is not None]
        if not active:
            return out
        threads = torch.get_num_threads()
        small = active[0][0].a.numel() * len(x) <= SMALL
        if small:
            torch.set_num_threads(1)
        try:
            return _tuned(x, out, active)
        finally:
            if small:
                torch.set_num_threads(threads)

    def _base(self, x: torch.Tensor) -> torch.Tensor:
        if isinstance(self._product, Packed):
            return self._product(x.contiguous())
        if self._product is not None:
            return functional.linear(x, self._product)
        return torch.cat([linear(x) for linear in self.linears()], dim=-1)


def _tuned(x: torch.Tensor, out: torch.Tensor, active: list[tuple[Any, slice]]) -> torch.Tensor:
    """`out` plus the active deltas of each span."""
    first = active[0][0].a
    wide, total = x.to(first.dtype), out.to(first.dtype)
    for layer, span in active:
        inner = torch.mm(wide, layer.a.T)
        if layer.factor is None:
            inner.mul_(layer.scale[:, 0])
        total[:, span].addmm_(inner, layer.b, alpha=1.0 if layer.factor is None else layer.factor)
    return total.to(out.dtype)


Attend: TypeAlias = Callable[[int, torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""Layer, queries [rows, kv heads, sharing, size], new keys and values to what was seen, shaped as the queries."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One decoder layer's products and norms."""

    qkv: Group
    out: Group
    gate_up: Group
    down: Group
    before_attention: torch.Tensor
    before_mlp: torch.Tensor


class LlamaStep:
    """One new id in each row of the window; [rows, 1] ids to [rows, vocabulary] logits."""

    def __init__(self, base: LoadedBase, kv: KvStore, products: dict[str, Any]) -> None:
        self._model, self._kv, config = base.model, kv, base.model.config
        self._heads, self._kv_heads = config.num_attention_heads, config.num_key_value_heads
        self._size = getattr(config, "head_dim", None) or config.hidden_size // self._heads
        self._inner, self._hidden, self._eps = config.intermediate_size, config.hidden_size, config.rms_norm_eps
        self._layers = [_layer(index, layer, products) for index, layer in enumerate(base.model.model.layers)]
        self._cos, self._sin = _rotations(base, kv.context)
        self.bytes = sum(_size(product) for product in products.values())

    @torch.inference_mode()
    def __call__(self, ids: torch.Tensor) -> torch.Tensor:
        """Append one id to each row; logits after it."""
        position = self._kv.layers[0].length
        return self._through(ids, self._cos[position], self._sin[position], self._attend)

    def on(self, kv: KvStore) -> LlamaStep:
        """The same step on other keys and values."""
        other = copy.copy(self)
        other._kv = kv
        return other

    def _through(self, ids: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, attend: Attend) -> torch.Tensor:
        hidden = self._model.model.embed_tokens(ids[:, 0])
        for index, layer in enumerate(self._layers):
            turned, values = self._turned(layer.qkv(self._norm(hidden, layer.before_attention)), cos, sin)
            # Query heads that share keys stand as the "tokens" of one head: no copy of the keys is needed.
            queries = turned[:, : self._heads].reshape(len(ids), self._kv_heads, -1, self._size)
            seen = attend(index, queries, turned[:, self._heads :].unsqueeze(2), values.unsqueeze(2))
            hidden = hidden + layer.out(seen.reshape(len(ids), -1))
            both = layer.gate_up(self._norm(hidden, layer.before_mlp))
            hidden = hidden + layer.down(functional.silu(both[:, : self._inner]) * both[:, self._inner :])
        logits: torch.Tensor = self._model.lm_head(self._norm(hidden, self._model.model.norm.weight))
        return logits

    def _norm(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return functional.rms_norm(x, (self._hidden,), weight, self._eps)

    def _turned(self, qkv: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Queries and keys turned by their position, [rows, heads of both, size]; values [rows, kv heads, size]."""
        turning = self._heads + self._kv_heads
        every = qkv.view(len(qkv), turning + self._kv_heads, self._size)
        left, right = every[:, :turning].chunk(2, dim=-1)
        return every[:, :turning] * cos + torch.cat((-right, left), dim=-1) * sin, every[:, turning:]

    def _attend(self, index: int, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        all_keys, all_values = self._kv.layers[index].update(keys, values)
        return functional.scaled_dot_product_attention(queries, all_keys, all_values)


def _layer(index: int, layer: Any, products: dict[str, Any]) -> Layer:
    def group(owner: nn.Module, *names: str) -> Group:
        return Group(owner, names, products.get(f"{index}.{names[0]}"))

    return Layer(
        group(layer.self_attn, "q_proj", "k_proj", "v_proj"),
        group(layer.self_attn, "o_proj"),
        group(layer.mlp, "gate_proj", "up_proj"),
        group(layer.mlp, "down_proj"),
        layer.input_layernorm.weight,
        layer.post_attention_layernorm.weight,
    )


def _size(product: Packed | torch.Tensor) -> int:
    parts = (product.data, product.absmax) if isinstance(product, Packed) else (product,)
    return sum(part.numel() * part.element_size() for part in parts)


def _rotations(base: LoadedBase, context: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosines and sines of every position, [context, 1, 1, size], as the model's own module gives them."""
    like = torch.empty(1, dtype=base.dtype, device=base.device)
    with torch.inference_mode():
        cos, sin = base.model.model.rotary_emb(like, torch.arange(context, device=base.device)[None])
    return cos[0, :, None], sin[0, :, None]


def writable(base: LoadedBase) -> bool:
    """Whether the written-out step computes the same as the model."""
    from transformers import LlamaForCausalLM

    config = base.model.config
    rope = (getattr(config, "rope_parameters", None) or {}).get("rope_type", "default")
    return type(base.model) is LlamaForCausalLM and config.hidden_act == "silu" and rope in ROPES


def step_for(base: LoadedBase, kv: KvStore, paths: Paths, progress: Progress) -> LlamaStep | None:
    """The written-out step for a CPU, or None where the model has to run as it is."""
    if base.device.type != "cpu" or not writable(base):
        return None
    return LlamaStep(base, kv, _products(base, paths, progress))


def _products(base: LoadedBase, paths: Paths, progress: Progress) -> dict[str, Any]:
    """How each group is multiplied: packed where the CPU can, dense where it is small, else as it stands."""
    groups = _groups(base.model)
    size = sum(linear.weight.numel() for group in groups.values() for linear in group)
    if psutil.virtual_memory().available > 2 * size and packed.usable(groups):
        about = type(base.manifest)(
            name=base.manifest.name, source=base.manifest.source, quantization="nf4 packed", dtype="bfloat16"
        )
        place = paths.cache / "models" / f"{base.digest[:32]}-packed"
        views, _ = packed.open_packed(groups, about, place, progress)
        return dict(views)
    return _dense(groups)


def _groups(model: Any) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for index, layer in enumerate(model.model.layers):
        attention, mlp = layer.self_attn, layer.mlp
        found[f"{index}.q_proj"] = [attention.q_proj, attention.k_proj, attention.v_proj]
        found[f"{index}.o_proj"] = [attention.o_proj]
        found[f"{index}.gate_proj"] = [mlp.gate_proj, mlp.up_proj]
        found[f"{index}.down_proj"] = [mlp.down_proj]
    return found


def _dense(groups: dict[str, list[Any]]) -> dict[str, Any]:
    """Dequantized once, where that takes little memory; empty otherwise."""
    linears = [linear for group in groups.values() for linear in group]
    if not all(isinstance(linear, bnb.nn.Linear4bit) and linear.bias is None for linear in linears):
        return {}
    size = sum(linear.in_features * linear.out_features * linear.compute_dtype.itemsize for linear in linears)
    if size > min(DENSE_LIMIT, psutil.virtual_memory().available // 4):
        return {}
    return {
        name: torch.cat([bnf.dequantize_4bit(linear.weight, linear.weight.quant_state) for linear in group])
        for name, group in groups.items()
    }
