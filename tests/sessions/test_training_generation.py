"""Greedy generation of many replies at once: the same as transformers' `generate`, prompt by prompt."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from sessions.engine.base import LoadedBase, load_base
from sessions.errors import Cancelled
from sessions.paths import Paths
from sessions.settings import Settings
from sessions.training import adapting, generation
from sessions.training.generation import evaluating, greedy
from sessions.training.recipe import Recipe
from tests.models import byte_level_tokenizer, tiny_model

pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.filterwarnings("ignore::UserWarning")]
KINDS = ("llama", "bloom", "gpt_neox", "qwen2", "mistral")
TOKENS = 12


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("words")
    return byte_level_tokenizer(folder, special=("<unk>", "<s>", "</s>"), bos="<s>", eos="</s>")


def loaded(kind: str, words: Path, tmp_path: Path, paths: Paths) -> LoadedBase:
    folder = tiny_model(tmp_path / kind, kind, words)
    return load_base(str(folder), paths, Settings(), lambda *_: None, dtype=torch.float32)


def prompts(vocabulary: int, count: int = 9) -> list[list[int]]:
    source = torch.Generator().manual_seed(0)
    return [torch.randint(3, vocabulary, (1 + index * 5 % 17,), generator=source).tolist() for index in range(count)]


def generated(model: nn.Module, prompt: list[int], ends: list[int], most: int = TOKENS) -> list[int]:
    """What transformers generates from one prompt, without the token that ends it."""
    asked = torch.tensor([prompt])
    made = model.generate(
        input_ids=asked,
        attention_mask=torch.ones_like(asked),
        max_new_tokens=most,
        do_sample=False,
        pad_token_id=0,
        eos_token_id=ends,
    )
    reply = made[0, len(prompt) :].tolist()
    return reply[:-1] if reply and reply[-1] in ends else reply


def busy_tokens(replies: list[list[int]]) -> frozenset[int]:
    """Tokens that end some of these replies early, at different places, and not all of them."""
    return frozenset(reply[place] for place, reply in enumerate(replies[:3], start=2))


@pytest.mark.parametrize("kind", KINDS)
def test_replies_are_those_of_transformers(kind: str, words: Path, paths: Paths, tmp_path: Path) -> None:
    """Prompts of different lengths side by side, rows that end early among them."""
    base = loaded(kind, words, tmp_path, paths)
    asked = prompts(len(base.tokenizer))
    never = frozenset({10**6})
    endless = greedy(base.model, asked, never, TOKENS)
    assert endless == [generated(base.model, prompt, [10**6]) for prompt in asked]
    ends = busy_tokens(endless)
    found = greedy(base.model, asked, ends, TOKENS)
    assert found == [generated(base.model, prompt, sorted(ends)) for prompt in asked]
    assert min(map(len, found)) < TOKENS and not ends & {token for reply in found for token in reply}


def test_batches_keep_the_order_of_the_prompts(
    words: Path, paths: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = loaded("llama", words, tmp_path, paths)
    asked = prompts(len(base.tokenizer), 13)
    whole = greedy(base.model, asked, frozenset(), 6)
    monkeypatch.setattr(generation, "BATCH", 4)
    assert greedy(base.model, asked, frozenset(), 6) == whole
    assert greedy(base.model, list(reversed(asked)), frozenset(), 6) == list(reversed(whole))
    assert greedy(base.model, [], frozenset(), 6) == []


def test_rows_that_have_ended_leave_the_batch(words: Path, paths: Paths, tmp_path: Path) -> None:
    base = loaded("llama", words, tmp_path, paths)
    asked = prompts(len(base.tokenizer))
    ends = busy_tokens(greedy(base.model, asked, frozenset(), TOKENS))
    sizes = []
    hook = base.model.model.register_forward_hook(lambda _, inputs, output: sizes.append(len(output[0])))
    replies = greedy(base.model, asked, ends, TOKENS)
    hook.remove()
    alive = [sum(len(reply) >= place for reply in replies) for place in range(len(sizes))]
    assert sizes == alive and sizes[-1] < sizes[0]
    sizes.clear()
    every = frozenset(range(len(base.tokenizer)))
    hook = base.model.model.register_forward_hook(lambda _, inputs, output: sizes.append(len(output[0])))
    assert greedy(base.model, asked, every, TOKENS) == [[]] * len(asked)
    hook.remove()
    assert sizes == [len(asked)]


def test_an_adapter_takes_part_and_the_model_is_left_as_it_was(words: Path, paths: Paths, tmp_path: Path) -> None:
    base = loaded("llama", words, tmp_path, paths)
    asked = prompts(len(base.tokenizer))
    before = greedy(base.model, asked, frozenset(), TOKENS)
    model, _ = adapting.attach(base.model, Recipe(dropout=0.5), "tiny", None)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.manual_seed(len(name))
            parameter.data.normal_(0, 0.1)
    model.train()
    adapted = greedy(model, asked, frozenset(), TOKENS)
    assert model.training
    assert adapted == greedy(model, asked, frozenset(), TOKENS)  # without dropout
    model.eval()
    assert adapted == [generated(model, prompt, [10**6]) for prompt in asked] != before
    with model.disable_adapter():
        assert greedy(model, asked, frozenset(), TOKENS) == before
    assert all(one.grad is None for one in model.parameters())


def test_a_cancelled_generation_ends_and_leaves_the_model_in_training(
    words: Path, paths: Paths, tmp_path: Path
) -> None:
    base = loaded("llama", words, tmp_path, paths)
    base.model.train()
    calls = []

    def check() -> None:
        calls.append(len(calls))
        if len(calls) == 3:
            raise Cancelled("The run was given up.", data="Nothing was published.")

    with pytest.raises(Cancelled):
        greedy(base.model, prompts(len(base.tokenizer)), frozenset(), TOKENS, check)
    assert len(calls) == 3 and base.model.training and torch.is_grad_enabled()
    with evaluating(base.model):
        assert not base.model.training and not torch.is_grad_enabled()
    assert base.model.training and torch.is_grad_enabled()
