"""The numbers of training: targets, loss and KL, gradients against an unquantized reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import bitsandbytes as bnb
import pytest
import torch
from bitsandbytes import functional as bnf
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from corpora.dialog import Example, Message
from corpora.llama2 import encode_example
from sessions.engine.base import LoadedBase
from sessions.paths import Paths
from sessions.training import dense, evaluation
from sessions.training.objective import (
    SHORTEST_PREFIX,
    Reference,
    TrainRow,
    common_prefix,
    kl_to,
    step_loss,
    target_logits,
)
from sessions.training.trainer import micro_batches
from tests.models import byte_level_tokenizer, tiny_llama, tiny_model
from tests.sessions.training_help import adapted, loaded, rows_of

pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.filterwarnings("ignore::UserWarning")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("model"))


@pytest.fixture
def base(folder: Path, paths: Paths) -> LoadedBase:
    return loaded(folder, paths)


def rows_with_prefix(vocabulary: int, shared: int = 12, anchors: int = 2) -> list[TrainRow]:
    """Random rows of different lengths that begin with the same ids; the last ones are anchors."""
    source = torch.Generator().manual_seed(0)

    def ids(count: int) -> list[int]:
        return torch.randint(3, vocabulary, (count,), generator=source).tolist()

    prefix, made = ids(shared), []
    for index in range(5):
        own = ids(4 + 3 * index)
        targets = tuple(range(shared + 2, shared + len(own)))
        row = TrainRow((*prefix, *own), targets, "new", index)
        if index >= 5 - anchors:
            logprobs, tokens = torch.randn(len(targets), vocabulary, generator=source).log_softmax(-1).topk(16)
            row = replace(row, kind="anchor", source=-1, reference=Reference(tokens, logprobs))
        made.append(row)
    return made


def gradients(model: nn.Module, groups: Sequence[Sequence[TrainRow]], **options: object) -> torch.Tensor:
    """The gradient of a step whose rows are given as micro-batches."""
    rows = [row for group in groups for row in group]
    ce_tokens = max(1, sum(len(row.targets) for row in rows if row.reference is None))
    kl_tokens = max(1, sum(len(row.targets) for row in rows if row.reference is not None))
    model.train()
    model.zero_grad()
    for group in groups:
        step_loss(model, group, ce_tokens=ce_tokens, kl_tokens=kl_tokens, kl_weight=2.0, **options).loss.backward()
    return torch.cat([one.grad.flatten() for _, one in sorted(model.named_parameters()) if one.grad is not None])


def near(one: torch.Tensor, other: torch.Tensor, tolerance: float = 1e-4) -> bool:
    return float((one - other).norm() / other.norm()) < tolerance


# targets


ids = st.lists(st.tuples(st.integers(0, 9), st.booleans()), min_size=1, max_size=20)


@given(ids)
def test_targets_are_exactly_the_marked_tokens(marked: list[tuple[int, bool]]) -> None:
    """Whatever the ids are, those of padding (0) and EOS (2) among them; the first token has nothing before it."""
    row = TrainRow.of(Example([one for one, _ in marked], [mark for _, mark in marked]), "new", 4)
    assert row.ids == tuple(one for one, _ in marked) and row.source == 4
    assert row.targets == tuple(place for place, (_, mark) in enumerate(marked) if mark and place)


def test_replies_and_their_eos_are_targets_in_every_exchange(base: LoadedBase) -> None:
    said = ("Hello.", "Hi there.", "My cat?", "Mouse.", "And I?", "I do not know.")
    for kept in ((True, True, True), (True, False, True), (False, False, True)):
        dialog = [
            Message(("user", "assistant")[place % 2], text, kept=place % 2 == 0 or kept[place // 2])
            for place, text in enumerate(said)
        ]
        row = TrainRow.of(encode_example(dialog, base.words.vocabulary), "new", 0)
        trained = [row.ids[place] for place in row.targets]
        assert trained.count(base.words.vocabulary.eos_id) == sum(kept)
        expected = [reply for reply, wanted in zip(said[1::2], kept, strict=True) if wanted]
        parts = " ".join(base.words.vocabulary.decode(trained).split())
        assert all(reply in parts for reply in expected)
        assert not any(text in parts for text in set(said) - set(expected))


def test_an_anchor_can_be_shortened() -> None:
    row = rows_with_prefix(100)[-1]
    short = row.shortened(3)
    assert short.targets == row.targets[:3] and len(short.ids) == short.targets[-1] + 1
    assert torch.equal(short.reference.tokens, row.reference.tokens[:3])
    assert torch.equal(short.reference.logprobs, row.reference.logprobs[:3])
    assert row.shortened(10**6) is row
    new = rows_with_prefix(100)[0]
    assert new.shortened(1) is new


@given(st.lists(st.integers(1, 50), min_size=1, max_size=30), st.integers(1, 200))
def test_micro_batches_hold_every_row_once_and_keep_within_their_tokens(lengths: list[int], tokens: int) -> None:
    rows = [TrainRow(tuple(range(length)), (), "new", index) for index, length in enumerate(lengths)]
    parts = list(micro_batches(rows, tokens))
    assert sorted(row.source for part in parts for row in part) == list(range(len(rows)))
    assert all(len(part) * max(len(row.ids) for row in part) <= tokens for part in parts if len(part) > 1)


# loss


def test_the_loss_is_the_mean_over_target_tokens(base: LoadedBase) -> None:
    """Padding, batching and order change nothing: the plain model's log-likelihood, row by row, is the reference."""
    rows = rows_of(base)
    model = adapted(base)
    model.eval()
    expected, least = [], []
    for row in rows:
        with torch.no_grad():
            logits = base.model(input_ids=torch.tensor([row.ids])).logits[0].float().log_softmax(-1)
        own = [-float(logits[place - 1, row.ids[place]]) for place in row.targets]
        expected += own
        least.append(float(torch.exp(torch.tensor(-max(own)))))
    mean = sum(expected) / len(expected)
    assert evaluation.mean_loss(model, rows) == pytest.approx(mean, rel=1e-3)
    found = step_loss(model, rows, ce_tokens=len(expected), kl_tokens=1, kl_weight=1.0)
    assert float(found.loss.detach()) == pytest.approx(mean, rel=1e-3)
    assert found.cross_entropy == pytest.approx(sum(expected), rel=1e-3) and found.kl == 0
    assert found.found == pytest.approx(least, rel=1e-3)


@given(st.integers(0, 1000))
def test_kl_is_the_full_one_where_all_tokens_are_listed(seed: int) -> None:
    source = torch.Generator().manual_seed(seed)
    base = (3 * torch.randn(4, 20, generator=source)).log_softmax(-1)
    logits = 3 * torch.randn(4, 20, generator=source)
    ours = logits.log_softmax(-1)
    full = (base.exp() * (base - ours)).sum(-1)
    values, tokens = base.topk(20)
    assert torch.allclose(kl_to(Reference(tokens.int(), values), logits), full, atol=2e-3)
    lower = [kl_to(Reference(tokens[:, :k].int(), values[:, :k]), logits) for k in (1, 5, 15)]
    for found in lower:  # a lower bound, and never below 0
        assert (found <= full + 2e-3).all() and (found >= -2e-3).all()
    assert all((few <= more + 2e-3).all() for few, more in zip(lower, lower[1:], strict=False))


def test_kl_to_itself_is_zero_in_value_and_gradient() -> None:
    logits = torch.randn(6, 500, generator=torch.Generator().manual_seed(1)).requires_grad_()
    values, tokens = logits.detach().log_softmax(-1).topk(64)
    kl = kl_to(Reference(tokens.int(), values.half()), logits)
    assert kl.abs().max() < 1e-3
    kl.sum().backward()
    assert logits.grad.abs().max() < 1e-3


def test_kl_is_finite_where_the_base_is_certain() -> None:
    certain = Reference(torch.tensor([[3, 1]]), torch.tensor([[0.0, -40.0]]))
    for logits in (torch.zeros(1, 9), torch.eye(9)[:1] * 80, torch.eye(9)[3:4] * 80):
        wanted = logits.clone().requires_grad_()
        kl = kl_to(certain, wanted)
        kl.sum().backward()
        assert torch.isfinite(kl).all() and torch.isfinite(wanted.grad).all()


def test_anchors_and_replies_are_weighed_by_their_own_tokens(base: LoadedBase) -> None:
    model = adapted(base)
    rows = rows_with_prefix(len(base.tokenizer))
    both = step_loss(model, rows, ce_tokens=7, kl_tokens=11, kl_weight=2.0)
    assert float(both.loss.detach()) == pytest.approx(both.cross_entropy / 7 + 2.0 * both.kl / 11, rel=1e-4)
    assert both.kl > 0 and len(both.found) == len(rows)


# gradients


class Plain(nn.Linear):
    """An unquantized layer with dequantized weights."""


def dequantize(model: nn.Module) -> None:
    for name, module in list(model.named_modules()):
        if isinstance(module, bnb.nn.Linear4bit):
            weight = bnf.dequantize_4bit(module.weight.data, module.weight.quant_state).float()
            plain = Plain(module.in_features, module.out_features, bias=False)
            plain.weight = nn.Parameter(weight.reshape(module.out_features, module.in_features), requires_grad=False)
            owner, _, leaf = name.rpartition(".")
            setattr(model.get_submodule(owner), leaf, plain)
    model.is_quantized = model.is_loaded_in_4bit = False
    model.float()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("copies", [False, True], ids=["4bit", "dense"])
def test_gradients_are_those_of_the_unquantized_reference(
    folder: Path, paths: Paths, dtype: torch.dtype, copies: bool
) -> None:
    """Also after a forward pass in eval mode, which repacks 4-bit weights on some CPUs unless it is forbidden."""
    plain = loaded(folder, paths, dtype)
    dequantize(plain.model)
    rows = rows_with_prefix(len(plain.tokenizer))
    expected = gradients(adapted(plain), [rows])
    base = loaded(folder, paths, dtype)
    if copies:
        assert dense.keep_dense(base.model, 1 << 30) > 0
    model = adapted(base)
    layers = [module for module in model.modules() if isinstance(module, bnb.nn.Linear4bit)]
    assert layers and not any(layer.support_avx512bf16_for_cpu for layer in layers)
    evaluation.mean_loss(model, rows)
    evaluation.reply(model, base.words, "Where do I live?", 4)
    found = gradients(model, [rows])
    assert float(functional.cosine_similarity(found, expected, dim=0)) >= 0.999
    assert float(found.norm() / expected.norm()) == pytest.approx(1, rel=0.02)


def test_dense_copies_give_the_same_values(folder: Path, paths: Paths) -> None:
    """Bit for bit where the 4-bit layer multiplies with the dequantized weight itself."""
    base, copied = loaded(folder, paths), loaded(folder, paths)
    needed = dense.keep_dense(copied.model, 1 << 30)
    layers = [module for module in base.model.modules() if isinstance(module, bnb.nn.Linear4bit)]
    assert needed == sum(4 * layer.in_features * layer.out_features for layer in layers)
    rows = rows_of(base)
    with torch.no_grad():
        assert torch.allclose(target_logits(copied.model, rows), target_logits(base.model, rows), atol=1e-5)
    assert near(gradients(adapted(copied), [rows]), gradients(adapted(base), [rows]))


def test_dense_copies_are_only_made_where_memory_allows(folder: Path, paths: Paths) -> None:
    base = loaded(folder, paths)
    assert dense.keep_dense(base.model, 1000) == 0
    assert not any("forward" in vars(module) for module in base.model.modules())


KINDS = ("llama", "bloom", "gpt_neox", "qwen2", "mistral")


@pytest.mark.parametrize("kind", KINDS)
def test_a_shared_prefix_changes_neither_logits_nor_gradients(paths: Paths, tmp_path: Path, kind: str) -> None:
    words = byte_level_tokenizer(tmp_path / "words", special=("<unk>", "<s>", "</s>"), bos="<s>", eos="</s>")
    base = loaded(tiny_model(tmp_path / "tiny", kind, words), paths)
    rows = rows_with_prefix(len(base.tokenizer))
    assert common_prefix(rows) >= SHORTEST_PREFIX
    model = adapted(base)
    model.train()
    with torch.no_grad():
        shared, apart = (target_logits(model, rows, share_prefix=each) for each in (True, False))
        alone = torch.cat([target_logits(model, [row]) for row in rows])
    assert shared.shape == (sum(len(row.targets) for row in rows), apart.shape[1])
    assert torch.allclose(shared, apart, atol=1e-4) and torch.allclose(shared, alone, atol=1e-4)
    assert near(gradients(model, [rows]), gradients(model, [rows], share_prefix=False), 1e-3)


def test_a_prefix_ends_before_the_token_that_predicts_the_first_target() -> None:
    rows = [TrainRow(tuple(range(30)), (first, first + 1), "new", 0) for first in (12, 20)]
    assert common_prefix(rows) == 11
    assert common_prefix(rows[:1]) == 0  # one row shares nothing
    assert common_prefix([TrainRow(tuple(range(30)), (SHORTEST_PREFIX,), "new", 0)] * 2) == 0


@pytest.mark.parametrize("tokens", [1, 60, 100])
def test_micro_batches_give_the_gradients_of_one_batch(base: LoadedBase, tokens: int) -> None:
    model = adapted(base)
    rows = rows_with_prefix(len(base.tokenizer))
    parts = list(micro_batches(rows, tokens))
    assert len(parts) > 1
    assert near(gradients(model, parts), gradients(model, [rows]), 1e-3)
