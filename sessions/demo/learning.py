"""The training of the demo model from nothing: batches of dialogs, loss on replies and their EOS, a deadline.

Knows torch and transformers; nothing of what the dialogs say.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from corpora.dialog import Example, Message
from corpora.llama2 import encode_example
from corpora.tokens import Tokenizer
from sessions.demo import nf4

PEAK = 2e-3
FURTHER_PEAK = 1e-3
WARM_UP = 100
BATCH_TOKENS = 1024
LONGEST = 1024
QUANTIZED_FROM = 0.85
"""Share of the time after which the weights are trained through NF4."""
IGNORED = -100


def fresh_model(vocabulary: int) -> Any:
    """Llama 2's architecture, small: every size a multiple of 64."""
    torch.manual_seed(2)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=256,
            intermediate_size=704,
            num_hidden_layers=4,
            num_attention_heads=4,
            num_key_value_heads=4,
            max_position_embeddings=2048,
            rms_norm_eps=1e-5,
            bos_token_id=1,
            eos_token_id=2,
            pad_token_id=None,
            tie_word_embeddings=False,
        )
    )


def train(
    model: Any,
    dialogs: Iterator[tuple[Message, ...]],
    tokenizer: Tokenizer,
    seconds: float,
    say: Callable[[str], None],
    *,
    peak: float = PEAK,
) -> int:
    """Train for some seconds of the processor's time; returns the steps made."""
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=peak, betas=(0.9, 0.98), weight_decay=0.05, fused=True)
    began, step, quantized, shown = time.process_time(), 0, False, 0.0
    for rows in batches(dialogs, tokenizer):
        done = (time.process_time() - began) / seconds
        if done >= 1:
            break
        if done >= QUANTIZED_FROM and not quantized:
            nf4.attach(model)
            quantized = True
        loss = _step(model, optimizer, rows, _rate(step, done, peak))
        shown = loss if step == 0 else 0.98 * shown + 0.02 * loss
        if step % 50 == 0:
            say(f"step {step}  loss {shown:.4f}  {done:.0%} of the time")
        step += 1
    if quantized:
        nf4.detach(model)
    model.eval()
    return step


def batches(dialogs: Iterator[tuple[Message, ...]], tokenizer: Tokenizer) -> Iterator[list[Example]]:
    """Dialogs of like length together; few shapes, as each new one costs the CPU's kernels some time."""
    waiting: dict[int, list[Example]] = {}
    for dialog in dialogs:
        row = encode_example(dialog, tokenizer)
        width = _width(len(row.ids))
        waiting.setdefault(width, []).append(row)
        if len(waiting[width]) * width >= BATCH_TOKENS:
            yield waiting.pop(width)


def _width(length: int) -> int:
    """A row's length with its filling."""
    step = 16 if length <= 128 else 64 if length <= 512 else 256
    return min(-(-length // step) * step, LONGEST)


def _step(model: Any, optimizer: torch.optim.Optimizer, rows: list[Example], rate: float) -> float:
    ids, labels = _tensors(rows)
    with torch.autocast("cpu", torch.bfloat16):
        hidden = model.model(input_ids=ids).last_hidden_state[:, :-1].flatten(0, 1)
        places, wanted = _wanted(labels[:, 1:].flatten())
        logits = model.lm_head(hidden[places])
    loss = torch.nn.functional.cross_entropy(logits.float(), wanted, ignore_index=IGNORED)
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return loss.item()


def _wanted(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Where the loss counts and what is wanted there, filled up to a multiple of 256."""
    places = (labels != IGNORED).nonzero().flatten()
    missing = -len(places) % 256
    wanted = torch.cat((labels[places], labels.new_full((missing,), IGNORED)))
    return torch.cat((places, places.new_zeros(missing))), wanted


def _tensors(rows: list[Example]) -> tuple[Tensor, Tensor]:
    """Ids and labels, filled up at the end; causal attention needs no mask for that."""
    width = _width(max(len(row.ids) for row in rows))
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    labels = torch.full_like(ids, IGNORED)
    for at, row in enumerate(rows):
        cut = torch.tensor(row.ids[:width])
        ids[at, : len(cut)] = cut
        labels[at, : len(cut)] = torch.where(torch.tensor(row.trained[:width]), cut, IGNORED)
    return ids, labels


def _rate(step: int, done: float, peak: float) -> float:
    return peak * min(1.0, (step + 1) / WARM_UP) * max(0.01, 0.5 + 0.5 * math.cos(math.pi * done))
