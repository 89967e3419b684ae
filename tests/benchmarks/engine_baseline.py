"""What a person would use instead: transformers' `pipeline()` with bitsandbytes NF4, and PEFT.

Run as `python -m tests.benchmarks.engine_baseline MEASURE MODEL ADAPTERS`; prints seconds or tokens/s as JSON.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig, pipeline

from tests.benchmarks.engine_models import NEW, REPEATS, words

CUDA = torch.cuda.is_available()
transformers.logging.set_verbosity_error()


def load(model: Path) -> Any:
    """Quantize on load, as the tutorials do."""
    config = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    where = {"device_map": {"": 0}} if CUDA else {}
    return AutoModelForCausalLM.from_pretrained(model, dtype=torch.bfloat16, quantization_config=config, **where)


def with_adapter(model: Path, adapters: Path) -> Any:
    """The model with one PEFT adapter on it."""
    import peft

    return peft.PeftModel.from_pretrained(load(model), adapters / "v1", adapter_name="v1").eval()


def writer(loaded: Any, model: Path) -> Callable[[str, int], float]:
    """A function that writes so many tokens after a prompt through `pipeline()`; returns seconds."""
    tokenizer = AutoTokenizer.from_pretrained(model)
    chat = pipeline("text-generation", model=loaded, tokenizer=tokenizer)

    def write(prompt: str, count: int) -> float:
        began = time.perf_counter()
        chat(prompt, max_new_tokens=count, min_new_tokens=count, do_sample=False, return_full_text=False)
        return time.perf_counter() - began

    write("Hello", 4)
    return write


def rate(write: Callable[[str, int], float]) -> float:
    """Tokens/s of decoding alone, the prompt's time taken off."""
    prompt = words(128)
    return median(NEW / (write(prompt, NEW + 1) - write(prompt, 1)) for _ in range(REPEATS))


def decode(model: Path, _: Path) -> float:
    """Tokens/s."""
    return rate(writer(load(model), model))


def decode_adapter(model: Path, adapters: Path) -> float:
    """Tokens/s under a rank-64 adapter."""
    return rate(writer(with_adapter(model, adapters), model))


def first_token(model: Path, _: Path) -> float:
    """Seconds to the first token after 2,000 tokens of history."""
    write = writer(load(model), model)
    return median(write(words(2000) + words(20), 1) for _ in range(REPEATS))


def compare(model: Path, adapters: Path) -> float:
    """Seconds for the base's reply and then the adapter's."""
    tuned = with_adapter(model, adapters)
    write, prompt = writer(tuned, model), words(128)

    def both() -> float:
        with tuned.disable_adapter():
            first = write(prompt, NEW)
        return first + write(prompt, NEW)

    return median(both() for _ in range(REPEATS))


def swap(model: Path, adapters: Path) -> float:
    """Seconds from an adapter on disk to the next token in a short chat."""
    tuned = with_adapter(model, adapters)
    write = writer(tuned, model)

    def once(index: int) -> float:
        began = time.perf_counter()
        tuned.load_adapter(adapters / "v2", adapter_name=f"new{index}")
        tuned.set_adapter(f"new{index}")
        write("Hello", 1)
        seconds = time.perf_counter() - began
        tuned.delete_adapter(f"new{index}")
        return seconds

    return median(once(index) for index in range(REPEATS))


def ready(model: Path, _: Path) -> float:
    """Seconds until `pipeline()` can write: the model is quantized again each time, the tokenizer read."""
    writer(load(model), model)

    def once() -> float:
        began = time.perf_counter()
        pipeline("text-generation", model=load(model), tokenizer=AutoTokenizer.from_pretrained(model))
        return time.perf_counter() - began

    return median(once() for _ in range(REPEATS))


def load_again(model: Path, _: Path) -> float:
    """Seconds to the model alone, which a training process loads for itself; imports are paid before."""
    load(model)

    def once() -> float:
        began = time.perf_counter()
        load(model)
        return time.perf_counter() - began

    return median(once() for _ in range(REPEATS))


MEASURES = {found.__name__: found for found in (decode, decode_adapter, first_token, compare, swap, ready, load_again)}

if __name__ == "__main__":
    sys.stdout.write(json.dumps(MEASURES[sys.argv[1]](Path(sys.argv[2]), Path(sys.argv[3]))) + "\n")
