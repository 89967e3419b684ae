"""A GGUF file as a base: its weights, the engine's replies, its place in the cache."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType
from gguf.quants import dequantize, quantize
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, LlamaConfig

from corpora.llama2 import encode_prompt
from sessions.engine import gguf, source
from sessions.engine.base import load_base
from sessions.engine.local import LocalEngine
from sessions.engine.share import offer, open_shared
from sessions.errors import ModelUnusable
from sessions.models import resolve
from sessions.models.gguf_file import read_header
from sessions.models.gguf_folder import gguf_folder
from sessions.paths import Paths
from sessions.protocol import BASE, Generate, Message, Sampling, Token
from sessions.settings import Settings
from tests.ggufs import write_gguf
from tests.models import tiny_llama

pytestmark = pytest.mark.usefixtures("one_thread")

GREEDY = Sampling(temperature=0, repetition_penalty=1, top_k=0, top_p=1, max_new_tokens=12)


def nothing(*_: object) -> None:
    """No progress."""


@pytest.fixture(scope="module")
def content(chatml: Path, chatml_words: dict, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write_gguf(tmp_path_factory.mktemp("whole") / "tiny.gguf", chatml, chatml_words).read_bytes()


def replies(model: Path, paths: Paths, *, quantization: str = "none") -> list[str]:
    """What the engine answers greedily."""
    base = load_base(str(model), paths, Settings(quantization=quantization), nothing, dtype=torch.float32)
    engine = LocalEngine(base, paths)
    texts = []
    for prompt in ("What is the name of the cat?", "Count: 1 2 3"):
        request = Generate(id="1", dialog=(Message("user", prompt),), adapters=(BASE,), sampling=GREEDY)
        steps = engine.generate(request, lambda: False)
        texts.append("".join(step.text for step in steps if isinstance(step, Token)))
    return texts


@pytest.mark.parametrize("quantization", ["none", "nf4", "int8"])
def test_replies_are_those_of_the_same_model_as_a_folder(
    quantization: str, chatml: Path, chatml_words: dict, paths: Paths, tmp_path: Path
) -> None:
    file = write_gguf(tmp_path / "tiny.F32.gguf", chatml, chatml_words)
    found = replies(file, paths, quantization=quantization)
    assert any(found) and found == replies(chatml, paths, quantization=quantization)


KINDS = ("F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1")


@pytest.mark.parametrize("kind", KINDS)
def test_each_tensor_is_the_one_of_the_folder(
    kind: str, chatml: Path, chatml_words: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gguf, "ELEMENTS", 1000)  # less than a tensor, and no multiple of its rows
    number = GGMLQuantizationType[kind]
    file = write_gguf(tmp_path / "tiny.gguf", chatml, chatml_words, kind=number)
    found = {name: tensor for name, tensor, _ in gguf.gguf_tensors(file, config_in(chatml), torch.float32)}
    own = load_file(chatml / "model.safetensors")
    assert found.keys() == own.keys()
    for name, tensor in own.items():
        weight = tensor.float().numpy()
        used = number if weight.ndim > 1 else GGMLQuantizationType.F32
        expected = dequantize(quantize(weight, used), used)
        assert torch.equal(found[name], torch.from_numpy(np.asarray(expected, np.float32))), name


def config_in(folder: Path) -> LlamaConfig:
    return AutoConfig.from_pretrained(folder)


def test_no_more_than_a_few_rows_are_float32_at_a_time(
    chatml: Path, chatml_words: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_gguf(tmp_path / "tiny.gguf", chatml, chatml_words, kind=GGMLQuantizationType.Q8_0)
    sizes = []

    def counted(data: np.ndarray, kind: GGMLQuantizationType) -> np.ndarray:
        values = dequantize(data, kind)
        sizes.append(values.size)
        return values

    monkeypatch.setattr(gguf, "ELEMENTS", 1000)
    monkeypatch.setattr(gguf, "dequantize", counted)
    total = sum(tensor.numel() for _, tensor, _ in gguf.gguf_tensors(file, config_in(chatml), torch.bfloat16))
    assert max(sizes) <= 1000 < total == sum(sizes)


def test_a_tied_model_has_no_head_of_its_own(chatml_words: dict, chatml: Path, paths: Paths, tmp_path: Path) -> None:
    tied = tiny_llama(tmp_path / "tied", chatml, tied=True)
    file = write_gguf(tmp_path / "tied.gguf", tied, chatml_words)
    assert "output.weight" not in read_header(file).tensors
    assert replies(file, paths) == replies(tied, paths)


def test_a_worker_opens_the_base_of_a_gguf_file(chatml: Path, chatml_words: dict, paths: Paths, tmp_path: Path) -> None:
    file = write_gguf(tmp_path / "tiny.gguf", chatml, chatml_words, kind=GGMLQuantizationType.Q8_0)
    base = load_base(str(file), paths, Settings(), nothing)
    shared = open_shared(offer(base, tmp_path))
    ids = torch.arange(5, 20)[None]
    with torch.inference_mode():
        assert torch.equal(shared.model(ids).logits, base.model(ids).logits)
    assert encode_prompt([Message("user", "Hi")], shared.words.vocabulary)


def test_the_second_load_comes_from_the_cache(chatml: Path, chatml_words: dict, paths: Paths, tmp_path: Path) -> None:
    file = write_gguf(tmp_path / "tiny.gguf", chatml, chatml_words)
    found = [load_base(str(file), paths, Settings(), nothing).info.from_cache for _ in range(2)]
    assert found == [False, True]


def test_llama_2s_replies(llama2_gguf: Path, paths: Paths) -> None:
    folder = llama2_gguf.parent / "rounded"
    if not folder.exists():
        tiny = llama2_gguf.parent / "model"
        folder.mkdir()
        for path in tiny.iterdir():
            (folder / path.name).write_bytes(path.read_bytes())
        rounded = {name: tensor for name, tensor, _ in gguf.gguf_tensors(llama2_gguf, config_in(tiny), torch.float32)}
        save_file(rounded, folder / "model.safetensors")
    assert replies(llama2_gguf, paths) == replies(folder, paths)


def test_the_cache_key_is_that_of_the_content(chatml: Path, chatml_words: dict, paths: Paths, tmp_path: Path) -> None:
    file = write_gguf(tmp_path / "tiny.gguf", chatml, chatml_words)
    key = source.cache_key(resolve(str(file), nothing), "nf4")
    os.utime(file, ns=(1, 1))
    assert source.cache_key(resolve(str(file), nothing), "nf4") == key
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    assert source.cache_key(resolve(str(file), nothing), "nf4") != key


def test_the_digest_is_computed_once(
    chatml: Path, chatml_words: dict, paths: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_gguf(tmp_path / "tiny.gguf", chatml, chatml_words)
    folder = gguf_folder(file)
    digest = gguf.gguf_digest(file, folder)
    monkeypatch.setattr(gguf.xxhash, "xxh3_128", None)
    assert gguf.gguf_digest(file, folder) == digest
    (folder / gguf.DIGEST).write_text("{", "utf-8")
    with pytest.raises(TypeError):  # a damaged record is no record
        gguf.gguf_digest(file, folder)


@pytest.mark.parametrize("missing", [1, 1000, 200_000])
def test_a_file_that_is_cut_short_is_refused_before_anything_is_kept(
    missing: int, content: bytes, paths: Paths, tmp_path: Path
) -> None:
    (tmp_path / "short.gguf").write_bytes(content[:-missing])
    with pytest.raises(ModelUnusable, match=r"short\.gguf"):
        load_base(str(tmp_path / "short.gguf"), paths, Settings(), nothing)
    assert not list(paths.cache.glob("models/*"))


def test_a_file_without_one_of_its_tensors_is_refused(
    chatml: Path, chatml_words: dict, paths: Paths, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_bytes((chatml / "config.json").read_bytes())
    weights = load_file(chatml / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors")
    file = write_gguf(tmp_path / "tiny.gguf", folder, chatml_words)
    with pytest.raises(ModelUnusable, match="lacks 1 of its weights"):
        load_base(str(file), paths, Settings(), nothing)


def test_a_quantization_that_the_package_cannot_read_is_named(
    chatml: Path, chatml_words: dict, paths: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_gguf(tmp_path / "tiny.gguf", chatml, chatml_words, kind=GGMLQuantizationType.Q8_0)

    def unknown(*_: object) -> None:
        raise NotImplementedError

    with monkeypatch.context() as patch:
        patch.setattr(gguf, "dequantize", unknown)
        with pytest.raises(ModelUnusable, match=r"tiny\.gguf is quantized as (Q8_0|F32)"):
            load_base(str(file), paths, Settings(), nothing)
    data = bytearray(file.read_bytes())
    name = data.index(b"token_embd.weight") + len("token_embd.weight")
    data[name + 4 + 2 * 8] = 200  # after the count of dimensions and two of them: the type
    file.write_bytes(data)
    with pytest.raises(ModelUnusable, match="quantized as type 200"):
        load_base(str(file), paths, Settings(), nothing)
