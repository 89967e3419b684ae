"""Every hostile file: a clear message or refused rows, within 512 MiB, and the store whole afterwards."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

LIMIT_MIB = 512
pytestmark = pytest.mark.slow
CHILD = """
import json, sys, time
from pathlib import Path
from corpora.errors import LlamaTuiError
from corpora.store import Store
from corpora.transfer import import_files
from tests.corpora.hostile import hostile_files

folder = Path(sys.argv[1])
(folder / "files").mkdir()
told = []
with Store(folder / "corpus.db") as store:
    for path in hostile_files(folder / "files"):
        start = time.monotonic()
        try:
            report = import_files(store, [path])
            said = [f"{row.line}: {row.reason}" for row in report.refused[:3]]
            outcome = {"new": report.new + report.duplicates, "refused": report.refused_rows, "said": said}
        except LlamaTuiError as error:
            outcome = {"error": str(error), "what": error.what, "remedy": error.remedy}
        told.append({"file": path.name, "seconds": time.monotonic() - start, **outcome})
        # Not ru_maxrss: that starts at the size of the process which forked this one.
        status = Path("/proc/self/status").read_text()
        peak = int(status.split("VmHWM:")[1].split()[0]) // 1024
        told[-1]["peak"] = peak
    problems = store.verify()
print(json.dumps({"told": told, "problems": problems}))
"""


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> dict:
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-c", CHILD, str(tmp_path_factory.mktemp("hostile"))]
    done = subprocess.run(command, check=False, cwd=root, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def test_there_are_two_hundred(outcome: dict) -> None:
    assert len(outcome["told"]) >= 200


def test_memory_stays_bounded(outcome: dict) -> None:
    before, over = 0, []
    for told in outcome["told"]:
        if told["peak"] > max(before, LIMIT_MIB):
            over.append((told["file"], told["peak"]))
        before = max(before, told["peak"])
    assert over == []


def test_each_is_answered_in_words(outcome: dict) -> None:
    for told in outcome["told"]:
        words = told.get("error") or " ".join(told["said"])
        assert words or told["new"] or told["refused"] == 0, told
        assert "Traceback" not in words and "object at 0x" not in words
        if "error" in told:
            assert told["remedy"] or "said" in told or told["what"].endswith("."), told


def test_each_is_answered_soon(outcome: dict) -> None:
    slow = [(told["file"], told["seconds"]) for told in outcome["told"] if told["seconds"] > 20]
    assert slow == []


def test_the_store_is_whole_afterwards(outcome: dict) -> None:
    assert outcome["problems"] == []


def test_good_rows_beside_bad_ones_come_in(outcome: dict) -> None:
    new = {told["file"]: told.get("new") for told in outcome["told"]}
    assert new["raw-bom.jsonl"] == 1
    told = {told["file"]: told for told in outcome["told"]}
    assert told["value-nan-array.json"]["refused"] == 1
    assert told["raw-html.json"]["what"].count("no format") == 1
