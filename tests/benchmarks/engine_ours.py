"""The same measures on the project's engine, and those that only it has.

Run as `python -m tests.benchmarks.engine_ours MEASURE MODEL HOME`; prints a number as JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from corpora.dialog import Message
from sessions.engine.base import LoadedBase, load_base
from sessions.engine.kv import Row
from sessions.engine.local import LocalEngine
from sessions.engine.share import open_shared
from sessions.paths import Paths
from sessions.protocol import BASE, ColumnEnded, Generate, Sampling, Token
from sessions.settings import Settings
from tests.benchmarks.engine_models import NEW, REPEATS, words


def paths_of(home: Path) -> Paths:
    """A home of the benchmark's own."""
    return Paths(home, home / "cache", home / "config.toml", home)


def quiet(*_: object) -> None:
    """No progress."""


def load(model: Path, home: Path) -> LoadedBase:
    """The base, from the cache where it is there."""
    return load_base(str(model), paths_of(home), Settings(), quiet)


def engine_of(model: Path, home: Path) -> LocalEngine:
    """A warm engine whose replies never end by themselves."""
    base = load(model, home)
    object.__setattr__(base.words, "ends", frozenset[int]())
    engine = LocalEngine(base, paths_of(home), quiet)
    write(engine, [words(17)], 4)
    return engine


def write(engine: LocalEngine, said: list[str], count: int, *adapters: str) -> tuple[float, float, float]:
    """Seconds to the first token's ids, from there to the end, and in all."""
    sampling = Sampling(temperature=0, repetition_penalty=1, max_new_tokens=count)
    dialog = tuple(Message(("user", "assistant")[index % 2], text) for index, text in enumerate(said))
    request = Generate(id="1", dialog=dialog, adapters=adapters or (BASE,), sampling=sampling)
    began, first = time.perf_counter(), 0.0
    for step in engine.generate(request, lambda: False):
        first = first or (time.perf_counter() if isinstance(step, Token | ColumnEnded) else 0.0)
    ended = time.perf_counter()
    return first - began, ended - first, ended - began


def forget(engine: LocalEngine) -> None:
    """Start without keys and values; their memory stays reserved, as in a chat that goes on."""
    engine._kv.rows = [Row() for _ in engine._kv.rows]


def rate(engine: LocalEngine, *adapters: str) -> float:
    """Tokens/s of decoding alone."""

    def once() -> float:
        forget(engine)
        return NEW / (write(engine, [words(128)], NEW + 1, *adapters)[2] - fresh(engine, *adapters))

    return median(once() for _ in range(REPEATS))


def fresh(engine: LocalEngine, *adapters: str) -> float:
    """Seconds for one token without anything to reuse."""
    forget(engine)
    return write(engine, [words(128)], 1, *adapters)[2]


def decode(model: Path, home: Path) -> float:
    """Tokens/s."""
    return rate(engine_of(model, home))


def decode_adapter(model: Path, home: Path) -> float:
    """Tokens/s under a rank-64 adapter."""
    return rate(engine_of(model, home), "mine/v1")


def first_token(model: Path, home: Path) -> float:
    """Seconds to the first token of a turn after 2,000 tokens of history."""
    engine = engine_of(model, home)
    said = [words(1000), words(500), words(500)]
    write(engine, said, 1)

    def once(index: int) -> float:
        return write(engine, [*said, f"Good {index}.", f"{index} {words(20)}"], 1)[0]

    return median(once(index) for index in range(REPEATS))


def compare(model: Path, home: Path) -> float:
    """Seconds for both replies from one batch, nothing reused."""
    engine = engine_of(model, home)

    def once() -> float:
        forget(engine)
        return write(engine, [words(128)], NEW, BASE, "mine/v1")[2]

    return median(once() for _ in range(REPEATS))


def in_turn(model: Path, home: Path) -> float:
    """Seconds for both replies, one after the other."""
    engine = engine_of(model, home)

    def once() -> float:
        forget(engine)
        return write(engine, [words(128)], NEW)[2] + write(engine, [words(128)], NEW, "mine/v1")[2]

    return median(once() for _ in range(REPEATS))


def swap(model: Path, home: Path) -> float:
    """Seconds from an adapter on disk to the next token in a short chat: read, checked, probed, used."""
    engine = engine_of(model, home)
    write(engine, ["Hello"], 1, "mine/v1")

    def once() -> float:
        engine._residents.remove("mine/v2")
        forget(engine)
        return write(engine, ["Hello"], 1, "mine/v2")[2]

    return median(once() for _ in range(REPEATS))


def timed(action: Callable[[], object]) -> float:
    """Seconds."""
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def second_load(model: Path, home: Path) -> float:
    """Seconds until the engine can write, from the cache; imports are paid before."""
    LocalEngine(load(model, home), paths_of(home), quiet)
    return median(timed(lambda: LocalEngine(load(model, home), paths_of(home), quiet)) for _ in range(REPEATS))


def worker_ready(model: Path, home: Path) -> float:
    """Seconds until a worker has the base, after its imports; words it reads when it encodes its examples."""
    base = load(model, home)
    manifest = LocalEngine(base, paths_of(home), quiet).share_base(home)
    assert manifest is not None
    open_shared(manifest)
    return median(timed(lambda: open_shared(manifest)) for _ in range(REPEATS))


def memory(model: Path, home: Path) -> float:
    """Bytes that host and worker hold together, as a multiple of the base: mapped pages shared by their share."""
    base = load(model, home)
    manifest = LocalEngine(base, paths_of(home), quiet).share_base(home)
    code = (
        "import sys; from pathlib import Path\n"
        "from sessions.engine.share import open_shared\n"
        "base = open_shared(Path(sys.argv[1])); base.arena.data.long().sum()\n"
        "print('ready', flush=True); input()\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(manifest)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    child.stdout.readline()
    _ = [base.arena.data[start : start + (1 << 24)].long().sum() for start in range(0, base.manifest.size, 1 << 24)]
    data = base.manifest.data
    held = sum(_mapped(pid, data) for pid in ("self", str(child.pid)))
    child.communicate("\n")
    return held / base.manifest.size


def _mapped(pid: str, path: str) -> int:
    """Proportional bytes of one file's mappings in a process."""
    total, inside = 0, False
    for line in Path(f"/proc/{pid}/smaps").read_text("utf-8").splitlines():
        if "-" in line.split(" ", 1)[0]:
            inside = line.endswith(path)
        elif inside and line.startswith("Pss:"):
            total += int(line.split()[1]) * 1024
    return total


MEASURES = {
    found.__name__: found
    for found in (
        decode,
        decode_adapter,
        first_token,
        compare,
        in_turn,
        swap,
        second_load,
        worker_ready,
        memory,
    )  # fmt: skip
}

if __name__ == "__main__":
    sys.stdout.write(json.dumps(MEASURES[sys.argv[1]](Path(sys.argv[2]), Path(sys.argv[3]))) + "\n")
