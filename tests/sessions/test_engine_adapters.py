"""Adapters in the engine: what they compute, which are refused, which stay in memory."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import msgspec
import pytest
import torch

from corpora.llama2 import encode_prompt
from sessions import lineage
from sessions.engine.adapter import Adapter, Delta
from sessions.engine.adapters import Residents
from sessions.engine.base import load_base
from sessions.engine.local import LocalEngine
from sessions.errors import AdapterDamaged, AdapterMismatch, AdapterNotFound
from sessions.paths import Paths
from sessions.protocol import BASE
from sessions.registry import Lineage, Registry
from sessions.settings import Settings
from tests.models import tiny_adapter, tiny_llama
from tests.sessions.engine_help import ask, plain_ids, reference, run, text_of

pytestmark = pytest.mark.usefixtures("one_thread")


def damage(folder: Path, kind: str) -> None:
    weights = folder / "adapter_model.safetensors"
    if kind == "cut":
        weights.write_bytes(weights.read_bytes()[:-1000])
    elif kind == "missing":
        weights.unlink()
    elif kind == "config":
        (folder / "adapter_config.json").write_text("{", "utf-8")
    elif kind == "pattern":
        (folder / "adapter_config.json").write_text('{"peft_type": "LORA", "alpha_pattern": {"(": 1}}', "utf-8")
    else:
        from safetensors.torch import load_file, save_file

        tensors = load_file(weights)
        if kind == "empty":
            tensors = {key: item[:0] if "lora_A" in key else item[:, :0].contiguous() for key, item in tensors.items()}
        else:
            tensors[min(tensors)][0, 0] = float(kind)
        save_file(tensors, weights)


@pytest.mark.parametrize("kind", ["cut", "missing", "config", "pattern", "empty", "nan", "inf"])
def test_a_damaged_adapter_is_refused_and_the_old_one_goes_on(engine: LocalEngine, paths: Paths, kind: str) -> None:
    before = text_of(run(engine, ask("Hello", adapters=("mine/v1",))))
    damage(paths.adapter("mine", 2), kind)
    with pytest.raises((AdapterDamaged, AdapterNotFound)):
        engine.load_adapter("mine/v2")
    assert engine.resident() == ("mine/v1",)
    assert text_of(run(engine, ask("Hello", adapters=("mine/v1",)))) == before


def test_an_adapter_of_another_base_is_refused(engine: LocalEngine, paths: Paths, tmp_path: Path) -> None:
    other = tiny_llama(tmp_path / "other", hidden=128)
    tiny_adapter(paths.adapter("other", 1), other)
    with pytest.raises(AdapterMismatch, match="another base"):
        engine.load_adapter("other/v1")
    with pytest.raises(AdapterNotFound):
        engine.load_adapter("nobody/v1")


def test_a_dora_computes_what_peft_computes_and_is_mixed_with_others(
    engine: LocalEngine, folder: Path, paths: Paths
) -> None:
    plain = reference(folder, tiny_adapter(paths.adapter("sized", 1), folder, dora=True, size=0.05))
    ids = encode_prompt(ask("Count: 1 2 3").dialog, engine.base.words.vocabulary)
    expected = engine.base.words.backend.decode(plain_ids(plain, ids, 12))
    alone = [text_of(run(engine, ask("Count: 1 2 3", adapters=(name,)))) for name in (BASE, "sized/v1", "mine/v1")]
    assert alone[1] == expected != alone[0]
    engine._kv.drop()
    mixed = run(engine, ask("Count: 1 2 3", adapters=(BASE, "sized/v1", "mine/v1")))
    assert [text_of(mixed, column) for column in range(3)] == alone


def test_the_logits_of_a_dora_are_those_of_peft(engine: LocalEngine, folder: Path, paths: Paths) -> None:
    plain = reference(folder, tiny_adapter(paths.adapter("sized", 1), folder, dora=True))
    engine._residents.activate([engine._adapter("sized/v1", 1.0)])
    ids = torch.arange(3, 20)[None]
    engine._kv.open(["x"], [0])
    with torch.inference_mode():
        torch.testing.assert_close(engine._forward(ids)[0], plain(input_ids=ids).logits[0, -1], rtol=1e-3, atol=1e-3)


def opened(folder: Path, paths: Paths, quantization: str) -> LocalEngine:
    settings = Settings(quantization=quantization)
    return LocalEngine(load_base(str(folder), paths, settings, lambda *_: None, dtype=torch.float32), paths)


def test_a_dora_is_mixed_with_an_8_bit_base_that_has_spoken_already(folder: Path, paths: Paths) -> None:
    tiny_adapter(paths.adapter("sized", 1), folder, dora=True, size=0.05)
    asked = ask("Count: 1 2 3", adapters=("sized/v1",))
    fresh, engine = text_of(run(opened(folder, paths, "int8"), asked)), opened(folder, paths, "int8")
    before = text_of(run(engine, ask("Count: 1 2 3")))
    assert text_of(run(engine, asked)) == fresh != before


@pytest.mark.parametrize("quantization", ["nf4", "int8", "none"])
def test_nothing_of_a_base_that_makes_room_stays_where_it_was(folder: Path, paths: Paths, quantization: str) -> None:
    engine = opened(folder, paths, quantization)
    run(engine, ask("Hello"))
    old = engine.base.arena.data
    places = range(old.data_ptr(), old.data_ptr() + old.numel())
    engine.park(keep_base=False)
    tensors = [item for item in gc.get_objects() if issubclass(type(item), torch.Tensor) and item is not old]
    assert not [item for item in tensors if item.data_ptr() in places]


def test_a_dora_without_its_magnitudes_is_damaged(engine: LocalEngine, folder: Path, paths: Paths) -> None:
    path = tiny_adapter(paths.adapter("sized", 1), folder)
    config = (path / "adapter_config.json").read_text("utf-8")
    (path / "adapter_config.json").write_text(config.replace('"use_dora": false', '"use_dora": true'), "utf-8")
    with pytest.raises(AdapterDamaged, match="lacks a part"):
        engine.load_adapter("sized/v1")


def test_an_untrained_adapter_is_the_base(engine: LocalEngine, folder: Path, paths: Paths) -> None:
    tiny_adapter(paths.adapter("new", 1), folder, size=0.0)
    assert text_of(run(engine, ask("Hello", adapters=("new/v1",)))) == text_of(run(engine, ask("Hello")))


def test_an_adapter_on_a_network_disk_outlives_its_file(
    engine: LocalEngine, paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = engine.load_adapter("mine/v1").digest
    engine._residents.clear()
    monkeypatch.setattr("sessions.engine.reading.network_kind", lambda folder: "nfs4")
    assert engine.load_adapter("mine/v1").digest == local
    engine._residents.activate([(engine._residents.get("mine/v1"), 1.0)])
    before = engine._forward.apart((3, 4))
    os.truncate(paths.adapter("mine", 1) / "adapter_model.safetensors", 0)
    assert torch.equal(engine._forward.apart((3, 4)), before)


def test_a_changed_adapter_is_read_again(engine: LocalEngine, folder: Path, paths: Paths) -> None:
    first = engine.load_adapter("mine/v1")
    assert engine.load_adapter("mine/v1").reused
    tiny_adapter(paths.adapter("mine", 1), folder, seed=9, rank=16)
    again = engine.load_adapter("mine/v1")
    assert not again.reused and again.digest != first.digest


def published(paths: Paths, folder: Path, seed: int) -> str:
    """A version of `new` as a run makes it."""
    made = tiny_adapter(paths.home / "made" / "v1", folder, seed=seed)
    return Registry(paths).publish(made, Lineage(adapter="new", version=0, parent="base", base_model=str(folder)))


@pytest.mark.parametrize("checksum", [True, False])
def test_a_byte_that_changed_since_is_noticed(engine: LocalEngine, folder: Path, paths: Paths, checksum: bool) -> None:
    published(paths, folder, 1)
    place = paths.adapter("new", 1)
    if not checksum:
        known = lineage.read(place / lineage.FILE, "new", 1)
        (place / lineage.FILE).write_bytes(msgspec.structs.replace(known, checksum="").encoded())
    assert engine.load_adapter("new/v1").digest
    weights = bytearray((place / "adapter_model.safetensors").read_bytes())
    weights[-1] ^= 1
    (place / "adapter_model.safetensors").write_bytes(weights)
    with pytest.raises(AdapterDamaged, match="not what was published"):
        engine.load_adapter("new/v1")
    with pytest.raises(AdapterDamaged):
        run(engine, ask("Hello", adapters=("new/v1",)))


def test_a_new_version_under_an_old_name_is_another_one(engine: LocalEngine, folder: Path, paths: Paths) -> None:
    published(paths, folder, 1)
    weights = paths.adapter("new", 1) / "adapter_model.safetensors"
    first, about = text_of(run(engine, ask("Count: 1 2 3", adapters=("new/v1",)))), weights.stat()
    Registry(paths).rename("new", "old")
    assert engine.load_adapter("old/v1").reused and engine.resident() == ("old/v1",)
    published(paths, folder, 2)
    os.utime(weights, ns=(about.st_atime_ns, about.st_mtime_ns))
    assert weights.stat().st_size == about.st_size
    second = text_of(run(engine, ask("Count: 1 2 3", adapters=("new/v1",))))
    assert second != first == text_of(run(engine, ask("Count: 1 2 3", adapters=("old/v1",))))


def test_the_least_recently_used_adapter_goes_first(engine: LocalEngine) -> None:
    engine._residents._most = 1
    engine.load_adapter("mine/v1")
    engine.load_adapter("mine/v2")
    assert engine.resident() == ("mine/v2",)


def test_a_layer_whose_rows_come_as_one_computes_the_same() -> None:
    linear, source = torch.nn.Linear(8, 6), torch.Generator().manual_seed(1)
    model = torch.nn.ModuleDict({"linear": linear})
    residents = Residents(model)
    delta = Delta(torch.randn(2, 8, generator=source), torch.randn(6, 2, generator=source), 0.5)
    adapter = Adapter("mine/v1", "1", (0, 0), {"linear": delta})
    residents.add(adapter)
    residents.activate([(None, 0.0), (adapter, 1.0), (None, 0.0)])
    x = torch.randn(3, 5, 8, generator=source)
    with torch.inference_mode():
        expected = linear(x)
        expected[1] += x[1] @ delta.a.T @ delta.b.T * 0.5
        torch.testing.assert_close(model["linear"](x), expected)
        torch.testing.assert_close(model["linear"](x.flatten(0, 1)), expected.flatten(0, 1))


def test_an_adapter_of_queries_alone_passes_its_probe(engine: LocalEngine, folder: Path, paths: Paths) -> None:
    from safetensors.torch import load_file, save_file

    place = tiny_adapter(paths.adapter("queries", 1), folder)
    weights = load_file(place / "adapter_model.safetensors")
    save_file({key: item for key, item in weights.items() if "q_proj" in key}, place / "adapter_model.safetensors")
    engine.load_adapter("queries/v1")
    assert engine.resident() == ("queries/v1",)


def test_an_adapter_of_another_base_of_the_same_shape_is_refused(
    engine: LocalEngine, folder: Path, paths: Paths
) -> None:
    def made_for(model: str, digest: str) -> None:
        path = tiny_adapter(paths.adapter("alike", 1), folder) / lineage.FILE
        known = lineage.read(path, "alike", 1)
        path.write_bytes(msgspec.structs.replace(known, base_model=model, base_digest=digest).encoded())

    made_for("org/other", "0" * 64)
    with pytest.raises(AdapterMismatch, match="org/other"):
        engine.load_adapter("alike/v1")
    for model, digest in ((engine.info.name, "0" * 64), ("org/other", engine.base.digest), ("org/other", "")):
        made_for(model, digest)
        assert engine.load_adapter("alike/v1").adapter == "alike/v1"
