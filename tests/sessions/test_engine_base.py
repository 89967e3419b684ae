"""Loading: what is refused, the quantized cache, one base in two processes, gradients on it."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from sessions.engine import source
from sessions.engine.arena import MANIFEST, read_manifest, save_manifest
from sessions.engine.base import LoadedBase, load_base
from sessions.engine.libraries import bnb, bnf
from sessions.engine.local import LocalEngine
from sessions.engine.share import open_shared
from sessions.errors import ModelUnusable
from sessions.models import Source
from sessions.paths import Paths
from sessions.protocol import Generate, Message, Sampling
from sessions.settings import Settings
from tests.models import tiny_llama

pytestmark = pytest.mark.usefixtures("one_thread")

IDS = torch.arange(5, 37)[None]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("model"))


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    import shutil

    return Path(shutil.copytree(original, tmp_path / "model"))


def load(folder: Path, paths: Paths, told: list[str] | None = None, **settings: str) -> LoadedBase:
    def progress(stage: str, _: float | None) -> None:
        if told is not None:
            told.append(stage)

    return load_base(str(folder), paths, Settings(**settings), progress)


def logits(base: LoadedBase) -> torch.Tensor:
    with torch.inference_mode():
        return base.model(IDS, use_cache=False).logits


def data_of(paths: Paths) -> Path:
    (found,) = (path for path in paths.cache.glob("models/*/base.bin") if not path.parent.name.endswith("-packed"))
    return found


@pytest.mark.parametrize("quantization", ["nf4", "int8", "none"])
def test_every_way_of_holding_the_base_comes_back_from_the_cache_bit_for_bit(
    folder: Path, paths: Paths, quantization: str
) -> None:
    first = load(folder, paths, quantization=quantization)
    second = load(folder, paths, quantization=quantization)
    assert not first.info.from_cache and second.info.from_cache
    assert first.digest == second.digest and torch.equal(logits(first), logits(second))
    kinds = {"nf4": bnb.nn.Linear4bit, "int8": bnb.nn.Linear8bitLt, "none": nn.Linear}
    assert type(second.model.model.layers[0].mlp.up_proj) is kinds[quantization]
    assert second.info.quantization == quantization and second.info.parameters > 100_000


def test_what_was_kept_in_another_format_goes(folder: Path, paths: Paths) -> None:
    load(folder, paths)
    made = next((paths.cache / "models").iterdir())
    older = made.rename(made.with_name("older"))
    save_manifest(older / MANIFEST, msgspec.structs.replace(read_manifest(older / MANIFEST), format=1))
    load(folder, paths)
    assert made.exists() and not older.exists()


def test_nf4_is_double_quantized_and_never_repacked(folder: Path, paths: Paths) -> None:
    base = load(folder, paths)
    layers = [module for module in base.model.modules() if isinstance(module, bnb.nn.Linear4bit)]
    assert len(layers) == 14
    for layer in layers:
        assert layer.weight.quant_state.nested and layer.weight.quant_state.quant_type == "nf4"
        assert layer.support_avx512bf16_for_cpu is False


def test_the_same_numbers_as_transformers_own_quantization(folder: Path, paths: Paths) -> None:
    weights = load_file(folder / "model.safetensors")
    base = load(folder, paths)
    for name in ("model.layers.0.self_attn.q_proj.weight", "model.layers.1.mlp.down_proj.weight"):
        packed, state = bnf.quantize_4bit(
            weights[name].to(base.dtype), blocksize=64, compress_statistics=True, quant_type="nf4"
        )
        ours = base.model.get_parameter(name)
        expected = bnf.dequantize_4bit(packed, state)
        assert torch.equal(bnf.dequantize_4bit(ours, ours.quant_state), expected)


@pytest.mark.parametrize("damage", ["flip", "cut", "manifest", "no data"])
def test_a_damaged_cache_is_made_again_with_a_notice(folder: Path, paths: Paths, damage: str) -> None:
    before = logits(load(folder, paths))
    data = data_of(paths)
    content = bytearray(data.read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 255
        data.write_bytes(content)
    elif damage == "cut":
        data.write_bytes(content[:1000])
    elif damage == "manifest":
        (data.parent / MANIFEST).write_text("{", "utf-8")
    else:
        data.unlink()
    told: list[str] = []
    again = load(folder, paths, told)
    assert any("damaged" in stage for stage in told) and not again.info.from_cache
    assert torch.equal(logits(again), before) and load(folder, paths).info.from_cache


def test_a_half_written_cache_is_not_taken_for_whole(folder: Path, paths: Paths) -> None:
    load(folder, paths)
    (data_of(paths).parent / MANIFEST).unlink()
    assert not load(folder, paths).info.from_cache


def test_a_changed_source_is_quantized_anew_and_the_old_cache_goes(folder: Path, paths: Paths) -> None:
    first = load(folder, paths)
    weights = load_file(folder / "model.safetensors")
    weights["lm_head.weight"] = weights["lm_head.weight"] * 2
    save_file(weights, folder / "model.safetensors")
    second = load(folder, paths)
    assert not second.info.from_cache and second.digest != first.digest
    assert len(list(paths.cache.glob("models/*"))) == 1


def test_without_room_for_a_cache_the_model_still_loads_and_is_shared(
    folder: Path, paths: Paths, tmp_path: Path
) -> None:
    before = logits(load(folder, paths))
    paths.cache.joinpath("models").rename(tmp_path / "away")
    paths.cache.joinpath("models").symlink_to("/proc/self/fdinfo")
    told: list[str] = []
    base = load(folder, paths, told)
    assert any("cannot be kept" in stage for stage in told) and torch.equal(logits(base), before)
    manifest = LocalEngine(base, paths).share_base(tmp_path)
    assert manifest is not None and torch.equal(logits(open_shared(manifest)), before)


def test_files_of_the_cache_are_private(folder: Path, paths: Paths) -> None:
    load(folder, paths)
    data = data_of(paths)
    assert data.stat().st_mode & 0o777 == 0o600 and data.parent.stat().st_mode & 0o777 == 0o700


def spoil(folder: Path, how: str) -> None:
    weights = folder / "model.safetensors"
    config = json.loads((folder / "config.json").read_text("utf-8"))
    if how == "cut weights":
        weights.write_bytes(weights.read_bytes()[:-5000])
    elif how == "header":
        weights.write_bytes(b"\xff" * 100)
    elif how == "lacks":
        tensors = load_file(weights)
        del tensors["model.layers.1.mlp.up_proj.weight"]
        save_file(tensors, weights)
    elif how == "pickle":
        weights.rename(folder / "pytorch_model.bin")
    elif how == "no tokenizer":
        (folder / "tokenizer.json").unlink()
    elif how == "tokenizer":
        (folder / "tokenizer.json").write_text("{}", "utf-8")
    elif how == "config":
        (folder / "config.json").write_text("[", "utf-8")
    else:
        changes = {"shape": {"hidden_size": 128}, "bert": {"model_type": "bert", "architectures": ["BertModel"]}}
        changes["own code"] = {"model_type": "mine", "auto_map": {"AutoConfig": "mine.Config"}}
        (folder / "config.json").write_text(json.dumps(config | changes[how]), "utf-8")


@pytest.mark.parametrize(
    "how",
    ["cut weights", "header", "lacks", "pickle", "no tokenizer", "tokenizer", "config", "shape", "bert", "own code"],
)
def test_an_unusable_model_is_refused_with_a_reason_and_a_way_out(folder: Path, paths: Paths, how: str) -> None:
    spoil(folder, how)
    with pytest.raises(ModelUnusable) as raised:
        load(folder, paths)
    assert raised.value.what and raised.value.remedy
    assert not list(paths.cache.glob("models/*/base.bin"))


def test_a_tied_head_and_sharded_weights_load(tmp_path: Path, paths: Paths) -> None:
    folder = tiny_llama(tmp_path / "tied", tied=True)
    tensors = load_file(folder / "model.safetensors")
    names = sorted(tensors)
    for part, keys in (("a", names[::2]), ("b", names[1::2])):
        save_file({key: tensors[key] for key in keys}, folder / f"part-{part}.safetensors")
    (folder / "model.safetensors").unlink()
    index = {"weight_map": {name: f"part-{'ab'[place % 2]}.safetensors" for place, name in enumerate(names)}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), "utf-8")
    base = load(folder, paths)
    assert base.model.lm_head.weight is base.model.model.embed_tokens.weight
    assert logits(base).isfinite().all()


def test_another_decoder_model_goes_through_the_same_door(tmp_path: Path, paths: Paths) -> None:
    from transformers import BloomConfig, BloomForCausalLM

    folder = tiny_llama(tmp_path / "bloom")
    for name in ("config.json", "generation_config.json", "model.safetensors"):
        (folder / name).unlink()
    torch.manual_seed(0)
    BloomForCausalLM(BloomConfig(vocab_size=474, hidden_size=64, n_layer=2, n_head=4)).save_pretrained(folder)
    base = load(folder, paths)
    assert any(isinstance(module, bnb.nn.Linear4bit) for module in base.model.modules())
    request = Generate(id="1", dialog=(Message("user", "Hello"),), sampling=Sampling(max_new_tokens=4))
    assert list(LocalEngine(base, paths).generate(request, lambda: False))


def test_the_worker_computes_bit_for_bit_what_the_host_does(folder: Path, paths: Paths, tmp_path: Path) -> None:
    base = load(folder, paths)
    manifest = LocalEngine(base, paths).share_base(tmp_path)
    code = (
        "import sys, torch, hashlib; torch.set_num_threads(1)\n"
        "from pathlib import Path\n"
        "from sessions.engine.share import open_shared\n"
        "base = open_shared(Path(sys.argv[1]))\n"
        "with torch.inference_mode(): found = base.model(torch.arange(5, 37)[None], use_cache=False).logits\n"
        "sys.stdout.write(hashlib.sha256(found.view(torch.uint8).numpy().tobytes()).hexdigest())\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(manifest)], capture_output=True, text=True, check=True)
    assert done.stdout == hashlib.sha256(logits(base).view(torch.uint8).numpy().tobytes()).hexdigest()


def test_training_on_the_shared_base_never_changes_it(folder: Path, paths: Paths, tmp_path: Path) -> None:
    host = load(folder, paths)
    content = hashlib.sha256(data_of(paths).read_bytes()).hexdigest()
    before = logits(host)
    manifest = LocalEngine(host, paths).share_base(tmp_path)
    assert manifest is not None
    worker = open_shared(manifest)
    logits(worker)
    model = lora_on(worker)
    optimizer = torch.optim.AdamW([item for item in model.parameters() if item.requires_grad], lr=0.01)
    for _ in range(3):
        model(IDS, labels=IDS).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.get_base_model().model.layers[0].input_layernorm.weight.data.add_(1)
    assert hashlib.sha256(data_of(paths).read_bytes()).hexdigest() == content
    assert torch.equal(logits(host), before)


def lora_on(base: LoadedBase) -> nn.Module:
    import peft

    torch.manual_seed(5)
    config = peft.LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights=False)
    return peft.get_peft_model(base.model, config).train()


def unquantized(base: LoadedBase) -> nn.Module:
    """The same model with plain layers that hold the dequantized weights."""
    model = copy.deepcopy(source_model(base))
    for name, module in list(base.model.named_modules()):
        if isinstance(module, bnb.nn.Linear4bit):
            plain = nn.Linear(module.in_features, module.out_features, bias=False)
            plain.weight = nn.Parameter(bnf.dequantize_4bit(module.weight, module.weight.quant_state).float())
            parent, _, leaf = name.rpartition(".")
            setattr(model.get_submodule(parent), leaf, plain.requires_grad_(False))
    return model


def source_model(base: LoadedBase) -> nn.Module:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(base.manifest.source, dtype=torch.float32).requires_grad_(False)


@pytest.mark.parametrize("chats_before", [False, True])
def test_gradients_of_lora_are_right_also_after_chat(folder: Path, paths: Paths, chats_before: bool) -> None:
    base = load(folder, paths)
    exact = unquantized(base)
    if chats_before:
        engine = LocalEngine(base, paths)
        list(engine.generate(Generate(id="1", dialog=(Message("user", "Hello"),)), lambda: False))
        logits(base)
    import dataclasses

    tuned, reference = lora_on(base), lora_on(dataclasses.replace(base, model=exact))
    for model in (tuned, reference):
        model(IDS, labels=IDS).loss.backward()
    found, true = (flat_gradient(model) for model in (tuned, reference))
    assert torch.cosine_similarity(found, true, dim=0) >= 0.999


def flat_gradient(model: nn.Module) -> torch.Tensor:
    named = sorted((name, item.grad) for name, item in model.named_parameters() if item.grad is not None)
    return torch.cat([gradient.flatten().float() for _, gradient in named])


def test_the_key_of_the_cache_knows_files_and_settings(folder: Path) -> None:
    keys = {source.cache_key(Source("x", folder), "nf4"), source.cache_key(Source("x", folder), "int8")}
    (folder / "generation_config.json").write_text("{}", "utf-8")
    keys.add(source.cache_key(Source("x", folder), "nf4"))
    os.utime(folder / "model.safetensors", (1, 1))
    keys.add(source.cache_key(Source("x", folder), "nf4"))
    assert len(keys) == 4


def test_a_manifest_whose_host_is_gone_is_told(folder: Path, paths: Paths, tmp_path: Path) -> None:
    manifest = LocalEngine(load(folder, paths), paths).share_base(tmp_path)
    assert manifest is not None and read_manifest(manifest).data == str(data_of(paths))
    data_of(paths).unlink()
    with pytest.raises(ModelUnusable, match="gone"):
        open_shared(manifest)
