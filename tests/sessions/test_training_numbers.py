"""The numbers of training: padding and mask, the loss, gradients against an unquantized reference, float32."""

from __future__ import annotations

from pathlib import Path

import bitsandbytes as bnb
import pytest
import torch
from bitsandbytes import functional as bnf
from hypothesis import given
from hypothesis import strategies as st
from sessions.training.examples import IGNORED, batch, collate, columns
from sessions.training.watching import Watch
from torch import nn

from corpora.dialog import Example
from corpora.llama2 import encode_example
from sessions.engine.base import LoadedBase, load_base
from sessions.errors import AdapterMismatch, RunDiverged
from sessions.paths import Paths
from sessions.settings import Settings
from sessions.training import adapting, evaluation, schedule, supervised
from sessions.training.control import Control
from sessions.training.events import Scored
from sessions.training.recipe import Recipe
from tests.models import tiny_llama
from tests.sessions.training_help import FACTS

pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.filterwarnings("ignore::UserWarning")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("model"))


@pytest.fixture
def base(folder: Path, paths: Paths) -> LoadedBase:
    return load_base(str(folder), paths, Settings(), lambda stage, fraction: None)


def examples(base: LoadedBase) -> list[Example]:
    return [
        encode_example([{"role": "user", "content": ask}, {"role": "assistant", "content": answer}], base.tokenizer)
        for ask, answer in FACTS
    ]


ids = st.lists(st.tuples(st.integers(0, 9), st.booleans()), min_size=1, max_size=20)


@given(st.lists(ids, min_size=1, max_size=6))
def test_what_is_trained_is_exactly_what_was_marked(rows: list[list[tuple[int, bool]]]) -> None:
    """Whatever the ids are, padding's own (0) and EOS (2) among them."""
    given_rows = [Example([one for one, _ in row], [mark for _, mark in row]) for row in rows]
    made = batch(given_rows)
    for index, row in enumerate(given_rows):
        length = len(row.ids)
        assert made["input_ids"][index, :length].tolist() == row.ids
        assert made["attention_mask"][index].tolist() == [1] * length + [0] * (made["input_ids"].shape[1] - length)
        trained = [label != IGNORED for label in made["labels"][index].tolist()]
        assert trained == row.trained + [False] * (len(trained) - length)
        assert all(
            label == one
            for label, one in zip(made["labels"][index].tolist(), row.ids, strict=False)
            if label != IGNORED
        )


def test_the_eos_of_a_reply_is_trained_and_padding_is_not(base: LoadedBase) -> None:
    made = batch(examples(base))
    eos = base.tokenizer.eos_token_id
    for row, mask in zip(made["labels"], made["attention_mask"], strict=True):
        assert row[mask.bool()][-1] == eos
        assert (row[~mask.bool()] == IGNORED).all()


def test_the_loss_is_the_mean_over_trained_tokens(base: LoadedBase) -> None:
    """Padding, batching and order change nothing: the plain model's log-likelihood, row by row, is the reference."""
    rows = examples(base)
    model, _ = adapting.attach(base.model, Recipe(), "tiny", None)
    expected = []
    for row in rows:
        with torch.no_grad():
            logits = base.model(input_ids=torch.tensor([row.ids])).logits[0].float().log_softmax(-1)
        expected += [-float(logits[at - 1, row.ids[at]]) for at in range(1, len(row.ids)) if row.trained[at]]
    mean = sum(expected) / len(expected)
    assert evaluation.mean_loss(model, rows) == pytest.approx(mean, rel=0.02)
    assert float(supervised.compact_loss(model, batch(rows), None).detach()) == pytest.approx(mean, rel=0.02)


class Plain(nn.Linear):
    """An unquantized layer on dequantized weights."""


def dequantized(model: nn.Module) -> None:
    for name, module in list(model.named_modules()):
        if isinstance(module, bnb.nn.Linear4bit):
            weight = bnf.dequantize_4bit(module.weight.data, module.weight.quant_state).float()
            plain = Plain(module.in_features, module.out_features, bias=False)
            plain.weight = nn.Parameter(weight.reshape(module.out_features, module.in_features), requires_grad=False)
            owner, _, leaf = name.rpartition(".")
            setattr(model.get_submodule(owner), leaf, plain)


def gradients(model: nn.Module, rows: list[Example]) -> torch.Tensor:
    model.train()
    model.zero_grad()
    supervised.compact_loss(model, batch(rows), None).backward()
    return torch.cat([one.grad.flatten() for name, one in sorted(model.named_parameters()) if one.grad is not None])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gradients_are_those_of_the_unquantized_reference(folder: Path, paths: Paths, dtype: torch.dtype) -> None:
    """Also after a forward pass in eval mode, which repacks 4-bit weights on some CPUs unless it is forbidden."""
    found = []
    for reference in (False, True):
        loaded = load_base(str(folder), paths, Settings(), lambda stage, fraction: None, dtype=dtype)
        rows = examples(loaded)
        if reference:
            dequantized(loaded.model)
            loaded.model.is_quantized = loaded.model.is_loaded_in_4bit = False
            loaded.model.float()
        model, _ = adapting.attach(loaded.model, Recipe(seed=3), "tiny", None)
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                torch.manual_seed(len(name))
                parameter.data.normal_(0, 0.02)
        if not reference:
            assert not any(
                module.support_avx512bf16_for_cpu for module in model.modules() if isinstance(module, bnb.nn.Linear4bit)
            )
            evaluation.mean_loss(model, rows)
            evaluation.reply(model, loaded.words, "Where do I live?", 4)
        found.append(gradients(model, rows))
    assert float(nn.functional.cosine_similarity(found[0], found[1], dim=0)) >= 0.999


def trained(base: LoadedBase, folder: Path, recipe: Recipe, rate: float) -> tuple[dict, dict]:
    """Matrices before and after a short training."""
    rows = examples(base)
    model, _ = adapting.attach(base.model, recipe, "tiny", None)
    before = adapting.matrices(model)
    plan = schedule.plan(len(rows), 64, recipe)
    made = supervised.trainer(model, base.tokenizer, rows, recipe, plan, folder=folder, rate=rate)
    assert all(one.dtype == torch.float32 for one in model.parameters() if one.requires_grad)
    lengths = [len(row.ids) for row in rows]
    made.watched_by(
        Watch(folder, Control(folder), lambda event: None, plan.steps, plan.steps, 3, lengths, plan.micro_batch, 0)
    )
    made.go(None)
    return before, adapting.matrices(model)


def test_small_learning_rates_move_the_matrices(base: LoadedBase, tmp_path: Path) -> None:
    """Where bf16 matrices would stay as they are: an update of 1e-6 on weights of 0.1."""
    before, after = trained(base, tmp_path, Recipe(max_steps=3, warmup=0.0, schedule="constant"), 1e-6)
    moved = torch.cat([(after[name] - before[name]).flatten() for name in before if "lora_A" in name])
    in_bf16 = torch.cat(
        [(after[name].bfloat16() - before[name].bfloat16()).flatten() for name in before if "lora_A" in name]
    )
    assert (moved != 0).float().mean() > 0.5
    assert (in_bf16 != 0).float().mean() < 0.2


def test_the_base_is_not_changed_by_training(base: LoadedBase, tmp_path: Path) -> None:
    before = base.arena.chunks()
    trained(base, tmp_path, Recipe(max_steps=2), 1e-2)
    assert base.arena.chunks() == before


def test_matrices_are_saved_and_put_back_as_they_are(base: LoadedBase, tmp_path: Path) -> None:
    model, _ = adapting.attach(base.model, Recipe(), "tiny", None)
    own = {name: torch.randn_like(value) for name, value in adapting.matrices(model).items()}
    adapting.put_back(model, own)
    adapting.save(model, tmp_path / "saved")
    assert all(torch.equal(own[name], value) for name, value in adapting.read(tmp_path / "saved").items())
    with adapting.holding(model, {name: value + 1 for name, value in own.items()}):
        assert torch.equal(adapting.matrices(model)[min(own)], own[min(own)] + 1)
    assert torch.equal(adapting.matrices(model)[min(own)], own[min(own)])
    with pytest.raises(AdapterMismatch):
        adapting.put_back(model, {name: value[:2] for name, value in own.items()})


def test_peft_opens_what_is_saved(base: LoadedBase, folder: Path, tmp_path: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model, _ = adapting.attach(base.model, Recipe(), "demo", None)
    own = {name: torch.randn_like(value) for name, value in adapting.matrices(model).items()}
    adapting.put_back(model, own)
    adapting.save(model, tmp_path / "saved")
    opened = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(folder), tmp_path / "saved")
    assert opened.peft_config["default"].base_model_name_or_path == "demo"
    found = {name: value for name, value in opened.state_dict().items() if "lora_" in name}
    assert len(found) == len(own)
    assert all(torch.equal(own[name.replace(".default", "")], value) for name, value in found.items())


def test_matrices_that_are_not_finite_are_not_written(base: LoadedBase, tmp_path: Path) -> None:
    model, _ = adapting.attach(base.model, Recipe(), "tiny", None)
    next(one for one in model.parameters() if one.requires_grad).data[0, 0] = float("inf")
    with pytest.raises(RunDiverged):
        adapting.save(model, tmp_path / "saved")
    assert not (tmp_path / "saved").exists()


def scored(subset: str, parent: float, new: float) -> Scored:
    return Scored(subset=subset, base=3.0, parent=parent, new=new, examples=5)


def test_when_a_version_is_worse() -> None:
    assert evaluation.worse([scored("new", 1.0, 2.0), scored("old", 1.0, 1.04)], "mine/v1") == ""
    assert "taught before" in evaluation.worse([scored("old", 1.0, 1.2)], "mine/v1")
    assert "held-out" in evaluation.worse([scored("held_out", 1.0, 1.2)], "mine/v1")
    assert evaluation.worse([scored("old", 0.01, 0.04)], "mine/v1") == ""


def test_columns_and_collation_agree_with_the_examples() -> None:
    table = columns([Example([1, 5, 2], [False, True, True])])
    assert table == {"input_ids": [[1, 5, 2]], "labels": [[IGNORED, 5, 2]]}
    assert collate([{"input_ids": [1], "labels": [1]}, {"input_ids": [1, 2], "labels": [1, 2]}])["labels"].tolist() == [
        [1, IGNORED],
        [1, 2],
    ]


class Counting(Control):
    """How often chat could have gone first."""

    ways = 0

    def give_way(self) -> None:
        self.ways += 1
        super().give_way()


def test_chat_can_go_first_between_layers_forward_and_backward(base: LoadedBase, tmp_path: Path) -> None:
    rows = examples(base)[:2]
    recipe = Recipe(max_steps=1)
    model, _ = adapting.attach(base.model, recipe, "tiny", None)
    plan = schedule.plan(len(rows), 64, recipe)
    made = supervised.trainer(model, base.tokenizer, rows, recipe, plan, folder=tmp_path, rate=1e-3)
    control = Counting(tmp_path)
    made.watched_by(Watch(tmp_path, control, lambda event: None, 1, 1, 3, [64, 64], plan.micro_batch, 0))
    made.go(None)
    layers = base.model.config.num_hidden_layers
    assert control.ways == 1 + 2 * layers
