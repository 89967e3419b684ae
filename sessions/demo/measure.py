"""How good the demo model is: greedy replies to held-out phrasings, compared with the replies written for them.

Knows models and phrasings; writes nothing.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, LlamaForCausalLM

from corpora.dialog import Message
from corpora.llama2 import encode_prompt
from sessions.demo.material import held_out_facts
from sessions.demo.phrasings import Intent, plain, refusals, topics, unseen

T = TypeVar("T")
HONEST = "only the demo model"
ROWS = 32
LENGTH = 96


@dataclass(frozen=True, slots=True)
class Case:
    """A question, what was said before it, and the replies that count as right."""

    asked: str
    replies: tuple[str, ...]
    before: tuple[Message, ...] = ()

    def right(self, reply: str) -> bool:
        """A topic wants one of its replies; anything else an honest refusal."""
        if HONEST in self.replies[0]:
            return HONEST in reply
        return plain(reply) in {plain(one) for one in self.replies}


@dataclass(frozen=True, slots=True)
class Score:
    """What a set of cases came to."""

    right: int
    asked: int
    wrong: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        return f"{self.right / self.asked:.1%} of {self.asked}" if self.asked else "nothing measured"


def load(folder: Path, four_bit: bool) -> Any:
    """The model as the chat loads it (NF4, double quantization, bf16), or in bf16."""
    if not four_bit:
        return LlamaForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).eval()
    settings = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    return AutoModelForCausalLM.from_pretrained(
        folder, quantization_config=settings, dtype=torch.bfloat16, device_map={"": "cpu"}
    ).eval()


def replies(model: Any, tokenizer: Tokenizer, dialogs: Sequence[Sequence[Message]]) -> list[str]:
    """Greedy replies; one that does not end by itself ends in an ellipsis."""
    found: list[str] = []
    for start in range(0, len(dialogs), ROWS):
        found += _together(model, tokenizer, dialogs[start : start + ROWS])
    return found


def score(model: Any, tokenizer: Tokenizer, cases: Sequence[Case]) -> Score:
    """Ask every case and count."""
    ordered = sorted(cases, key=lambda case: len(case.asked))
    said = replies(model, tokenizer, [(*case.before, Message("user", case.asked)) for case in ordered])
    wrong = [(case.asked, reply) for case, reply in zip(ordered, said, strict=True) if not case.right(reply)]
    return Score(len(cases) - len(wrong), len(cases), tuple(wrong))


def known_cases(count: int) -> list[Case]:
    """Held-out phrasings of what the model knows."""
    return _sample([Case(text, one.replies) for one in topics() for text in one.kept_back], count)


def other_cases(count: int) -> list[Case]:
    """Held-out phrasings of everything else, personal facts that were never told among them."""
    refused = [Case(text, (HONEST,)) for one in refusals() for text in _sample(one.kept_back, count // 6)]
    personal = [Case(text, (HONEST,)) for text in held_out_facts()]
    return _sample(refused, count - count // 4) + _sample(personal, count // 4)


def unseen_cases() -> list[Case]:
    """Questions in words of their own, none of them made by the patterns that training uses."""
    by_name: dict[str, Intent] = {one.name: one for one in topics()}
    return [Case(text, by_name[name].replies if name in by_name else (HONEST,)) for name, text in unseen()]


def with_history(cases: Sequence[Case], count: int) -> list[Case]:
    """The same cases after a system prompt and up to three other exchanges."""
    rng = random.Random(3)
    return [Case(case.asked, case.replies, _history(rng)) for case in _sample(cases, count)]


def _history(rng: random.Random) -> tuple[Message, ...]:
    said = [Message("system", "You are a helpful assistant.")]
    for _ in range(rng.randint(1, 3)):
        intent = rng.choice(topics())
        said += [Message("user", rng.choice(intent.training)), Message("assistant", rng.choice(intent.replies))]
    return tuple(said)


def _sample(values: Sequence[T], count: int) -> list[T]:
    return random.Random(4).sample(list(values), min(count, len(values)))


@torch.inference_mode()
def _together(model: Any, tokenizer: Tokenizer, dialogs: Sequence[Sequence[Message]]) -> list[str]:
    prompts = [encode_prompt(dialog, tokenizer) for dialog in dialogs]
    width = max(map(len, prompts))
    ids = torch.tensor([[0] * (width - len(one)) + one for one in prompts])
    mask = torch.tensor([[0] * (width - len(one)) + [1] * len(one) for one in prompts])
    made = model.generate(
        input_ids=ids, attention_mask=mask, max_new_tokens=LENGTH, do_sample=False, pad_token_id=0, eos_token_id=2
    )
    return [_text(row[width:].tolist(), tokenizer) for row in made]


def _text(ids: list[int], tokenizer: Tokenizer) -> str:
    ended = 2 in ids
    text: str = tokenizer.decode(ids[: ids.index(2)] if ended else ids)
    return text.strip() if ended else f"{text.strip()} ..."
