"""What a person feels: time of --help, of the first frame, and from a key to its letter while a reply streams.

Run: python -m tests.benchmarks.bench_terminal [--json FILE]. A real program in a real pty; the host is real,
its engine a fake that writes 100 words a second, so that the terminal alone is measured.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sessions import settings
from sessions.engine.fake import FakeEngine
from sessions.paths import Paths
from sessions.protocol import Generate
from tests.hosts import MODEL, host_in_thread
from tests.terminals import Terminal, program

RUNS = 5
ABSENT = "/no/such/model"
KEYS = "the quick brown fox jumps over the lazy dog "
PROSE = "Training goes on in a worker while words keep coming. " * 400
FENCE = "```python\n" + "value = compute(value)  # again\n" * 700 + "```"
LIST = "- one more point of a long list\n" * 500


def main() -> None:
    """Measure and print a table; with --json also write the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    figures = measure()
    for name, value in figures.items():
        print(f"{name:<58}{value:>10.1f} ms")
    if given.json:
        given.json.write_text(json.dumps({"hardware": hardware(), "milliseconds": figures}, indent=2) + "\n")


def hardware() -> dict[str, str | int | None]:
    """Where the figures were taken."""
    return {"machine": platform.machine(), "cores": os.cpu_count(), "python": platform.python_version()}


def measure() -> dict[str, float]:
    """All figures in milliseconds; medians of five runs unless a percentile is named."""
    figures = {
        "python -c pass (baseline)": median(lambda: spawned([sys.executable, "-c", "pass"])),
        "llama-tui --help": median(lambda: spawned([*program(), "--help"])),
    }
    with a_home() as paths:
        figures["first frame, no host yet"] = median(lambda: first_frame(ABSENT))
        with host_in_thread(paths, FakeEngine()):
            figures["first frame, warm host"] = median(lambda: first_frame(MODEL))
        for name, text in {"prose": PROSE, "one code fence": FENCE, "one list": LIST}.items():
            times = sorted(key_to_paint(paths, text))
            figures[f"key to paint while {name} streams, p50"] = times[len(times) // 2]
            figures[f"key to paint while {name} streams, p95"] = times[int(len(times) * 0.95)]
            figures[f"key to paint while {name} streams, max"] = times[-1]
        times = sorted(while_training(paths))
        figures["key to paint while the demo model writes and trains, p50"] = times[len(times) // 2]
        figures["key to paint while the demo model writes and trains, p95"] = times[int(len(times) * 0.95)]
    return figures


def median(run: Callable[[], float]) -> float:
    """Of RUNS runs, after one that warms the disk cache."""
    run()
    return statistics.median(run() for _ in range(RUNS))


def spawned(command: list[str]) -> float:
    """Milliseconds of a whole process."""
    began = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return (time.perf_counter() - began) * 1000


@contextmanager
def a_home() -> Iterator[Paths]:
    """A data home of its own for this process and its children."""
    with tempfile.TemporaryDirectory(prefix="bench") as folder:
        os.environ.update(LLAMA_TUI_HOME=f"{folder}/home", LLAMA_TUI_CACHE=f"{folder}/cache", XDG_RUNTIME_DIR=folder)
        paths = Paths.find()
        settings.save(paths.config, prepare_anchors=False)  # nothing else is computed while times are taken
        yield paths


def app(model: str) -> Terminal:
    """The program on a pty."""
    return Terminal([*program(), "--model", model], {}, columns=120, rows=40)


def first_frame(model: str) -> float:
    """Milliseconds from the start of the process to a whole screen with its footer."""
    with app(model) as terminal:
        seconds = terminal.wait(lambda text: "Corpus" in text and "all keys" in text)
        terminal.press("ctrl+q")
        terminal.wait_for_end()
    return seconds * 1000


def key_to_paint(paths: Paths, text: str) -> list[float]:
    """Milliseconds from each key to its letter on the screen, while `text` comes at 100 words a second."""

    def script(request: Generate, adapter: str) -> str:
        return text

    with host_in_thread(paths, FakeEngine(script=script, pause=0.01)), app(MODEL) as terminal:
        terminal.wait("Ask something")
        terminal.read(1.0)
        terminal.press("Go on", "enter")
        terminal.wait("tok/s")
        terminal.read(3.0)
        times = [typed(terminal, KEYS[: place + 1]) for place in range(len(KEYS.rstrip()))]
        terminal.press("escape")
        terminal.read(0.5)
    return times


def while_training(paths: Paths) -> list[float]:
    """The same with nothing faked: the demo model writes a wild reply while a run trains on 200 dialogs."""
    rows = paths.home / "rows.jsonl"
    rows.write_text("".join(json.dumps(row(number)) + "\n" for number in range(200)))
    subprocess.run([*program(), "corpus", "import", str(rows)], check=True, capture_output=True)
    with app("demo") as terminal:
        terminal.wait("demo", 60)
        for line in ("/set temperature 5", "/set max_new_tokens 1900", "/train epochs=40"):
            terminal.press(line, "enter")
            terminal.read(1.0)
        terminal.wait("enter starts")
        terminal.press("enter")
        terminal.wait("loss", 90)
        terminal.press("Go on", "enter")
        terminal.wait("esc stops", 60)
        times = [typed(terminal, KEYS[: place + 1]) for place in range(len(KEYS.rstrip()))]
        assert "loss" in terminal.text
        terminal.press("escape", "ctrl+q")
        terminal.read(1.0)
    subprocess.run([*program(), "host", "stop", "--force", "--model", "demo"], check=True, capture_output=True)
    return times


def row(number: int) -> dict[str, object]:
    """A dialog to train on."""
    asked, said = f"What is item {number}?", f"Item {number} is the one after {number - 1}."
    return {"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": said}]}


def typed(terminal: Terminal, so_far: str) -> float:
    """Milliseconds until the last letter of what was typed so far is there."""
    began = time.perf_counter()
    terminal.process.write(so_far[-1].encode())
    while so_far.rstrip() not in terminal.text:
        terminal.read(0.001)
        if time.perf_counter() - began > 10:
            raise AssertionError(f"{so_far!r} was never painted; the screen:\n{terminal.text}")
    return (time.perf_counter() - began) * 1000


if __name__ == "__main__":
    main()
