"""The engine against `pipeline()` with bitsandbytes, on the same weights: a table, and JSON.

`python -m tests.benchmarks.bench_engine [--sizes 60m,300m] [--json FILE]`. Every figure comes from a fresh
process and is the median of five. Model files are made under --folder and kept.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from sessions.settings import Settings
from tests.benchmarks.engine_models import NEW, prepare


@dataclass(frozen=True)
class Row:
    """One line of the table: which measure of ours stands against which baseline, and what is asked."""

    name: str
    ours: str
    baseline: str
    unit: str
    asked: float
    more_is_better: bool = False


ROWS = (
    Row("decode", "decode", "decode", "tok/s", 1.2, True),
    Row("decode, r=64 adapter", "decode_adapter", "decode_adapter", "tok/s", 1.3, True),
    Row("first token, 2k history", "first_token", "first_token", "s", 10),
    Row(f"A/B, 2 × {NEW} tokens", "compare", "compare", "s", 2),
    Row("swap: disk → next token", "swap", "swap", "s", 10),
    Row("load to ready, second time", "second_load", "ready", "s", 5),
    Row("worker has the base", "worker_ready", "load_again", "s", 20),
)


def measured(module: str, *given: object) -> Any:
    """What a process of its own prints: a figure, or several by name."""
    command = [sys.executable, "-m", f"tests.benchmarks.{module}", *map(str, given)]
    # Both sides wait the same way: spinning threads would measure what else the machine does.
    environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise RuntimeError(f"{given} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def rows_of(folder: Path, size: str) -> list[dict[str, object]]:
    """All rows of one size, and the figures that have no such baseline."""
    model, home, found = prepare(folder, size), folder / f"{size}-home", []
    known: dict[str, float] = {}
    for row in ROWS:
        if row.baseline not in known:
            known[row.baseline] = measured("engine_baseline", row.baseline, model, home / "adapters" / "mine")
        ours, baseline = measured("engine_ours", row.ours, model, home), known[row.baseline]
        ratio = ours / baseline if row.more_is_better else baseline / ours
        found.append({"size": size, **asdict(row), "ours": ours, "baseline": baseline, "ratio": ratio})
        tell(found[-1])
    turn = measured("engine_ours", "in_turn", model, home)
    together = next(float(str(row["ours"])) for row in found if str(row["name"]).startswith("A/B"))
    found.append(alone(size, "A/B, against our own in turn", "×", together / turn, 0.6))
    found.append(
        alone(size, "host + worker, multiple of the base", "×", measured("engine_ours", "memory", model, home), 1.05)
    )
    return found + while_training(folder, size, model, home)


def while_training(folder: Path, size: str, model: Path, home: Path) -> list[dict[str, object]]:
    """How much less evenly tokens come while a run trains, and what that costs it; unscheduled beside it."""
    found = []
    for name, share in (("", Settings().chat_share), (", unscheduled", 0.0)):
        fresh = folder / f"{size}-training"
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.copytree(home / "cache", fresh / "cache")
        told = measured("engine_training", model, fresh, share)
        slower, kept = told["training_p99"] / told["idle_p99"], told["tokens_beside"] / told["tokens_alone"]
        found.append(alone(size, f"p99 between tokens in training{name}", "×", slower, 1.5))
        found.append(alone(size, f"training speed beside chat{name}", "×", kept, 0.75, "at least"))
    return found


def alone(size: str, name: str, unit: str, value: float, asked: float, bound: str = "at most") -> dict[str, object]:
    """A row that is its own measure."""
    row: dict[str, object] = {"size": size, "name": name, "unit": unit, "ours": value, "asked": asked, "bound": bound}
    tell(row)
    return row


def tell(row: dict[str, object]) -> None:
    """One line of the table."""
    ratio = f"{row['ratio']:>7.1f}×" if "ratio" in row else " " * 8
    baseline = f"{row['baseline']:>10.3f}" if "baseline" in row else " " * 10
    line = (
        f"{row['size']:>5}  {row['name']:<36} {row['ours']:>10.3f} {row['unit']:<6}{baseline} {ratio}  ({row['asked']})"
    )
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def machine() -> dict[str, object]:
    """Hardware and versions that the figures belong to."""
    import torch

    cpu = next((line for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines() if "model name" in line), "")
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
    names = ("torch", "transformers", "bitsandbytes", "peft")
    return {
        "cpu": cpu.partition(": ")[2],
        "cores": os.cpu_count(),
        "gpu": gpu,
        "capability": torch.backends.cpu.get_cpu_capability(),
        "load_before": os.getloadavg()[0],
        "python": platform.python_version(),
        **{name: version(name) for name in names},
    }


def main() -> None:
    """Run the rows of the sizes asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="60m,300m")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "llama-tui-bench")
    options = parser.parse_args()
    about = machine()
    rows = [row for size in options.sizes.split(",") for row in rows_of(options.folder, size)]
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps({"machine": about, "rows": rows}, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
