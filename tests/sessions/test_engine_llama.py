"""The written-out decoding step and its packed weights against the general modules they stand for."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sessions.engine import llama, packed
from sessions.engine.base import load_base
from sessions.engine.graphs import GraphStep
from sessions.engine.kv import KvStore, common
from sessions.engine.libraries import bnf
from sessions.engine.llama import LlamaStep
from sessions.engine.local import LocalEngine
from sessions.paths import Paths
from sessions.settings import Settings
from tests.models import tiny_adapter, tiny_llama

pytestmark = pytest.mark.usefixtures("one_thread")

SHAPES = {"plain": {}, "grouped": {"kv_heads": 2}, "tied": {"tied": True}, "wide": {"hidden": 128, "heads": 2}}
needs_kernel = pytest.mark.skipif(packed._kernel is None, reason="this CPU has no AVX512-BF16")


def opened(folder: Path, paths: Paths, dtype: torch.dtype) -> LocalEngine:
    tiny_adapter(paths.adapter("mine", 1), folder, rank=4)
    tiny_adapter(paths.adapter("mine", 2), folder, rank=8, seed=1)
    engine = LocalEngine(load_base(str(folder), paths, Settings(), lambda *_: None, dtype=dtype), paths)
    for version in (1, 2):
        engine.load_adapter(f"mine/v{version}")
    return engine


def both_ways(engine: LocalEngine, rows: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits after the last of some ids, one by one and several at once, by the written-out step and by the modules."""
    found = []
    step = engine._forward.step
    for way in (step, None):
        engine._forward.step = None
        engine._kv.open(["test"] * rows, [0])
        engine._kv._window(0, rows, 0)
        engine._forward(torch.arange(5, 14).expand(rows, -1).contiguous())
        engine._forward.step = way
        for token, count in ((20, 1), (30, 4), (40, 2), (50, 1), (60, 6)):
            logits = engine._forward(torch.arange(token, token + rows * count).view(rows, count))
        found.append(logits.float())
    engine._forward.step = step
    return found[0], found[1]


MIXES = [("base",), ("mine/v1",), ("base", "mine/v1"), ("mine/v2", "base", "mine/v1", "mine/v2")]


@pytest.mark.parametrize("mix", MIXES)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_step_computes_what_the_modules_do(tmp_path: Path, paths: Paths, shape: str, mix: tuple[str, ...]) -> None:
    engine = opened(tiny_llama(tmp_path / "model", **SHAPES[shape]), paths, torch.float32)
    assert engine._forward.step is not None
    engine._residents.activate([engine._adapter(name, 0.75) for name in mix])
    fast, plain = both_ways(engine, len(mix))
    torch.testing.assert_close(fast, plain, rtol=1e-4, atol=1e-4)


@needs_kernel
@pytest.mark.parametrize("mix", MIXES)
def test_a_packed_step_is_as_near_as_its_number_format_allows(
    tmp_path: Path, paths: Paths, mix: tuple[str, ...]
) -> None:
    engine = opened(tiny_llama(tmp_path / "model", kv_heads=2, spread=0.02), paths, torch.bfloat16)
    engine._residents.activate([engine._adapter(name, 0.1) for name in mix])
    fast, plain = both_ways(engine, len(mix))
    assert torch.nn.functional.cosine_similarity(fast, plain).min() > 0.999


@needs_kernel
def test_packing_is_bitsandbytes_own(tmp_path: Path, paths: Paths) -> None:
    base = load_base(str(tiny_llama(tmp_path / "model")), paths, Settings(), lambda *_: None, dtype=torch.bfloat16)
    linear = base.model.model.layers[0].mlp.down_proj
    data, absmax = packed.pack([linear])
    state = bnf.QuantState.from_dict(linear.weight.quant_state.as_dict(packed=True), device="cpu")
    expected, state = bnf._convert_weight_packed_for_cpu(linear.weight.data.clone(), state)
    assert torch.equal(data, expected) and torch.equal(absmax, state.absmax)


@needs_kernel
def test_packed_weights_come_from_the_cache_the_second_time(tmp_path: Path, paths: Paths) -> None:
    folder = tiny_llama(tmp_path / "model")
    told: list[str] = []
    for _ in range(2):
        base = load_base(str(folder), paths, Settings(), lambda *_: None, dtype=torch.bfloat16)
        LocalEngine(base, paths, lambda stage, _: told.append(stage))
    assert sum("Arranging" in stage for stage in told) == 8
    assert len(list(paths.cache.glob("models/*"))) == 2


@pytest.mark.parametrize("rows", [1, 2])
def test_the_step_on_static_buffers_computes_what_the_plain_one_does(tmp_path: Path, paths: Paths, rows: int) -> None:
    engine = opened(tiny_llama(tmp_path / "model", kv_heads=2), paths, torch.float32)
    engine._residents.activate([engine._adapter("mine/v1", 0.5)] * rows)
    static, plain = GraphStep(engine.base, engine._kv, engine._residents), LlamaStep(engine.base, engine._kv, {})
    engine._kv.open(["test"] * rows, [0])
    engine._kv._window(0, rows, 0)
    engine._forward(torch.arange(5, 14).expand(rows, -1).contiguous())
    for token in (20, 30, 40):
        ids = torch.arange(token, token + rows)[:, None]
        static.place(ids)
        found = static.run_static(rows)
        torch.testing.assert_close(found, plain(ids), rtol=1e-4, atol=1e-4)


def test_a_graph_is_found_again_for_the_same_mix_and_for_no_other(tmp_path: Path, paths: Paths) -> None:
    engine = opened(tiny_llama(tmp_path / "model"), paths, torch.float32)
    step = GraphStep(engine.base, engine._kv, engine._residents)
    engine._kv.open(["test"], [0])
    engine._forward(torch.arange(5, 14)[None])

    def key(name: str, strength: float = 1.0) -> tuple[object, ...]:
        engine._residents.activate([engine._adapter(name, strength)])
        return step._key(1)

    first = key("mine/v1")
    others = [key("base"), key("mine/v2"), key("mine/v1", 0.5)]
    assert key("mine/v1") == first and len({first, *others}) == 4
    engine._kv.layers[0].reserve(5)
    grown = key("mine/v1")
    engine._kv.drop()
    engine._kv.open(["test"], [0])
    engine._forward(torch.arange(5, 14)[None])
    assert len({first, grown, key("mine/v1")}) == 3


def test_keys_and_values_that_come_to_lie_in_the_same_place_are_others(tmp_path: Path, paths: Paths) -> None:
    engine = opened(tiny_llama(tmp_path / "model"), paths, torch.float32)
    step, layer, room = GraphStep(engine.base, engine._kv, engine._residents), engine._kv.layers[0], torch.zeros(64)
    layer.store_k = layer.store_v = room.view(1, 1, 1, 64)
    first = step._key(1)
    layer.reserve(2)
    layer.store_k = layer.store_v = room.view(1, 1, 1, 64)
    assert step._key(1) != first


def test_another_architecture_has_no_written_out_step(tmp_path: Path, paths: Paths) -> None:
    base = load_base(str(tiny_llama(tmp_path / "model")), paths, Settings(), lambda *_: None)
    base.model.config.hidden_act = "gelu"
    assert llama.step_for(base, KvStore(2, 16), paths, lambda *_: None) is None


@pytest.mark.parametrize(
    ("left", "right", "length"), [([], [1], 0), ([1, 2], [1, 2, 3], 2), ([1, 2, 3], [1, 9, 3], 1), ([4], [5], 0)]
)
def test_the_common_beginning(left: list[int], right: list[int], length: int) -> None:
    assert common(left, right) == common(right, left) == length
