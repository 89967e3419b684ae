"""How fast the corpora are: `python -m tests.benchmarks.bench_corpora [--rows N] [--json FILE]`.

Prints a table of each figure with its aim. Encoding is measured against the tokenizer's own batch
encoding of the same texts in the same run, and is left out where the real tokenizer is not at hand.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import resource
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from corpora.dataset import take_rows
from corpora.dialog import Status
from corpora.llama2 import encode_examples, render
from corpora.queries import parse
from corpora.selection import ALL_FILES, Selection, choose
from corpora.store import Filter, Store
from corpora.transfer import import_files

_TEXT = (
    "river stone light method answer water people small number reason house language model paper green music "
    "history travel bread winter process energy simple question letter garden market science window memory"
)
WORDS = _TEXT.split()
SHARED = Path(os.environ.get("LLAMA_TUI_SHARED", Path(__file__).resolve().parents[3] / "shared"))


@dataclass(frozen=True, slots=True)
class Figure:
    """One measurement; `ratio` is how much better than the aim it is (1 meets it)."""

    name: str
    value: float
    unit: str
    aim: float
    ratio: float


def main() -> None:
    """Measure all and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    about, figures = machine(), list(measure(chosen.rows))
    if chosen.json:
        told = {"machine": about, "exchanges": chosen.rows, "rows": [asdict(figure) for figure in figures]}
        chosen.json.write_text(json.dumps(told, indent=2) + "\n")
    for figure in figures:
        value, aim = f"{figure.value:>12,.1f} {figure.unit:<8}", f"aim {figure.aim:>10,.1f}"
        sys.stdout.write(f"{figure.name:<44}{value} {aim}   × {figure.ratio:.2f}\n")


def machine() -> dict[str, object]:
    """Where the figures were taken, and how busy it was before."""
    return {
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "load_before": os.getloadavg()[0],
    }


def measure(rows: int) -> Iterator[Figure]:
    """All figures, as they come."""
    with tempfile.TemporaryDirectory() as folder:
        source, path = Path(folder) / "rows.jsonl", Path(folder) / "home" / "corpus.db"
        texts = _write_rows(source, rows)
        yield from _importing(path, source, rows)
        yield from _browsing(path, rows)
        yield from _screen(Path(folder))
    yield from _encoding(texts[:3000])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    yield _less("memory of this process at its peak", peak, "MiB", 300)


def _importing(path: Path, source: Path, rows: int) -> Iterator[Figure]:
    with Store(path) as store:
        took = _seconds(lambda: import_files(store, [source]))
        yield _more("import of Alpaca JSONL", rows / took, "rows/s", 20_000)
        took = _seconds(lambda: import_files(store, [source]))
        yield _more("the same file again (all duplicates)", rows / took, "rows/s", 20_000)
        yield _less("search while the index is made, page", _search(store), "ms", 100)
        yield _less("search while the index is made, count", _search(store, count=True), "ms", 100)
        waiting, start = store.index_pending(1), time.perf_counter()
        while store.index_pending(5000):
            pass
        yield _more("index, at one go", waiting / (time.perf_counter() - start), "rows/s", 2_000)


def _browsing(path: Path, rows: int) -> Iterator[Figure]:
    def opening() -> None:
        with Store(path) as store:
            store.page()
            store.count()
            store.stats()

    yield _less("opening: store, first page, counts", _median(opening), "ms", 500)
    with Store(path) as store:
        yield _less("search, page of 200", _search(store), "ms", 100)
        yield _less("search, count", _search(store, count=True), "ms", 100)
        yield _less("search of two letters, page", _median(lambda: store.page(Filter(text="qx"))), "ms", 100)
        for query in ("rating:>=4", "script:latin len:>900", "date:today trained:no", "in:me/v1", "tag:x source:rows"):
            where = parse(query)
            took = _median(lambda where=where: (store.count(where), store.page(where)))  # type: ignore[misc]
            yield _less(f"filter {query}, count and page", took, "ms", 100)
        kept = Filter(statuses=(Status.KEPT,))
        yield _less("last page of a filter", _median(lambda: store.page(kept, offset=rows - 200)), "ms", 100)
        yield from _planning(store)
        chance = random.Random(0)
        status = _median(lambda: store.set_status([chance.randrange(1, rows)], chance.choice(list(Status))), 41)
        yield _less("status change, on disk", status, "ms", 20)
        yield _less("undo, on disk", _median(store.undo, 21), "ms", 20)
        yield _less(
            "status change of all, one action",
            _ms(lambda: store.set_status_where(Filter(), Status.DEFERRED)),
            "ms",
            5000,
        )


def _planning(store: Store) -> Iterator[Figure]:
    """What a run would train on: five corrections beside the import, then the import too."""
    for number in range(5):
        begun = store.begin(store.start_conversation().id, None, f"What is fact {number}?")
        store.correct(begun.id, f"Fact {number}.")
    five = _median(lambda: take_rows(store, choose(store, Selection()).wanted))
    yield _less("plan of a run: five corrections beside the import", five, "ms", 500)
    everything = _ms(lambda: take_rows(store, choose(store, Selection(files=ALL_FILES)).wanted))
    yield _less("plan of a run: all of it", everything, "ms", 10_000)


def _screen(folder: Path) -> Iterator[Figure]:
    """The real screen, each time in a process of its own."""
    command = [sys.executable, "-m", "tests.benchmarks.corpus_screen", str(folder)]
    runs = [json.loads(subprocess.run(command, check=True, capture_output=True).stdout) for _ in range(5)]
    found = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
    yield _less("Corpus screen: F3 to painted rows", found["rows"], "ms", 500)
    yield _less("Corpus screen: F3 to painted counts", found["counts"], "ms", 500)
    yield _less("Corpus screen: 6 to painted pairs", found["pairs"], "ms", 500)
    yield _less("Corpus screen: memory of the terminal", found["peak"], "MiB", 300)


def _encoding(texts: list[tuple[str, str]]) -> Iterator[Figure]:
    if not (SHARED / "llama2-tokenizer").is_dir():
        return
    from tokenizers import Tokenizer

    words = Tokenizer.from_file(str(SHARED / "llama2-tokenizer/tokenizer.json"))
    dialogs = [[{"role": "user", "content": p}, {"role": "assistant", "content": r}] for p, r in texts]
    whole = [render(dialog) for dialog in dialogs]
    plain = lambda: [encoding.ids for encoding in words.encode_batch(whole, add_special_tokens=False)]  # noqa: E731
    rounds = [(_seconds(lambda: encode_examples(dialogs, words)), _seconds(plain)) for _ in range(5)]
    ours, theirs = (statistics.median(column) for column in zip(*rounds, strict=True))
    tokens = sum(len(example.ids) for example in encode_examples(dialogs, words))
    yield _more("encoding of examples", tokens / ours, "tokens/s", 0.8 * tokens / theirs)


def _write_rows(path: Path, rows: int) -> list[tuple[str, str]]:
    """Rows like Alpaca's in length: about 70 characters asked, 700 answered."""
    chance, texts = random.Random(0), list[tuple[str, str]]()
    with path.open("w", encoding="utf-8") as file:
        for number in range(rows):
            prompt = f"{' '.join(chance.choices(WORDS, k=10))} {number}"
            reply = " ".join(chance.choices(WORDS, k=110)) + ("." if number % 20 else "。人工智能正在改变学习。")
            file.write(json.dumps({"instruction": prompt, "input": "", "output": reply}) + "\n")
            if len(texts) < 3000:
                texts.append((prompt, reply))
    return texts


def _search(store: Store, *, count: bool = False) -> float:
    """The slowest median over words that nearly all rows hold, some hold and none holds."""
    found = []
    for text in ("river stone", "77123", "nowhere", '"green music history"', "river 4512", "qx", "学习", "人工智能"):
        where = Filter(text=text)
        found.append(_median(lambda where=where: store.count(where) if count else store.page(where), 5))  # type: ignore[misc]
    return max(found)


def _median(work: Callable[[], object], times: int = 7) -> float:
    return statistics.median(_ms(work) for _ in range(times))


def _ms(work: Callable[[], object]) -> float:
    return 1000 * _seconds(work)


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _more(name: str, value: float, unit: str, aim: float) -> Figure:
    return Figure(name, value, unit, aim, value / aim)


def _less(name: str, value: float, unit: str, aim: float) -> Figure:
    return Figure(name, value, unit, aim, aim / max(value, 1e-9))


if __name__ == "__main__":
    main()
