"""Adapters that are no LoRA: IA3 is mixed into the batch, virtual tokens are written in turn."""

from __future__ import annotations

import json
from pathlib import Path

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from corpora.dialog import Finish
from corpora.llama2 import encode_prompt
from sessions.engine.base import load_base
from sessions.engine.contract import Step
from sessions.engine.local import LocalEngine
from sessions.errors import AdapterDamaged, AdapterMismatch, UsageError
from sessions.paths import Paths
from sessions.protocol import BASE, ColumnEnded, Prefilled, Sampling, Token
from sessions.settings import Settings
from tests.models import tiny_llama, tiny_model, tiny_tokenizer
from tests.sessions.engine_help import GREEDY, ask, reference, run, text_of

pytestmark = pytest.mark.usefixtures("one_thread")
CAUSAL = {"task_type": "CAUSAL_LM"}
WEIGHTS = "adapter_model.safetensors"


def config_of(method: str, *, places: int = 6, **more: object) -> peft.PeftConfig:
    match method:
        case "ia3":
            return peft.IA3Config(**CAUSAL, **more)
        case "prompt":
            return peft.PromptTuningConfig(**CAUSAL, num_virtual_tokens=places)
        case "p-tuning":
            return peft.PromptEncoderConfig(**CAUSAL, num_virtual_tokens=places, encoder_hidden_size=32)
        case _:
            return peft.PrefixTuningConfig(**CAUSAL, num_virtual_tokens=places)


def made(folder: Path, paths: Paths, method: str, name: str = "other", seed: int = 0, **more: object) -> Path:
    """A PEFT folder of that method with weights that change much."""
    torch.manual_seed(seed)
    model = peft.get_peft_model(AutoModelForCausalLM.from_pretrained(folder), config_of(method, **more))
    place = paths.adapter(name, 1)
    model.save_pretrained(str(place))
    tensors = load_file(place / WEIGHTS)
    source = torch.Generator().manual_seed(seed)
    loud = {key: item + torch.randn(item.shape, generator=source) * 0.7 for key, item in tensors.items()}
    save_file(loud, place / WEIGHTS)
    (place / "lineage.json").write_text(
        json.dumps({"adapter": name, "version": 1, "parent": "base", "base_model": ""}), "utf-8"
    )
    return place


def peft_says(engine: LocalEngine, folder: Path, place: Path, *said: str) -> str:
    """PEFT's own greedy reply, every step from the beginning."""
    model, ids = reference(folder, place), encode_prompt(ask(*said).dialog, engine.base.words.vocabulary)
    written: list[int] = []
    while len(written) < GREEDY.max_new_tokens:
        with torch.inference_mode():
            token = int(model(input_ids=torch.tensor([[*ids, *written]])).logits[0, -1].argmax())
        if token in engine.base.words.ends:
            break
        written.append(token)
    return engine.base.words.backend.decode(written)


@pytest.mark.parametrize("method", ["ia3", "prompt", "p-tuning", "prefix"])
def test_greedy_ids_are_those_of_peft_over_turns(engine: LocalEngine, folder: Path, paths: Paths, method: str) -> None:
    place = made(folder, paths, method)
    first = run(engine, ask("Count: 1 2 3", adapters=("other/v1",)))
    reply = text_of(first)
    assert reply == peft_says(engine, folder, place, "Count: 1 2 3") != text_of(run(engine, ask("Count: 1 2 3")))
    said = ("Count: 1 2 3", reply.strip() or "so", "And on?")
    second = run(engine, ask(*said, adapters=("other/v1",)))
    assert text_of(second) == peft_says(engine, folder, place, *said)
    assert second[0].reused_tokens > first[0].reused_tokens == 0


def test_columns_that_cannot_share_a_batch_are_written_in_turn(engine: LocalEngine, folder: Path, paths: Paths) -> None:
    made(folder, paths, "prefix", "before"), made(folder, paths, "prompt", "soft"), made(folder, paths, "ia3", "gains")
    names = ("before/v1", "gains/v1", "soft/v1", BASE)
    alone = [text_of(run(engine, ask("Count: 1 2 3", adapters=(name,)))) for name in names]
    engine._kv.drop()
    steps = run(engine, ask("Count: 1 2 3", adapters=names))
    assert [text_of(steps, column) for column in range(4)] == alone
    assert len(set(alone)) == 4
    assert [step.columns for step in steps if isinstance(step, Prefilled)] == [(0,), (1, 3), (2,)]
    assert sorted(step.column for step in steps if isinstance(step, ColumnEnded)) == [0, 1, 2, 3]
    turn = {0: 0, 1: 1, 3: 1, 2: 2}
    written = [turn[step.column] for step in steps if isinstance(step, Token)]
    assert written == sorted(written)


def test_the_same_virtual_tokens_share_a_batch(engine: LocalEngine, folder: Path, paths: Paths) -> None:
    made(folder, paths, "prefix")
    steps = run(engine, ask("Count: 1 2 3", adapters=("other/v1", "other/v1")))
    assert [step.columns for step in steps if isinstance(step, Prefilled)] == [()]
    assert text_of(steps, 0) == text_of(steps, 1) == text_of(run(engine, ask("Count: 1 2 3", adapters=("other/v1",))))


def test_a_stop_in_the_first_turn_ends_the_others(engine: LocalEngine, folder: Path, paths: Paths) -> None:
    made(folder, paths, "prefix")
    request = ask("Count: 1 2 3", adapters=(BASE, "other/v1"))
    steps: list[Step] = []
    steps.extend(engine.generate(request, lambda: any(isinstance(step, Token) for step in steps)))
    ends = {step.column: step for step in steps if isinstance(step, ColumnEnded)}
    assert ends[0].finish is ends[1].finish is Finish.STOPPED
    assert ends[1].tokens == 0 and text_of(steps, 1) == ""
    assert text_of(run(engine, request), 1) == text_of(run(engine, ask("Count: 1 2 3", adapters=("other/v1",))))


def test_the_places_of_virtual_tokens_are_kept_free(engine: LocalEngine, folder: Path, paths: Paths) -> None:
    made(folder, paths, "prefix")
    context = engine.base.info.context
    long = Sampling(temperature=0, max_new_tokens=10 * context)
    said = ["Count: 1 2 3 " * 8, "so"] * 30 + ["And on?"]
    steps = run(engine, ask(*said, adapters=("other/v1", BASE), sampling=long))
    read = [step for step in steps if isinstance(step, Prefilled)]
    assert read[0].dropped_exchanges == read[1].dropped_exchanges > 0
    assert read[0].prompt_tokens == read[1].prompt_tokens + 6
    ends = [step for step in steps if isinstance(step, ColumnEnded)]
    assert all(end.tokens <= context - begun.prompt_tokens for begun, end in zip(read, ends, strict=True))


@pytest.mark.parametrize("method", ["prompt", "prefix"])
def test_more_virtual_tokens_than_the_model_has_room_for_are_refused(
    engine: LocalEngine, folder: Path, paths: Paths, method: str
) -> None:
    half = engine.base.info.context // 2
    made(folder, paths, method, "most", places=half), made(folder, paths, method, "over", places=half + 1)
    assert text_of(run(engine, ask("Count: 1 2 3", adapters=("most/v1",))))
    with pytest.raises(AdapterMismatch, match=f"{half + 1} virtual tokens, and this model has room for {half}"):
        engine.load_adapter("over/v1")


def test_virtual_tokens_have_no_strength_between(engine: LocalEngine, folder: Path, paths: Paths) -> None:
    made(folder, paths, "prompt")
    plain = text_of(run(engine, ask("Hello")))
    assert text_of(run(engine, ask("Hello", adapters=("other/v1",), strength=0.0))) == plain
    with pytest.raises(UsageError, match="without a strength between"):
        run(engine, ask("Hello", adapters=("other/v1",), strength=0.5))


def test_the_strength_of_gains(engine: LocalEngine, folder: Path, paths: Paths) -> None:
    place = made(folder, paths, "ia3")
    expected = text_of(run(engine, ask("Count: 1 2 3", adapters=("other/v1",), strength=0.5)))
    tensors = load_file(place / WEIGHTS)
    save_file({key: 1 + (item - 1) / 2 for key, item in tensors.items()}, place / WEIGHTS)
    assert text_of(run(engine, ask("Count: 1 2 3", adapters=("other/v1",)))) == expected


@pytest.mark.parametrize("method", ["ia3", "prompt", "prefix"])
def test_another_base_and_damage_are_told(
    engine: LocalEngine, paths: Paths, tmp_path: Path, folder: Path, method: str
) -> None:
    other = tiny_llama(tmp_path / "other", hidden=128)
    made(other, paths, method, "foreign")
    with pytest.raises(AdapterMismatch, match="another base|for a base"):
        engine.load_adapter("foreign/v1")
    place = made(folder, paths, method)
    tensors = load_file(place / WEIGHTS)
    tensors[min(tensors)].view(-1)[0] = float("nan")
    save_file(tensors, place / WEIGHTS)
    with pytest.raises(AdapterDamaged, match="not finite"):
        engine.load_adapter("other/v1")
    save_file({f"{key}.more": item for key, item in tensors.items()}, place / WEIGHTS)
    with pytest.raises((AdapterDamaged, AdapterMismatch)):
        engine.load_adapter("other/v1")


@pytest.mark.parametrize("method", ["prompt", "prefix"])
def test_virtual_tokens_before_a_bloom(paths: Paths, tmp_path: Path, method: str) -> None:
    bloom = tiny_model(tmp_path / "bloom", "bloom", tiny_tokenizer(tmp_path / "words"))
    settings = Settings(quantization="nf4")
    engine = LocalEngine(load_base(str(bloom), paths, settings, lambda *_: None, dtype=torch.float32), paths)
    place = made(bloom, paths, method)
    reply = text_of(run(engine, ask("Count: 1 2 3", adapters=("other/v1",))))
    assert reply == peft_says(engine, bloom, place, "Count: 1 2 3") != text_of(run(engine, ask("Count: 1 2 3")))


def test_gains_on_inputs_that_no_layer_makes_alone_are_refused(paths: Paths, tmp_path: Path) -> None:
    bloom = tiny_model(tmp_path / "bloom", "bloom", tiny_tokenizer(tmp_path / "words"))
    engine = LocalEngine(load_base(str(bloom), paths, Settings(), lambda *_: None, dtype=torch.float32), paths)
    made(bloom, paths, "ia3", target_modules=["dense_4h_to_h"], feedforward_modules=["dense_4h_to_h"])
    with pytest.raises(AdapterMismatch, match="scales the inputs") as refused:
        engine.load_adapter("other/v1")
    assert "feedforward_modules" in refused.value.remedy
