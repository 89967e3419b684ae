"""Chat while a run trains: how even the tokens come, and what it costs the training. Real worker, real flag.

Run as `python -m tests.benchmarks.engine_training MODEL HOME SHARE`, SHARE being the setting `chat_share`; 0 is two
processes that know nothing of each other. Prints a JSON object.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from statistics import median, quantiles

from corpora.dialog import Message
from sessions.engine.local import LocalEngine
from sessions.paths import Paths
from sessions.protocol import BASE, Generate, Prefilled, Sampling, Token
from sessions.training import events
from sessions.training.assignment import ChatFlag
from sessions.training.recipe import Recipe
from tests.benchmarks.engine_models import words
from tests.benchmarks.engine_ours import engine_of, paths_of
from tests.sessions.training_help import assigned, fill, give, opened, prepared, spawn, wait_for

SECONDS = float(os.environ.get("BENCH_TRAINING_SECONDS", "60"))
REPLY, PAUSE = 2.0, 8.0
"""Seconds of writing and of silence: a reply is being generated a fifth of the time."""


def gaps(engine: LocalEngine, seconds: float, flag: ChatFlag, index: int) -> list[float]:
    """Seconds between the tokens of one reply that is stopped after so long; the flag is set as the host sets it."""
    sampling = Sampling(temperature=0, repetition_penalty=1, max_new_tokens=2000)
    said = (Message("user", f"{index} {words(64)}"),)
    deadline, told = time.perf_counter() + seconds, list[float]()
    flag.set(True)
    for step in engine.generate(
        Generate(id="1", dialog=said, adapters=(BASE,), sampling=sampling), lambda: time.perf_counter() > deadline
    ):
        if isinstance(step, Prefilled | Token):
            told.append(time.perf_counter())
    flag.set(False)
    return [later - earlier for earlier, later in pairwise(told)]


def chatting(engine: LocalEngine, flag: ChatFlag) -> list[float]:
    """Replies for a fifth of SECONDS, evenly."""
    found: list[float] = []
    for index in range(int(SECONDS / (REPLY + PAUSE))):
        found += gaps(engine, REPLY, flag, index)
        time.sleep(PAUSE)
    return found


@contextlib.contextmanager
def training(paths: Paths, model: Path, flag: Path, manifest: Path, share: float) -> Iterator[Callable[[], int]]:
    """A run under way in a worker of its own; gives a function that says how many tokens it has trained."""
    with opened(paths) as store:
        fill(store, 4000)
    run = prepared(paths, model, Recipe(epochs=50, held_out=0, batch_size=8, rank=16))
    process = spawn(threads=1)
    try:
        give(process, assigned(paths, run, base=str(manifest), chat_flag=str(flag), chat_share=share))
        wait_for(paths, run, lambda event: isinstance(event, events.Stepped) and event.step >= 3)
        yield lambda: _stepped(paths, run)[-1].tokens
    finally:
        process.kill()
        process.communicate()


def _stepped(paths: Paths, run: str) -> list[events.Stepped]:
    return [event for event, _ in events.read(paths.run(run)) if isinstance(event, events.Stepped)]


def rate(tokens: Callable[[], int], action: Callable[[], object]) -> float:
    """Trained tokens/s while something is done."""
    before, began = tokens(), time.perf_counter()
    action()
    return (tokens() - before) / (time.perf_counter() - began)


def p99(found: list[float]) -> float:
    """The hundredth that is longest begins here."""
    return quantiles(found, n=100)[98]


def main(model: Path, home: Path, share: float) -> dict[str, float]:
    """Idle and under training, in one process."""
    engine = engine_of(model, home)
    manifest = engine.share_base(home)
    assert manifest is not None
    flag = ChatFlag(home / "flag", create=True)
    idle = chatting(engine, flag)
    with training(paths_of(home), model, home / "flag", manifest, share) as tokens:
        alone = rate(tokens, lambda: time.sleep(SECONDS / 2))
        busy = list[float]()
        beside = rate(tokens, lambda: busy.extend(chatting(engine, flag)))
        alone = (alone + rate(tokens, lambda: time.sleep(SECONDS / 2))) / 2
    return {
        "idle_median": median(idle),
        "idle_p99": p99(idle),
        "training_median": median(busy),
        "training_p99": p99(busy),
        "tokens_alone": alone,
        "tokens_beside": beside,
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]))) + "\n")
