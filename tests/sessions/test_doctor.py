"""Findings of the doctor: facts without torch, a remedy with everything that is less than good."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from corpora.store import Store
from sessions.doctor import GB, Finding, examine, judge_gpus, judge_libraries
from sessions.machine import Gpu, gpus
from sessions.models import OPEN_CHAT
from sessions.paths import Paths, private_folder
from sessions.settings import Settings
from tests.models import put_into_hub_cache, put_starter, tiny_llama

LARGE = Gpu("NVIDIA H200", int(140 * GB), int(139 * GB), (9, 0))


def findings(paths: Paths, model: str = "demo", **settings: object) -> dict[str, Finding]:
    return {each.name: each for each in examine(paths, Settings(**settings), model)}  # type: ignore[arg-type]


def test_every_finding_that_is_not_good_has_a_remedy_or_says_why(paths: Paths) -> None:
    found = findings(paths)
    assert {
        "program",
        "libraries",
        "GPU",
        "memory",
        "data home",
        "cache",
        "model",
        "sharing",
        "sockets",
    } <= found.keys()
    assert all(each.says for each in found.values())
    assert all(each.remedy for each in found.values() if each.judgement == "bad")
    assert not paths.corpus.exists() and not paths.home.exists()  # nothing is made


def test_no_torch_is_imported(paths: Paths) -> None:
    code = (
        "import sys; from sessions.doctor import examine; from sessions.paths import Paths; "
        "from sessions.settings import Settings; examine(Paths.find(), Settings(), 'demo'); "
        "assert not {'torch', 'transformers', 'bitsandbytes'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("gpu", "judgement", "said"),
    [
        (LARGE, "good", "H200"),
        (Gpu("GTX", int(4 * GB), int(4 * GB), (7, 5)), "note", "smaller models"),
        (Gpu("RTX", int(8 * GB), int(8 * GB), (8, 6)), "note", "max_length"),
        (Gpu("RTX", int(24 * GB), int(1 * GB), (8, 6)), "note", "nvidia-smi"),
    ],
)
def test_gpus_are_judged_by_what_they_hold(gpu: Gpu, judgement: str, said: str) -> None:
    (finding,) = judge_gpus([gpu], "", "2.13.0")
    assert finding.judgement == judgement and said in finding.says + finding.remedy


def test_a_torch_for_the_cpu_beside_a_gpu_is_bad() -> None:
    found = list(judge_gpus([LARGE], "", "2.13.0+cpu"))
    assert [each.judgement for each in found] == ["good", "bad"] and "pip install" in found[1].remedy
    (none,) = judge_gpus([], "no driver", "2.13.0+cpu")
    assert none.judgement == "note" and "no driver" in none.says


def test_gpus_are_asked_without_torch() -> None:
    found, reason = gpus()
    assert found or reason


def test_libraries_against_their_ranges() -> None:
    there = {"torch": "2.13.0+cpu", "rich": "13.9.4", "msgspec": "0.19"}
    wanted = ["torch>=2.8", "rich>=14.0", "msgspec>=0.19", "peft>=0.19", 'pytest>=8; extra == "dev"']
    found = list(judge_libraries(wanted, there.get))
    bad = [each.says for each in found if each.judgement == "bad"]
    assert bad == ["rich 13.9.4 is older than 14.0", "peft is missing"]
    assert "torch 2.13.0+cpu" in found[-1].says and "pytest" not in str(found)


def test_data_that_is_there(paths: Paths) -> None:
    private_folder(paths.home)
    with Store(paths.corpus) as store:
        store.start_conversation()
    assert "0 exchanges" in findings(paths)["corpus"].says
    paths.corpus.write_bytes(b"damaged" * 1000)
    broken = findings(paths)["corpus"]
    assert broken.judgement == "bad" and broken.remedy


def test_the_demo_model_is_a_note_with_the_way_to_a_real_one(paths: Paths, tmp_path: Path) -> None:
    demo = findings(paths)["model"]
    assert demo.judgement == "note" and "demo" in demo.says and "models get smollm2" in demo.remedy
    put_starter(paths)
    assert "--model smollm2` opens" in findings(paths)["model"].remedy
    put_into_hub_cache(paths, OPEN_CHAT, tiny_llama(tmp_path / "model"))
    assert f"--model {OPEN_CHAT}` opens" in findings(paths)["model"].remedy


def test_a_gated_model_that_is_not_here(paths: Paths) -> None:
    for name in ("13b-chat", "meta-llama/Llama-2-13b-chat-hf"):
        missing = findings(paths, name)["model"]
        assert missing.judgement == "note" and "not on this disk" in missing.says
        for part in ("huggingface.co/meta-llama/Llama-2-13b-chat-hf", "hours to days", f"models get {OPEN_CHAT}"):
            assert part in missing.remedy


def test_an_open_model_that_is_not_here(paths: Paths) -> None:
    for name in ("smollm2", OPEN_CHAT, "me/mine"):
        missing = findings(paths, name)["model"]
        assert missing.judgement == "note" and f"models get {name}` downloads it" in missing.remedy


def test_models_that_are_here(paths: Paths, tmp_path: Path) -> None:
    assert findings(paths, str(tmp_path))["model"].judgement == "good"
    put_starter(paths)
    starter = findings(paths, "smollm2")["model"]
    assert starter.judgement == "good" and "SmolLM2" in starter.says and "models list" in starter.remedy


def test_a_model_that_cannot_be_is_bad(paths: Paths) -> None:
    for name in ("./gone.gguf", "nonsense"):
        found = findings(paths, name)["model"]
        assert found.judgement == "bad" and "smollm2" in found.remedy


def test_the_command_is_a_finding(paths: Paths, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("python", "llama-tui"):
        (tmp_path / name).touch(0o755)
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    away = findings(paths)["command"]
    assert away.judgement == "note" and str(tmp_path / "llama-tui") in away.says and "export PATH" in away.remedy
    monkeypatch.setenv("PATH", str(tmp_path))
    assert findings(paths)["command"].judgement == "good"


def test_a_runtime_folder_with_too_long_a_path(paths: Paths, tmp_path: Path) -> None:
    deep = Paths(paths.home, paths.cache, paths.config, tmp_path / ("x" * 100))
    assert findings(deep)["sockets"].judgement == "bad"
