"""Findings of the doctor: facts without torch, a remedy with everything that is less than good."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from corpora.store import Store
from sessions.doctor import GB, Finding, Gpu, examine, gpus, judge_gpus, judge_libraries
from sessions.paths import Paths, private_folder
from sessions.settings import Settings

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


def test_models(paths: Paths, tmp_path: Path) -> None:
    assert "demo" in findings(paths)["model"].says
    missing = findings(paths, "meta-llama/Llama-2-13b-chat-hf")["model"]
    assert missing.judgement == "note" and "huggingface.co" in missing.remedy
    assert findings(paths, str(tmp_path))["model"].judgement == "good"


def test_a_runtime_folder_with_too_long_a_path(paths: Paths, tmp_path: Path) -> None:
    deep = Paths(paths.home, paths.cache, paths.config, tmp_path / ("x" * 100))
    assert findings(deep)["sockets"].judgement == "bad"
