"""The ids of real dialogs, as Meta's own encoding gives them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from corpora.llama2 import encode_example, encode_examples, encode_prompt, fit_prompt


@pytest.fixture(scope="module")
def dialogs(shared: Path) -> list[dict]:
    return json.loads((shared / "golden/llama2_dialogs.json").read_text())["dialogs"]


def test_golden_ids_of_prompts_and_examples(dialogs: list[dict], words: Tokenizer) -> None:
    for dialog in dialogs:
        assert encode_prompt(dialog["messages"][:-1], words) == dialog["prompt_ids"]
        assert encode_example(dialog["messages"], words).ids == dialog["ids"]


def test_golden_ids_in_one_batch(dialogs: list[dict], words: Tokenizer) -> None:
    found = encode_examples([dialog["messages"] for dialog in dialogs], words)
    assert [example.ids for example in found] == [dialog["ids"] for dialog in dialogs]


def test_golden_ids_with_a_transformers_tokenizer(dialogs: list[dict], shared: Path) -> None:
    from transformers import AutoTokenizer

    words = AutoTokenizer.from_pretrained(shared / "llama2-tokenizer")
    for dialog in dialogs:
        assert encode_prompt(dialog["messages"][:-1], words) == dialog["prompt_ids"]
        assert encode_example(dialog["messages"], words).ids == dialog["ids"]


def test_a_prompt_that_fits_loses_nothing(dialogs: list[dict], words: Tokenizer) -> None:
    for dialog in dialogs:
        fitted = fit_prompt(dialog["messages"][:-1], words, len(dialog["prompt_ids"]))
        assert (fitted.ids, fitted.dropped_exchanges) == (dialog["prompt_ids"], 0)
