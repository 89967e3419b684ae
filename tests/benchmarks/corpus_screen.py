"""The Corpus screen of a home, opened once: `python -m tests.benchmarks.corpus_screen FOLDER`.

Prints JSON: milliseconds from F3 to painted rows and to painted counts, from the key of the pairs to theirs,
and the peak memory in MiB. The real app on a store in FOLDER/home, the host's engine a fake.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.tui.driving import Driven, driven

WAITED = 30.0


def main() -> None:
    """Open, measure, print."""
    sys.stdout.write(json.dumps(asyncio.run(measure(Path(sys.argv[1])))) + "\n")


async def measure(folder: Path) -> dict[str, float]:
    """The figures; the first opening of a process, its imports included."""
    async with driven(folder, size=(120, 40)) as it:
        store = it.app.workspace.store
        newest, total = store.page(limit=1)[0].prompt[:12], store.count()
        began = time.perf_counter()
        it.app.simulate_key("f3")
        rows = await _until(it, began, lambda: newest in it.shown())
        counts = await _until(it, began, lambda: f"all {total:,}" in it.shown())
        began = time.perf_counter()
        it.app.simulate_key("6")
        pairs = await _until(it, began, lambda: "Rejected" in it.shown())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"rows": rows, "counts": counts, "pairs": pairs, "peak": peak}


async def _until(it: Driven, began: float, holds: Callable[[], bool]) -> float:
    """Milliseconds since `began` when something is on the screen."""
    while not holds():
        if time.perf_counter() - began > WAITED:
            raise AssertionError(f"It was never painted; the screen:\n{it.shown()}")
        await asyncio.sleep(0.001)
    return 1000 * (time.perf_counter() - began)


if __name__ == "__main__":
    main()
