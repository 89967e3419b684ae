"""A GGUF file as a model folder: configuration, tokenizer, chat form, and files that are refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from gguf import GGUFReader
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoConfig, AutoTokenizer, LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from corpora.llama2 import encode_example, encode_prompt
from corpora.templates import LLAMA_2, OWN, PLAIN, form_of
from sessions.engine.base import load_base
from sessions.errors import LlamaTuiError, ModelUnusable
from sessions.model_words import tokenizer_of
from sessions.models import absolute, located
from sessions.models.gguf_file import read_header
from sessions.models.gguf_folder import gguf_folder, model_name
from sessions.paths import Paths
from sessions.settings import Settings
from tests.corpora.chat_templates import CHATML
from tests.ggufs import sentence_piece_words, write_gguf
from tests.models import tiny_llama

pytestmark = pytest.mark.usefixtures("one_thread")

ROPE = "rope_freqs.weight"


def nothing(*_: object) -> None:
    """No progress."""


def config_in(folder: Path) -> LlamaConfig:
    return AutoConfig.from_pretrained(folder)


def test_the_folder_is_read_by_transformers(chatml: Path, chatml_words: dict, paths: Paths, tmp_path: Path) -> None:
    folder = gguf_folder(write_gguf(tmp_path / "tiny.Q8_0.gguf", chatml, chatml_words))
    config, own = config_in(folder), config_in(chatml)
    same = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads")
    same += ("head_dim", "vocab_size", "max_position_embeddings", "tie_word_embeddings", "rope_parameters")
    assert [getattr(config, name) for name in same] == [getattr(own, name) for name in same]
    assert config.rms_norm_eps == pytest.approx(own.rms_norm_eps)
    said = [{"role": "user", "content": "Hello, who are you?"}]
    theirs = AutoTokenizer.from_pretrained(folder).apply_chat_template(
        said, add_generation_prompt=True, return_dict=False
    )
    assert theirs == encode_prompt(said, tokenizer_of(str(tmp_path / "tiny.Q8_0.gguf")))
    assert form_of(tokenizer_of(str(tmp_path / "tiny.Q8_0.gguf"))) == OWN


def test_the_folder_is_written_again_when_the_file_changes(
    chatml: Path, chatml_words: dict, paths: Paths, tmp_path: Path
) -> None:
    file = write_gguf(tmp_path / "tiny.gguf", chatml, chatml_words)
    folder = gguf_folder(file)
    before = (folder / "config.json").stat().st_mtime_ns
    assert gguf_folder(file) == folder and (folder / "config.json").stat().st_mtime_ns == before
    write_gguf(file, chatml, chatml_words, extra={"llama.context_length": 77})
    assert json.loads((gguf_folder(file) / "config.json").read_text())["max_position_embeddings"] == 77


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("llama-2-7b-chat.Q4_K_M.gguf", "llama-2-7b-chat"),
        ("llama-2-7b.q4_0.gguf", "llama-2-7b"),
        ("Llama-2-7b-hf-F16.gguf", "Llama-2-7b-hf"),
        ("SmolLM2-135M-Instruct.Q4_1.gguf", "SmolLM2-135M-Instruct"),
        ("model-IQ4_XS.gguf", "model"),
        ("model-UD-Q4_K_XL.gguf", "model"),
        ("Q4_0.gguf", "Q4_0"),
        ("model.v2.gguf", "model.v2"),
    ],
)
def test_a_files_name_without_its_quantization(file: str, name: str) -> None:
    assert model_name(Path("/x") / file) == name


def test_a_link_is_named_by_itself(chatml: Path, chatml_words: dict, paths: Paths, tmp_path: Path) -> None:
    file = write_gguf(tmp_path / "blob.gguf", chatml, chatml_words)
    (tmp_path / "llama-2-7b.Q4_0.gguf").symlink_to(file)
    found = located(str(tmp_path / "llama-2-7b.Q4_0.gguf"))
    assert found is not None and found.folder.name == "llama-2-7b"


def test_a_path_is_made_absolute_for_the_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tiny.gguf").touch()
    monkeypatch.chdir(tmp_path)
    assert absolute("tiny.gguf") == str(tmp_path / "tiny.gguf") == absolute("./tiny.gguf")


# Llama 2


def test_llama_2_is_asked_through_our_encoder(llama2_gguf: Path, paths: Paths, shared: Path) -> None:
    tokenizer = tokenizer_of(str(llama2_gguf))
    assert form_of(tokenizer) == LLAMA_2
    for dialog in json.loads((shared / "golden/llama2_dialogs.json").read_text())["dialogs"]:
        assert encode_prompt(dialog["messages"][:-1], tokenizer) == dialog["prompt_ids"]
        assert encode_example(dialog["messages"], tokenizer).ids == dialog["ids"]


@pytest.mark.parametrize(
    ("name", "template", "form"),
    [
        ("llama-2-7b.Q4_K_M.gguf", "", PLAIN),
        ("llama-2-13b-chat.Q4_K_M.gguf", "", LLAMA_2),
        ("llama-2-7b.Q4_K_M.gguf", "{{ '[INST] <<SYS>>' }}", LLAMA_2),
        ("tinyllama-1.1b-chat-v1.0.Q4_0.gguf", CHATML.template, OWN),
    ],
)
def test_the_form_is_decided_as_for_folders(
    name: str, template: str, form: str, shared: Path, paths: Paths, tmp_path: Path
) -> None:
    folder = tiny_llama(tmp_path / "model", shared / "llama2-tokenizer", layers=1)
    words = sentence_piece_words(shared / "llama2-tokenizer/tokenizer.model")
    extra = {"tokenizer.chat_template": template} if template else {}
    write_gguf(tmp_path / name, folder, words, extra=extra)
    assert form_of(tokenizer_of(str(tmp_path / name))) == form


# rotary embeddings and other Llamas


def llama_3_freqs(theta: float, head: int, factor: float) -> np.ndarray:
    """What llama.cpp's converter writes for Llama 3.1, from transformers' own frequencies."""
    scaled = {"rope_type": "llama3", "factor": factor, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    parameters = {**scaled, "original_max_position_embeddings": 8192, "rope_theta": theta}
    config = LlamaConfig(hidden_size=4 * head, num_attention_heads=4, rope_parameters=parameters)
    inverse, _ = ROPE_INIT_FUNCTIONS["llama3"](config, torch.device("cpu"))
    plain = 1.0 / theta ** (torch.arange(0, head, 2).float() / head)
    return (plain / inverse).numpy().astype(np.float32)


@pytest.mark.parametrize("factor", [8.0, 32.0])
def test_llama_3s_rope_is_recognized(
    factor: float, chatml: Path, chatml_words: dict, paths: Paths, tmp_path: Path
) -> None:
    freqs = llama_3_freqs(500000.0, 16, factor)
    file = write_gguf(
        tmp_path / "tiny.gguf",
        chatml,
        chatml_words,
        extra={"llama.rope.freq_base": 500000.0},
        tensors={ROPE: freqs},
    )
    found = config_in(gguf_folder(file)).rope_parameters
    assert found["rope_type"] == "llama3" and found["factor"] == pytest.approx(factor)
    base = load_base(str(file), paths, Settings(quantization="none"), nothing, dtype=torch.float32)
    plain = 1.0 / 500000.0 ** (torch.arange(0, 16, 2).float() / 16)
    assert torch.allclose(base.model.model.rotary_emb.inv_freq, plain / torch.from_numpy(freqs), rtol=1e-5)


@pytest.mark.parametrize(
    "extra",
    [
        {"llama.rope.scaling.type": "linear", "llama.rope.scaling.factor": 4.0},
        {"llama.rope.scale_linear": 4.0},
    ],
)
def test_a_linear_scale_is_taken_over(
    extra: dict, chatml: Path, chatml_words: dict, paths: Paths, tmp_path: Path
) -> None:
    found = config_in(
        gguf_folder(write_gguf(tmp_path / "tiny.gguf", chatml, chatml_words, extra=extra))
    ).rope_parameters
    assert (found["rope_type"], found["factor"]) == ("linear", 4.0)


@pytest.mark.parametrize(
    ("extra", "tensors", "said"),
    [
        ({"llama.rope.scaling.type": "yarn", "llama.rope.scaling.factor": 4.0}, {}, "'yarn'"),
        ({"llama.rope.dimension_count": 8}, {}, "a part of each head"),
        ({}, {ROPE: np.linspace(1, 9, 8, dtype=np.float32)}, "not Llama 3's"),
        ({}, {ROPE: np.ones(3, np.float32)}, "not Llama 3's"),
        ({"llama.expert_count": 8}, {}, "mixture of experts"),
        ({"llama.attention.head_count_kv": [2, 1]}, {}, "different sizes"),
        ({}, {"blk.0.attn_q_norm.weight": np.ones(16, np.float32)}, "attn_q_norm"),
        ({"tokenizer.ggml.pre": "viking"}, {}, "viking"),
    ],
)
def test_what_is_no_plain_llama_is_refused(
    extra: dict, tensors: dict, said: str, chatml: Path, chatml_words: dict, paths: Paths, tmp_path: Path
) -> None:
    file = write_gguf(tmp_path / "tiny.gguf", chatml, chatml_words, extra=extra, tensors=tensors)
    with pytest.raises(ModelUnusable, match=said) as raised:
        located(str(file))
    assert str(file) in raised.value.what and raised.value.data and raised.value.remedy


def test_another_architecture_is_refused_by_name(
    chatml: Path, chatml_words: dict, paths: Paths, tmp_path: Path
) -> None:
    file = write_gguf(tmp_path / "tiny.gguf", chatml, chatml_words, architecture="qwen2")
    with pytest.raises(ModelUnusable, match="'qwen2'"):
        located(str(file))


# damage


@pytest.fixture(scope="module")
def content(chatml: Path, chatml_words: dict, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write_gguf(tmp_path_factory.mktemp("whole") / "tiny.gguf", chatml, chatml_words).read_bytes()


@pytest.mark.parametrize(
    "damage", [b"", b"GGUF", b"ggml" * 100, b"GGUF\x01\0\0\0" + b"\0" * 100, b"GGUF" + b"\xff" * 99]
)
def test_what_is_no_gguf_is_refused(damage: bytes, paths: Paths, tmp_path: Path) -> None:
    (tmp_path / "bad.gguf").write_bytes(damage)
    with pytest.raises(ModelUnusable, match=r"bad\.gguf is not a complete GGUF file"):
        located(str(tmp_path / "bad.gguf"))


@given(data=st.data())
@settings(max_examples=150, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_header_is_an_error_for_people(data: st.DataObject, content: bytes, paths: Paths) -> None:
    """No byte of the header, changed, leads to anything but a folder or an error of ours; nor does a cut."""
    place = data.draw(st.integers(0, 6000))
    changed = bytearray(content)
    changed[place] = data.draw(st.integers(0, 255))
    end = data.draw(st.sampled_from([len(content), place, place // 2]))
    file = paths.cache.parent / "flipped.gguf"
    file.write_bytes(changed[:end])
    try:
        located(str(file))
    except LlamaTuiError as error:
        assert "flipped.gguf" in error.what and error.remedy


def test_an_unwritable_cache_is_said(
    chatml: Path, chatml_words: dict, paths: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_gguf(tmp_path / "tiny.gguf", chatml, chatml_words)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LLAMA_TUI_CACHE", str(tmp_path / "file"))
    with pytest.raises(LlamaTuiError) as raised:
        located(str(file))
    assert "LLAMA_TUI_CACHE" in raised.value.remedy


def test_the_header_is_what_the_gguf_package_reads(chatml: Path, chatml_words: dict, tmp_path: Path) -> None:
    file = write_gguf(
        tmp_path / "tiny.gguf", chatml, chatml_words, extra={"general.alignment": 64, "general.file_type": 0}
    )
    ours, theirs = read_header(file), GGUFReader(file)
    fields = {key: field.contents() for key, field in theirs.fields.items() if not key.startswith("GGUF.")}
    assert ours.metadata == fields
    assert {name: place.offset for name, place in ours.tensors.items()} == {
        tensor.name: tensor.data_offset for tensor in theirs.tensors
    }
    assert {name: place.shape[::-1] for name, place in ours.tensors.items()} == {
        tensor.name: tuple(tensor.shape) for tensor in theirs.tensors
    }


def test_the_terminal_reads_a_gguf_files_tokenizer_without_torch(
    chatml: Path, chatml_words: dict, paths: Paths, tmp_path: Path
) -> None:
    file = write_gguf(tmp_path / "tiny.gguf", chatml, chatml_words)
    code = (
        "import sys; from sessions.model_words import tokenizer_of; tokenizer_of(sys.argv[1]); "
        "assert not {'torch', 'transformers', 'gguf', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(file)], check=True)
