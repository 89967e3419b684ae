"""A Llama's pass over a few new ids on a CPU, written out: a third of the work of the general modules.

Computes what transformers' LlamaForCausalLM does; the general path stays the reference and reads long prompts.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from typing import Any, TypeAlias

import psutil
import torch
from torch import nn
from torch.nn import functional

from sessions.engine import packed
from sessions.engine.adapters import Part, TunedLinear
from sessions.engine.base import LoadedBase
from sessions.engine.contract import Progress
from sessions.engine.kv import KvStore
from sessions.engine.libraries import bnb, bnf
from sessions.engine.packed import Packed
from sessions.paths import Paths

DENSE_LIMIT = 1 << 30
SMALL = 1 << 20
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

    def __call__(self, x: torch.Tensor, tokens: int = 1) -> torch.Tensor:
        """[rows * tokens, in] to [rows * tokens, sum of outs]."""
        out = self._base(x)
        tuned = [(getattr(self._owner, name), span) for name, span in self._parts]
        active = [(part, span) for layer, span in tuned for part in getattr(layer, "parts", ())]
        if not active:
            return out
        threads = torch.get_num_threads()
        small = max(part.a.numel() for part, _ in active) * len(x) <= SMALL
        if small:
            torch.set_num_threads(1)
        try:
            return _tuned(x, out, active, tokens)
        finally:
            if small:
                torch.set_num_threads(threads)

    def _base(self, x: torch.Tensor) -> torch.Tensor:
        if isinstance(self._product, Packed):
            return self._product(x.contiguous())
        if self._product is not None:
            return functional.linear(x, self._product)
        return torch.cat([linear(x) for linear in self.linears()], dim=-1)


def _tuned(x: torch.Tensor, out: torch.Tensor, active: list[tuple[Part, slice]], tokens: int) -> torch.Tensor:
    """`out` plus the active deltas of each span."""
    kind = active[0][0].a.dtype
    wide, total = x.to(kind), out.to(kind)
    for part, span in active:
        rows = slice(part.rows.start * tokens, part.rows.stop * tokens)
        part.onto(total[rows, span], wide[rows])
    return total.to(out.dtype)


SHORT = 24
"""So many new ids in all the packed weights read faster than the general path, which unpacks them first."""

Attend: TypeAlias = Callable[[int, torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""Layer, queries [rows, kv heads, sharing * tokens, size], new keys and values [rows, kv heads, tokens, size] to
what was seen, shaped as the queries."""


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
    """A few new ids in each row of the window; [rows, tokens] ids to [rows, vocabulary] logits after the last."""

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
        """Append the ids to each row; logits after the last one."""
        rows, tokens = ids.shape
        places = slice(self._kv.layers[0].length, self._kv.layers[0].length + tokens)
        if tokens == 1:
            return self._through(ids, self._cos[places], self._sin[places], partial(self._attend, None))
        cos, sin = (table[places].repeat(rows, 1, 1) for table in (self._cos, self._sin))
        return self._through(ids, cos, sin, partial(self._attend, self._causal(places)))

    def takes(self, ids: torch.Tensor) -> bool:
        """Whether this way is the faster one for so many ids."""
        return ids.numel() <= SHORT or ids.shape[1] == 1

    def on(self, kv: KvStore) -> LlamaStep:
        """The same step on other keys and values."""
        other = copy.copy(self)
        other._kv = kv
        return other

    def _through(self, ids: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, attend: Attend) -> torch.Tensor:
        rows, tokens = ids.shape
        hidden = self._model.model.embed_tokens(ids.flatten())
        for index, layer in enumerate(self._layers):
            turned, values = self._turned(layer.qkv(self._norm(hidden, layer.before_attention), tokens), cos, sin)
            queries, keys = turned[:, : self._heads], turned[:, self._heads :]
            seen = attend(index, self._folded(queries, rows), self._apart(keys, rows), self._apart(values, rows))
            hidden = hidden + layer.out(self._unfolded(seen, tokens), tokens)
            both = layer.gate_up(self._norm(hidden, layer.before_mlp), tokens)
            hidden = hidden + layer.down(functional.silu(both[:, : self._inner]) * both[:, self._inner :], tokens)
        last = hidden.view(rows, tokens, -1)[:, -1]
        logits: torch.Tensor = self._model.lm_head(self._norm(last, self._model.model.norm.weight))
        return logits

    def _apart(self, x: torch.Tensor, rows: int) -> torch.Tensor:
        """[rows * tokens, heads, size] to [rows, heads, tokens, size]."""
        return x.view(rows, -1, *x.shape[1:]).transpose(1, 2)

    def _folded(self, queries: torch.Tensor, rows: int) -> torch.Tensor:
        """Query heads that share keys stand as the tokens of one head, so that no copy of the keys is needed."""
        split = queries.reshape(rows, -1, self._kv_heads, self._heads // self._kv_heads, self._size)
        return split.permute(0, 2, 3, 1, 4).flatten(2, 3)

    def _unfolded(self, seen: torch.Tensor, tokens: int) -> torch.Tensor:
        """What `_folded` queries saw, [rows * tokens, heads * size]."""
        split = seen.view(len(seen), self._kv_heads, -1, tokens, self._size)
        return split.permute(0, 3, 1, 2, 4).reshape(len(seen) * tokens, -1)

    def _causal(self, places: slice) -> torch.Tensor:
        """Which places each folded query sees, [sharing * tokens, places so far]."""
        every = torch.arange(places.stop, device=self._cos.device)
        return (every <= every[places, None]).repeat(self._heads // self._kv_heads, 1)

    def _norm(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return functional.rms_norm(x, (self._hidden,), weight, self._eps)

    def _turned(self, qkv: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Queries and keys turned by their position, [rows, heads of both, size]; values [rows, kv heads, size]."""
        turning = self._heads + self._kv_heads
        every = qkv.view(len(qkv), turning + self._kv_heads, self._size)
        left, right = every[:, :turning].chunk(2, dim=-1)
        return every[:, :turning] * cos + torch.cat((-right, left), dim=-1) * sin, every[:, turning:]

    def _attend(
        self, mask: torch.Tensor | None, index: int, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor
    ) -> torch.Tensor:
        all_keys, all_values = self._kv.layers[index].update(keys, values)
        return functional.scaled_dot_product_attention(queries, all_keys, all_values, attn_mask=mask)


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
    """Cosines and sines of every position, [context, 1, size], as the model's own module gives them."""
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
