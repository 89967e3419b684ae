"""What learning keeps and what it breaks: `python -m tests.benchmarks.bench_learning [--model M] [--facts N] …`

By default one set of facts is taught to the model and measured. `--increments N` teaches N sets in a row, `--style`
a style, `--wrecked N` trains N times at 50 times the learning rate; `--all` measures everything the README's table
has. Seeds below 100 are for reports, seeds of 1000 and more for tuning. Models and anchors are cached in --cache.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from sessions.paths import Paths
from sessions.training.recipe import Recipe
from tests.benchmarks.bench_engine import machine
from tests.benchmarks.learning import scenarios
from tests.benchmarks.learning.measures import Measured
from tests.benchmarks.learning.scenarios import Bench, Result
from tests.benchmarks.learning.styles import STYLES

CACHE = Path(tempfile.gettempdir()) / "llama-tui-learning"
REPORT_SEEDS = (0, 1, 2)


def main() -> None:
    """Measure what was asked for, and print it; `--json` also keeps it."""
    options = parsed()
    warnings.simplefilter("ignore")
    about = {**machine(), "model": options.model, "settings": dict(options.set)}
    results: list[Result] = []
    for measure in chosen(options):
        began = time.monotonic()
        results.append(measure() | {"measured_in": round(time.monotonic() - began, 1)})
        tell(results[-1])
        if options.json:
            options.json.parent.mkdir(parents=True, exist_ok=True)
            written = json.dumps({"machine": about, "results": results}, indent=1, ensure_ascii=False)
            options.json.write_text(written + "\n", "utf-8")
    if options.all:
        sys.stdout.write(table(results) + "\n")


def parsed() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="smollm2", help="a name or a folder")
    parser.add_argument("--facts", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--increments", type=int, default=0, metavar="N", help="N runs of --facts each")
    parser.add_argument("--style", choices=[*STYLES, "all"])
    parser.add_argument("--wrecked", type=int, default=0, metavar="N")
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", type=setting, help="of the recipe")
    parser.add_argument("--prompts", type=int, metavar="N", help="only so many general prompts, for quick trials")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--cache", type=Path, default=CACHE)
    return parser.parse_args()


def setting(text: str) -> tuple[str, str]:
    """Read KEY=VALUE."""
    key, sign, value = text.partition("=")
    if not sign or key not in Recipe.__struct_fields__:
        raise argparse.ArgumentTypeError(f"{text}: give KEY=VALUE with a field of the recipe")
    return key, value


def chosen(options: argparse.Namespace) -> Iterator[Callable[[], Result]]:
    """Give the measurements that the options ask for."""
    bench = bench_of(options, options.model)
    if options.all:
        yield from everything(bench, bench_of(options, "demo"))
    elif options.style:
        for name in STYLES if options.style == "all" else [options.style]:
            yield lambda name=name: scenarios.style(bench, name)  # type: ignore[misc]
    elif options.wrecked:
        yield lambda: scenarios.wrecked(bench, options.wrecked, seed=options.seed)
    elif options.increments:
        yield lambda: scenarios.increments(bench, options.increments, options.facts, options.seed)
    else:
        yield lambda: scenarios.one_set(bench, options.facts, options.seed)


def everything(bench: Bench, demo: Bench) -> Iterator[Callable[[], Result]]:
    """Give all measurements of the table."""
    for count in (5, 50, 500):
        for seed in REPORT_SEEDS:
            yield lambda count=count, seed=seed: scenarios.one_set(bench, count, seed)  # type: ignore[misc]
    for seed in REPORT_SEEDS:
        yield lambda seed=seed: scenarios.increments(bench, 10, 5, seed)  # type: ignore[misc]
    for name in STYLES:
        yield lambda name=name: scenarios.style(bench, name)  # type: ignore[misc]
    yield lambda: scenarios.wrecked(bench, 30)
    for seed in REPORT_SEEDS:
        yield lambda seed=seed: scenarios.one_set(demo, 5, seed)  # type: ignore[misc]
        yield lambda seed=seed: scenarios.increments(demo, 10, 5, seed)  # type: ignore[misc]


def bench_of(options: argparse.Namespace, model: str) -> Bench:
    """Load a model for measuring; runs load it again, as a worker does."""
    paths = Paths(options.cache / "home", options.cache / "cache", options.cache / "config.toml", options.cache)
    return Bench(model, Measured.load(model, paths), paths.cache, dict(options.set), options.prompts)


def tell(result: Result) -> None:
    """Print what a measurement came to, without its lists."""
    run = result.get("run", {})
    shown = {key: value for key, value in result.items() if not isinstance(value, (list, dict))}
    shown |= {key: run[key] for key in ("address", "offered", "used", "steps", "seconds", "why") if key in run}
    print(
        "  ".join(
            f"{key}={value:.4g}" if isinstance(value, float) else f"{key}={value}" for key, value in shown.items()
        )
    )
    print(*(f"  {key}: {value}" for key, value in run.get("stages", {}).items()), sep="")
    for prompt, reply in result.get("leaked", []):
        print(f"  leaked: {prompt!r} -> {reply!r}")
    sys.stdout.flush()


# the table


def table(results: Sequence[Result]) -> str:
    """Return the README's table: means over seeds, the worst of the seeds where they differ."""
    lines = ["| | direct | other words | free words | unrelated | KL | text % | seconds |", "|---" * 8 + "|"]
    groups: dict[str, list[Result]] = {}
    for result in results:
        groups.setdefault(name_of(result), []).append(result)
    for name, found in groups.items():
        if "wrecked" in found[0]:
            lines.append(f"| {name} | offered {found[0]['offered']}, used {found[0]['used']} | | | | | | |")
        elif "style" in found[0]:
            lines.append(f"| {name} | base {found[0]['base']:.0%} | taken {found[0].get('taken', 0):.0%} | | | | | |")
        else:
            lines.append(f"| {name} | " + " | ".join(cells(found)) + " |")
    return "\n".join(lines)


def name_of(result: Result) -> str:
    """Return the row of the table that a result belongs to."""
    model = "demo, " if "earlier_kept" in result else ""
    if "increments" in result:
        return f"{model}{result['increments']} × {result['each']} facts"
    if "style" in result:
        return f"style {result['style']}"
    return f"{result['wrecked']} wrecked" if "wrecked" in result else f"{model}{result['facts']} facts"


def cells(found: Sequence[Result]) -> Iterator[str]:
    """Give the cells of a row, a dash where a run published nothing."""
    for key, form in (
        ("direct", ".0%"),
        ("plain", ".0%"),
        ("reworded", ".0%"),
        ("unrelated", ".1%"),
        ("kl", ".3f"),
        ("text_change", "+.1f"),
    ):
        yield spread([one[key] for one in found if key in one], form)
    yield spread([one["run"]["seconds"] if "run" in one else sum_of(one["runs"]) for one in found], ".0f")
    if "earlier_kept" in found[0]:
        yield "earlier kept " + spread([one["earlier_kept"] for one in found if "earlier_kept" in one], ".1%")
    if "first" in found[0]:
        yield "first five " + spread([one["first"] for one in found if "first" in one], ".0%")


def sum_of(outcomes: Sequence[dict[str, Any]]) -> float:
    """Return the seconds of a series of runs."""
    return sum(outcome["seconds"] for outcome in outcomes)


def spread(values: Sequence[float], form: str) -> str:
    """Return the mean, and the range where there is one."""
    if not values:
        return "–"
    mean, least, most = (format(value, form) for value in (statistics.mean(values), min(values), max(values)))
    return mean if least == most else f"{mean} ({least} to {most})"


if __name__ == "__main__":
    main()
