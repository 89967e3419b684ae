"""Makes the demo model: tokenizer, training, measuring, card. `python -m sessions.demo.make [--minutes N]`.

The one place that writes `sessions/demo/model`; the program itself never runs it.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from transformers import GenerationConfig, logging

from sessions.demo import MODEL_DIR, learning, measure, unused, vocabulary
from sessions.demo.material import Writer

CARD = Path(__file__).parent / "card.md"
SEED = 7


def main(argv: list[str] | None = None) -> int:
    """Train for the minutes asked for and write the model with its figures."""
    parser = argparse.ArgumentParser(prog="python -m sessions.demo.make", description=__doc__)
    parser.add_argument("--minutes", type=float, default=25.0, help="processor time to train for (default: 25)")
    parser.add_argument("--folder", type=Path, default=MODEL_DIR, help="where to write the model")
    parser.add_argument("--continue", dest="further", action="store_true", help="train the model that is there further")
    parser.add_argument("--measure-only", action="store_true", help="measure the model that is there")
    asked = parser.parse_args(argv)
    logging.disable_progress_bar()
    if not asked.measure_only:
        _train(asked.folder, asked.minutes, asked.further)
    _write_card(asked.folder, _figures(asked.folder))
    return 0


def _train(folder: Path, minutes: float, further: bool) -> None:
    tokenizer = _tokenizer(folder) if further else vocabulary.build(_texts(), folder)
    model = measure.load(folder, False).float() if further else learning.fresh_model(tokenizer.get_vocab_size())
    _say(f"{model.num_parameters():,} parameters, {tokenizer.get_vocab_size()} tokens")
    dialogs = Writer(random.Random(time.time_ns() if further else SEED))
    peak = learning.FURTHER_PEAK if further else learning.PEAK
    steps = learning.train(model, iter(dialogs), tokenizer, minutes * 60, _say, peak=peak)
    loosened = unused.loosen(model, tokenizer, iter(Writer(random.Random(SEED + 2))))
    _say(f"{loosened} tokens that nothing here needs are made learnable")
    _save(model, folder)
    _say(f"{steps} steps in {minutes:.1f} minutes of processor time")


def _tokenizer(folder: Path) -> Tokenizer:
    return Tokenizer.from_file(str(folder / "tokenizer.json"))


def _texts() -> Iterator[str]:
    """What the tokenizer learns from: training dialogs as they come."""
    for dialog in islice(Writer(random.Random(SEED + 1)), 20_000):
        yield from (message.content for message in dialog)


def _save(model: Any, folder: Path) -> None:
    model.generation_config = GenerationConfig(bos_token_id=1, eos_token_id=2)
    model.to(torch.bfloat16).save_pretrained(folder)


def _figures(folder: Path) -> dict[str, str]:
    """Every figure of the card; prints what went wrong."""
    tokenizer = _tokenizer(folder)
    known, other = measure.known_cases(500), measure.other_cases(400)
    sets = {"known": known, "other": other, "unseen": measure.unseen_cases()}
    sets["history"] = measure.with_history(known, 200)
    figures = {}
    for name, four_bit in (("bf16", False), ("nf4", True)):
        model = measure.load(folder, four_bit)
        for kind, cases in sets.items():
            result = measure.score(model, tokenizer, cases)
            figures[f"{kind}_{name}"] = str(result)
            _say(f"{kind} {name}: {result}")
            if four_bit:
                _show(result)
    return figures | {"parameters": f"{measure.load(folder, False).num_parameters():,}", "size": _size(folder)}


def _show(result: measure.Score) -> None:
    for asked, reply in random.Random(5).sample(result.wrong, min(25, len(result.wrong))):
        _say(f"    {asked!r} -> {reply!r}")


def _size(folder: Path) -> str:
    return f"{sum(part.stat().st_size for part in folder.iterdir()) / 1e6:.1f} MB"


def _write_card(folder: Path, figures: dict[str, str]) -> None:
    (folder / "README.md").write_text(CARD.read_text(encoding="utf-8").format(**figures), encoding="utf-8")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
