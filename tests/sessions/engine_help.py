"""What the tests of the engine share: a request, its reply, and transformers' own beside it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import peft
import torch
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from corpora.dialog import Message
from sessions.engine.local import LocalEngine
from sessions.protocol import BASE, Generate, Sampling, Token

GREEDY = Sampling(temperature=0, repetition_penalty=1, top_k=0, top_p=1, max_new_tokens=12)


def reference(folder: Path, adapter: Path | None = None) -> torch.nn.Module:
    config = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype="float32"
    )
    model = AutoModelForCausalLM.from_pretrained(folder, quantization_config=config, dtype=torch.float32)
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    return peft.PeftModel.from_pretrained(model, adapter).eval() if adapter else model.eval()


def plain_ids(model: torch.nn.Module, ids: list[int], most: int) -> list[int]:
    asked = torch.tensor([ids])
    out = model.generate(
        input_ids=asked,
        attention_mask=torch.ones_like(asked),
        max_new_tokens=most,
        do_sample=False,
        pad_token_id=0,
        eos_token_id=2,
    )
    return [token for token in out[0, len(ids) :].tolist() if token != 2]


def run(engine: LocalEngine, request: Generate, stopped: Callable[[], bool] = lambda: False) -> list:
    return list(engine.generate(request, stopped))


def ask(*contents: str, adapters: tuple[str, ...] = (BASE,), sampling: Sampling = GREEDY, **more: float) -> Generate:
    dialog = tuple(Message(("user", "assistant")[index % 2], text) for index, text in enumerate(contents))
    return Generate(id="7", dialog=dialog, adapters=adapters, sampling=sampling, **more)


def text_of(steps: list, column: int = 0) -> str:
    return "".join(step.text for step in steps if isinstance(step, Token) and step.column == column)
