"""Which model a name means, and what is said where it cannot be had."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sessions.errors import LlamaTuiError, ModelNotFound, ModelUnusable
from sessions.models import LLAMA_2_CHAT, _bar, default_model, hub_name, resolve
from sessions.settings import Settings
from tests.models import tiny_llama


def nothing(*_: object) -> None:
    """No progress."""


def test_a_folder_is_itself(tmp_path: Path) -> None:
    folder = tiny_llama(tmp_path / "model")
    assert resolve(str(folder), nothing).folder == folder.resolve()


@pytest.mark.parametrize("name", ["./nowhere", "/no/such/folder", "~/nowhere-at-all", "a/b/c"])
def test_a_path_that_is_not_there_is_said(name: str) -> None:
    with pytest.raises(ModelNotFound, match="no folder") as raised:
        resolve(name, nothing)
    assert raised.value.remedy


def test_a_word_that_names_nothing_is_answered_with_the_names_there_are() -> None:
    with pytest.raises(ModelNotFound) as raised:
        resolve("gpt", nothing)
    assert "7b-chat" in raised.value.remedy and "demo" in raised.value.remedy


def test_a_folder_of_pickles_is_refused_with_the_way_to_convert(tmp_path: Path) -> None:
    folder = tiny_llama(tmp_path / "model")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelUnusable) as raised:
        resolve(str(folder), nothing)
    assert "convert" in raised.value.remedy


def test_a_folder_that_lacks_a_shard_is_not_whole(tmp_path: Path) -> None:
    folder = tiny_llama(tmp_path / "model")
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "gone.safetensors"}}', "utf-8")
    with pytest.raises(ModelUnusable, match="not whole"):
        resolve(str(folder), nothing)


def test_short_names_are_llama_2() -> None:
    assert hub_name("7b-chat") == LLAMA_2_CHAT and hub_name("13B") == "meta-llama/Llama-2-13b-hf"
    assert hub_name("me/mine") == "me/mine"


def test_the_configured_model_is_the_default() -> None:
    assert default_model(Settings(model="me/mine")) == "me/mine"


def test_the_bar_tells_bytes_and_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    told: list[float | None] = []
    bar = _bar("me/mine", lambda _, fraction: told.append(fraction))
    with bar(total=200, unit="B", desc="x", name="y") as bytes_read, bar(total=3) as files:
        bytes_read.update(50)
        files.update(1)
        bytes_read.update(150)
    assert told == [0.25, 1.0] and capfd.readouterr() == ("", "")


@pytest.mark.parametrize(("name", "word"), [("7b-chat", "HF_HUB_OFFLINE"), ("no such/name!", "no model")])
def test_offline_the_hub_is_said_to_be_out_of_reach(tmp_path: Path, name: str, word: str) -> None:
    code = (
        "import sys\nfrom sessions.models import resolve\nfrom sessions.errors import ModelNotFound\n"
        "try: resolve(sys.argv[1], lambda *_: None)\n"
        "except ModelNotFound as error: sys.stdout.write(str(error))\n"
        "assert 'torch' not in sys.modules\n"
    )
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code, name], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    assert word in done.stdout


def test_every_refusal_is_ours() -> None:
    for name in ("", " ", "\0", "a b", "../..", "~nobody/x", "x" * 500):
        with pytest.raises(LlamaTuiError):
            resolve(name, nothing)
