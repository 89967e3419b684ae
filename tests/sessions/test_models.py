"""Which model a name means, which one opens unasked, and what is shown where one cannot be had."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sessions.errors import LlamaTuiError, ModelNotFound, ModelUnusable
from sessions.models import (
    DEMO,
    LLAMA_2_CHAT,
    OPEN_CHAT,
    STARTER,
    Source,
    absolute,
    default_model,
    hub_name,
    locate,
    located,
    on_disk,
    resolve,
)
from sessions.paths import Paths
from sessions.settings import Settings
from tests.models import put_into_hub_cache, put_starter, tiny_llama

pytestmark = pytest.mark.usefixtures("paths")


def nothing(*_: object) -> None:
    """No progress."""


def test_a_folder_is_itself(tmp_path: Path) -> None:
    folder = tiny_llama(tmp_path / "model")
    assert resolve(str(folder), nothing) == Source(str(folder), folder.resolve())


@pytest.mark.parametrize("name", ["./nowhere", "/no/such/folder", "~/nowhere-at-all", "a/b/c", "gone.gguf"])
def test_a_path_that_is_not_there_is_named(name: str) -> None:
    with pytest.raises(ModelNotFound, match="no folder or GGUF file") as raised:
        resolve(name, nothing)
    assert "--model smollm2" in raised.value.remedy and f"models get {OPEN_CHAT}" in raised.value.remedy


def test_an_unknown_word_is_answered_with_the_names_there_are() -> None:
    with pytest.raises(ModelNotFound) as raised:
        resolve("gpt", nothing)
    assert all(name in raised.value.remedy for name in ("7b-chat", "demo", "smollm2", "models list"))


def test_a_folder_of_pickles_is_refused_with_the_way_to_convert(tmp_path: Path) -> None:
    folder = tiny_llama(tmp_path / "model")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelUnusable) as raised:
        resolve(str(folder), nothing)
    assert "convert" in raised.value.remedy


@pytest.mark.parametrize("with_config", [True, False])
def test_a_folder_of_gguf_files_is_answered_with_the_path_of_one(tmp_path: Path, with_config: bool) -> None:
    (tmp_path / "b.Q4_0.gguf").touch()
    if with_config:
        (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelUnusable) as raised:
        resolve(str(tmp_path), nothing)
    assert str(tmp_path / "b.Q4_0.gguf") in raised.value.remedy


def test_a_folder_that_lacks_a_shard_is_not_complete(tmp_path: Path) -> None:
    folder = tiny_llama(tmp_path / "model")
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "gone.safetensors"}}', "utf-8")
    with pytest.raises(ModelUnusable, match="not complete"):
        resolve(str(folder), nothing)


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"weight_map": 3}'])
def test_a_damaged_index_is_named(tmp_path: Path, content: str) -> None:
    folder = tiny_llama(tmp_path / "model")
    (folder / "model.safetensors.index.json").write_text(content, "utf-8")
    with pytest.raises(ModelUnusable, match=r"index\.json"):
        resolve(str(folder), nothing)


def test_short_names() -> None:
    assert hub_name("7b-chat") == LLAMA_2_CHAT and hub_name("13B") == "meta-llama/Llama-2-13b-hf"
    assert hub_name("smollm2") == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert hub_name("me/mine") == "me/mine" and hub_name("demo") == "demo"


def test_names_that_are_no_paths_stay_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("demo", "7b-chat", "smollm2"):
        (tmp_path / name).mkdir()
        assert absolute(name) == name
    assert absolute("SmolLM2") == "smollm2" and absolute("Demo") == "demo" and absolute("me/mine") == "me/mine"
    (tmp_path / "mine").mkdir()
    assert absolute("mine") == str(tmp_path / "mine")


# the default


def test_the_configured_model_is_the_default(paths: Paths) -> None:
    put_starter(paths)
    assert default_model(Settings(model="me/mine")) == "me/mine"


def test_without_anything_the_demo_opens(monkeypatch: pytest.MonkeyPatch) -> None:
    for gpu in (False, True):
        monkeypatch.setattr(locate, "has_nvidia", lambda gpu=gpu: gpu)
        assert default_model(Settings()) == DEMO


def test_the_starter_model_opens_where_it_is_on_disk(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    file = put_starter(paths)
    for gpu in (False, True):
        monkeypatch.setattr(locate, "has_nvidia", lambda gpu=gpu: gpu)
        assert default_model(Settings()) == STARTER
    with file.open("ab") as longer:
        longer.write(b"x")
    assert default_model(Settings()) == DEMO  # not the file that is expected


def test_the_starter_model_may_come_from_the_hubs_cache(paths: Paths, tmp_path: Path) -> None:
    folder = tiny_llama(tmp_path / "model")
    snapshot = put_into_hub_cache(paths, "HuggingFaceTB/SmolLM2-135M-Instruct", folder)
    assert default_model(Settings()) == STARTER and resolve(STARTER, nothing) == Source(STARTER, snapshot)


@pytest.mark.parametrize("name", [LLAMA_2_CHAT, OPEN_CHAT])
def test_llama_2_opens_with_a_gpu_alone(
    name: str, paths: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_starter(paths)
    put_into_hub_cache(paths, name, tiny_llama(tmp_path / "model"))
    monkeypatch.setattr(locate, "has_nvidia", lambda: False)
    assert default_model(Settings()) == STARTER
    monkeypatch.setattr(locate, "has_nvidia", lambda: True)
    assert default_model(Settings()) == name


def test_a_default_without_files_asks_for_no_client_of_the_hub() -> None:
    code = (
        "import sys; from sessions.models import default_model; from sessions.settings import Settings; "
        "default_model(Settings()); assert not {'huggingface_hub.file_download', 'httpx', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# the hub's cache


def test_a_model_of_the_hubs_cache_keeps_its_name(paths: Paths, tmp_path: Path) -> None:
    snapshot = put_into_hub_cache(paths, "me/mine", tiny_llama(tmp_path / "model"))
    assert on_disk("me/mine") == snapshot and resolve("me/mine", nothing).folder == snapshot


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors"])
def test_what_is_not_complete_in_the_hubs_cache_is_not_there(missing: str, paths: Paths, tmp_path: Path) -> None:
    folder = tiny_llama(tmp_path / "model")
    put_into_hub_cache(paths, "me/mine", folder)
    (folder / missing).unlink()
    assert on_disk("me/mine") is None and located("me/mine") is None


@pytest.mark.parametrize(("name", "word"), [("7b-chat", "HF_HUB_OFFLINE"), ("no such/name!", "no model")])
def test_offline_the_hub_cannot_be_reached(tmp_path: Path, name: str, word: str) -> None:
    code = (
        "import json, sys\nfrom sessions.models import resolve\nfrom sessions.errors import Failure, ModelNotFound\n"
        "try: resolve(sys.argv[1], lambda *_: None)\n"
        "except ModelNotFound as error: print(json.dumps([error.what, error.remedy]))\n"
        "assert 'torch' not in sys.modules\n"
    )
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code, name], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    what, remedy = json.loads(done.stdout)
    assert word in what and f"models get {OPEN_CHAT}" in remedy and "--model smollm2" in remedy


def test_every_refusal_is_ours() -> None:
    for name in ("", " ", "\0", "a b", "../..", "~nobody/x", "x" * 500, "\0.gguf", "~nobody/x.gguf"):
        with pytest.raises(LlamaTuiError):
            located(name) or resolve(name, nothing)
