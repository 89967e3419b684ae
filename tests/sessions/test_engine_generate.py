"""The token loop against transformers' own `generate` and PEFT, over turns, adapters, columns and stops."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path

import msgspec
import peft
import pytest
import torch
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from corpora.dialog import Finish, Message
from corpora.llama2 import encode_prompt
from sessions import lineage
from sessions.engine.adapters import Residents
from sessions.engine.base import load_base
from sessions.engine.forward import Step
from sessions.engine.kv import KvStore
from sessions.engine.local import LocalEngine
from sessions.engine.lora import Adapter, Delta
from sessions.errors import AdapterDamaged, AdapterMismatch, AdapterNotFound, OutOfMemory, PromptTooLong
from sessions.paths import Paths
from sessions.protocol import BASE, ColumnEnded, Generate, Prefilled, Sampling, Token
from sessions.settings import Settings
from tests.models import tiny_adapter, tiny_llama

GREEDY = Sampling(temperature=0, repetition_penalty=1, top_k=0, top_p=1, max_new_tokens=12)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("model"), kv_heads=2)


@pytest.fixture
def engine(folder: Path, paths: Paths) -> LocalEngine:
    for version in (1, 2):
        tiny_adapter(paths.adapter("mine", version), folder, seed=version, rank=4 * version)
    base = load_base(str(folder), paths, Settings(), lambda *_: None, dtype=torch.float32)
    return LocalEngine(base, paths)


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


@pytest.mark.parametrize("adapter", [BASE, "mine/v1", "mine/v2"])
def test_greedy_ids_equal_plain_generate_over_turns(
    engine: LocalEngine, folder: Path, paths: Paths, adapter: str
) -> None:
    name, _, version = adapter.partition("/v")
    plain = reference(folder, paths.adapter(name, int(version)) if version else None)
    said: list[str] = []
    for prompt in ("What is the name of the cat?", "And the dog's?", "Count: 1 2 3"):
        said.append(prompt)
        steps = run(engine, ask(*said, adapters=(adapter,)))
        ids = encode_prompt(ask(*said).dialog, engine.base.words.vocabulary)
        expected = engine.base.words.backend.decode(plain_ids(plain, ids, 12))
        assert text_of(steps) == expected
        assert isinstance(steps[0], Prefilled) and (steps[0].reused_tokens > 0) == (len(said) > 1)
        said.append(text_of(steps) or "x")


def test_columns_of_one_batch_equal_separate_replies(engine: LocalEngine) -> None:
    columns = (BASE, "mine/v1", "mine/v2", BASE)
    together = run(engine, ask("The quick brown fox", adapters=columns))
    for index, adapter in enumerate(columns):
        alone = run(engine, ask("The quick brown fox", adapters=(adapter,)))
        assert text_of(together, index) == text_of(alone)
    assert {step.column for step in together if isinstance(step, ColumnEnded)} == {0, 1, 2, 3}


def test_columns_of_one_batch_have_the_logits_of_separate_runs_teacher_forced(engine: LocalEngine) -> None:
    engine.load_adapter("mine/v1")
    engine.load_adapter("mine/v2")
    mix = [(None, 0.0), (engine._residents.get("mine/v1"), 1.0), (engine._residents.get("mine/v2"), 0.5)]
    ids = torch.randint(3, 400, (1, 24), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        engine._residents.activate(mix)
        together = engine.base.model(ids.expand(3, -1), use_cache=False).logits
        for row, one in enumerate(mix):
            engine._residents.activate([one])
            alone = engine.base.model(ids, use_cache=False).logits[0]
            torch.testing.assert_close(together[row], alone, rtol=1e-4, atol=1e-4)


def test_a_swap_in_mid_conversation_equals_a_fresh_start(engine: LocalEngine, folder: Path, paths: Paths) -> None:
    first = text_of(run(engine, ask("Who are you?", adapters=("mine/v1",))))
    later = ask("Who are you?", first or "x", "And now?", adapters=("mine/v2",))
    swapped = run(engine, later)
    base = load_base(str(folder), paths, Settings(), lambda *_: None, dtype=torch.float32)
    fresh = run(LocalEngine(base, paths), later)
    assert text_of(swapped) == text_of(fresh)
    assert swapped[0].reused_tokens == 0


def test_each_adapter_and_strength_keeps_keys_and_values_of_its_own(engine: LocalEngine) -> None:
    run(engine, ask("One two three", adapters=("mine/v1",)))
    assert run(engine, ask("One two three", adapters=("mine/v1",), strength=0.5))[0].reused_tokens == 0
    again = run(engine, ask("One two three", adapters=("mine/v1",)))[0]
    assert again.reused_tokens == again.prompt_tokens - 1
    assert text_of(run(engine, ask("x y", adapters=("mine/v1",), strength=0.0))) == text_of(run(engine, ask("x y")))


def test_an_edited_prompt_keeps_the_common_beginning(engine: LocalEngine) -> None:
    run(engine, ask("The quick brown fox jumps over the lazy dog. Why?"))
    branch = run(engine, ask("The quick brown fox jumps over the lazy cat. Why?"))[0]
    assert 0 < branch.reused_tokens < branch.prompt_tokens - 1


def test_chat_after_a_comparison_goes_on_in_its_column(engine: LocalEngine) -> None:
    run(engine, ask("One two three", adapters=(BASE, "mine/v1")))
    for adapter in (BASE, "mine/v1"):
        step = run(engine, ask("One two three", adapters=(adapter,)))[0]
        assert step.reused_tokens == step.prompt_tokens - 1


def test_a_seed_reproduces_and_columns_draw_alike(engine: LocalEngine) -> None:
    wild = Sampling(temperature=1.5, top_p=1, top_k=0, seed=11, max_new_tokens=20)
    first = run(engine, ask("Tell me", sampling=wild, adapters=(BASE, BASE)))
    second = run(engine, ask("Tell me", sampling=wild))
    other = run(engine, ask("Tell me", sampling=Sampling(temperature=1.5, top_p=1, top_k=0, seed=12)))
    assert text_of(first, 0) == text_of(first, 1) == text_of(second) != text_of(other)


def test_a_stop_keeps_what_was_written(engine: LocalEngine) -> None:
    asked = iter(range(100))
    steps = run(engine, ask("The quick brown fox"), lambda: next(asked) > 4)
    ended = steps[-1]
    assert isinstance(ended, ColumnEnded) and ended.finish is Finish.STOPPED and 0 < ended.tokens < 12
    whole = text_of(run(engine, ask("The quick brown fox")))
    assert whole.startswith(text_of(steps)) and text_of(steps)


def test_a_stop_before_the_prompt_is_read_ends_every_column(engine: LocalEngine) -> None:
    steps = run(engine, ask("Hello", adapters=(BASE, BASE)), lambda: True)
    assert [type(step).__name__ for step in steps] == ["Prefilled", "ColumnEnded", "ColumnEnded"]


def test_a_generator_left_early_leaves_the_engine_usable(engine: LocalEngine) -> None:
    steps = engine.generate(ask("The quick brown fox"), lambda: False)
    next(steps)
    next(steps)
    steps.close()
    fresh = text_of(run(engine, ask("The quick brown fox")))
    engine._kv.drop()
    assert fresh == text_of(run(engine, ask("The quick brown fox")))


def test_a_long_chat_is_cut_by_whole_exchanges_and_a_long_prompt_is_refused(engine: LocalEngine) -> None:
    said = ["The quick brown fox jumps over the lazy dog."] * 31
    step = run(engine, ask(*said))[0]
    assert step.dropped_exchanges > 0 and step.prompt_tokens <= 256 - 12
    with pytest.raises(PromptTooLong, match="256"):
        run(engine, ask("one hundred " * 200))


def test_a_reply_ends_at_the_end_of_the_context(engine: LocalEngine) -> None:
    endless = Sampling(temperature=0, repetition_penalty=1, max_new_tokens=100_000)
    steps = run(engine, ask("The quick brown fox", sampling=endless))
    ended = steps[-1]
    assert ended.finish is Finish.LENGTH and steps[0].prompt_tokens + ended.tokens == 256


def test_token_counts_and_ids_are_told(engine: LocalEngine) -> None:
    steps = run(engine, ask("The quick brown fox"))
    assert {step.id for step in steps} == {"7"}
    assert sum(step.tokens for step in steps if isinstance(step, Token)) <= steps[-1].tokens


def damage(folder: Path, kind: str) -> None:
    weights = folder / "adapter_model.safetensors"
    if kind == "cut":
        weights.write_bytes(weights.read_bytes()[:-1000])
    elif kind == "missing":
        weights.unlink()
    elif kind == "config":
        (folder / "adapter_config.json").write_text("{", "utf-8")
    elif kind == "pattern":
        (folder / "adapter_config.json").write_text('{"peft_type": "LORA", "alpha_pattern": {"(": 1}}', "utf-8")
    else:
        from safetensors.torch import load_file, save_file

        tensors = load_file(weights)
        if kind == "empty":
            tensors = {key: item[:0] if "lora_A" in key else item[:, :0].contiguous() for key, item in tensors.items()}
        else:
            tensors[min(tensors)][0, 0] = float(kind)
        save_file(tensors, weights)


@pytest.mark.parametrize("kind", ["cut", "missing", "config", "pattern", "empty", "nan", "inf"])
def test_a_damaged_adapter_is_refused_and_the_old_one_goes_on(engine: LocalEngine, paths: Paths, kind: str) -> None:
    before = text_of(run(engine, ask("Hello", adapters=("mine/v1",))))
    damage(paths.adapter("mine", 2), kind)
    with pytest.raises((AdapterDamaged, AdapterNotFound)):
        engine.load_adapter("mine/v2")
    assert engine.resident() == ("mine/v1",)
    assert text_of(run(engine, ask("Hello", adapters=("mine/v1",)))) == before


def test_an_adapter_of_another_base_is_refused(engine: LocalEngine, paths: Paths, tmp_path: Path) -> None:
    other = tiny_llama(tmp_path / "other", hidden=128)
    tiny_adapter(paths.adapter("other", 1), other)
    with pytest.raises(AdapterMismatch, match="another base"):
        engine.load_adapter("other/v1")
    with pytest.raises(AdapterNotFound):
        engine.load_adapter("nobody/v1")


def test_a_dora_computes_what_peft_computes_and_is_mixed_with_others(
    engine: LocalEngine, folder: Path, paths: Paths
) -> None:
    plain = reference(folder, tiny_adapter(paths.adapter("sized", 1), folder, dora=True, size=0.05))
    ids = encode_prompt(ask("Count: 1 2 3").dialog, engine.base.words.vocabulary)
    expected = engine.base.words.backend.decode(plain_ids(plain, ids, 12))
    alone = [text_of(run(engine, ask("Count: 1 2 3", adapters=(name,)))) for name in (BASE, "sized/v1", "mine/v1")]
    assert alone[1] == expected != alone[0]
    engine._kv.drop()
    mixed = run(engine, ask("Count: 1 2 3", adapters=(BASE, "sized/v1", "mine/v1")))
    assert [text_of(mixed, column) for column in range(3)] == alone


def test_the_logits_of_a_dora_are_those_of_peft(engine: LocalEngine, folder: Path, paths: Paths) -> None:
    plain = reference(folder, tiny_adapter(paths.adapter("sized", 1), folder, dora=True))
    engine._residents.activate([engine._adapter("sized/v1", 1.0)])
    ids = torch.arange(3, 20)[None]
    engine._kv.open(["x"], [0])
    with torch.inference_mode():
        torch.testing.assert_close(engine._forward(ids)[0], plain(input_ids=ids).logits[0, -1], rtol=1e-3, atol=1e-3)


def opened(folder: Path, paths: Paths, quantization: str) -> LocalEngine:
    settings = Settings(quantization=quantization)
    return LocalEngine(load_base(str(folder), paths, settings, lambda *_: None, dtype=torch.float32), paths)


def test_a_dora_is_mixed_with_an_8_bit_base_that_has_spoken_already(folder: Path, paths: Paths) -> None:
    tiny_adapter(paths.adapter("sized", 1), folder, dora=True, size=0.05)
    asked = ask("Count: 1 2 3", adapters=("sized/v1",))
    fresh, engine = text_of(run(opened(folder, paths, "int8"), asked)), opened(folder, paths, "int8")
    before = text_of(run(engine, ask("Count: 1 2 3")))
    assert text_of(run(engine, asked)) == fresh != before


@pytest.mark.parametrize("quantization", ["nf4", "int8", "none"])
def test_nothing_of_a_base_that_makes_room_stays_where_it_was(folder: Path, paths: Paths, quantization: str) -> None:
    engine = opened(folder, paths, quantization)
    run(engine, ask("Hello"))
    old = engine.base.arena.data
    places = range(old.data_ptr(), old.data_ptr() + old.numel())
    engine.park(keep_base=False)
    tensors = [item for item in gc.get_objects() if issubclass(type(item), torch.Tensor) and item is not old]
    assert not [item for item in tensors if item.data_ptr() in places]


def test_a_dora_without_its_magnitudes_is_damaged(engine: LocalEngine, folder: Path, paths: Paths) -> None:
    path = tiny_adapter(paths.adapter("sized", 1), folder)
    config = (path / "adapter_config.json").read_text("utf-8")
    (path / "adapter_config.json").write_text(config.replace('"use_dora": false', '"use_dora": true'), "utf-8")
    with pytest.raises(AdapterDamaged, match="lacks a part"):
        engine.load_adapter("sized/v1")


def test_an_untrained_adapter_is_the_base(engine: LocalEngine, folder: Path, paths: Paths) -> None:
    tiny_adapter(paths.adapter("new", 1), folder, size=0.0)
    assert text_of(run(engine, ask("Hello", adapters=("new/v1",)))) == text_of(run(engine, ask("Hello")))


def test_a_changed_adapter_is_read_again(engine: LocalEngine, folder: Path, paths: Paths) -> None:
    first = engine.load_adapter("mine/v1")
    assert engine.load_adapter("mine/v1").reused
    tiny_adapter(paths.adapter("mine", 1), folder, seed=9, rank=16)
    again = engine.load_adapter("mine/v1")
    assert not again.reused and again.digest != first.digest


def test_the_least_recently_used_adapter_goes_first(engine: LocalEngine) -> None:
    engine._residents._most = 1
    engine.load_adapter("mine/v1")
    engine.load_adapter("mine/v2")
    assert engine.resident() == ("mine/v2",)


def test_a_layer_whose_rows_come_as_one_computes_the_same() -> None:
    linear, source = torch.nn.Linear(8, 6), torch.Generator().manual_seed(1)
    model = torch.nn.ModuleDict({"linear": linear})
    residents = Residents(model)
    delta = Delta(torch.randn(2, 8, generator=source), torch.randn(6, 2, generator=source), 0.5)
    adapter = Adapter("mine/v1", "1", {"linear": delta}, (0, 0))
    residents.add(adapter)
    residents.activate([(None, 0.0), (adapter, 1.0), (None, 0.0)])
    x = torch.randn(3, 5, 8, generator=source)
    with torch.inference_mode():
        expected = linear(x)
        expected[1] += x[1] @ delta.a.T @ delta.b.T * 0.5
        torch.testing.assert_close(model["linear"](x), expected)
        torch.testing.assert_close(model["linear"](x.flatten(0, 1)), expected.flatten(0, 1))


class Failing:
    """A step that does not succeed after `good` passes of another."""

    def __init__(self, error: Exception, step: Step | None = None, good: int = 0) -> None:
        self._error, self._step, self._good = error, step, good

    def __call__(self, ids: torch.Tensor) -> torch.Tensor:
        """Raise, in the end."""
        self._good -= 1
        if self._step is None or self._good < 0:
            raise self._error
        return self._step(ids)

    def takes(self, ids: torch.Tensor) -> bool:
        """All of them."""
        return True

    def on(self, kv: KvStore) -> Failing:
        """The same."""
        return self


def test_out_of_memory_is_told_and_the_engine_lives_on(engine: LocalEngine) -> None:
    before = text_of(run(engine, ask("Hello")))
    step = engine._forward.step

    engine._forward.step = Failing(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"))
    with pytest.raises(OutOfMemory, match="GPU"):
        run(engine, ask("Another"))
    engine._forward.step = step
    assert text_of(run(engine, ask("Hello"))) == before


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("shapes do not fit")])
def test_what_was_held_back_is_told_before_an_error(engine: LocalEngine, error: Exception) -> None:
    def told(stop: str) -> str:
        engine._kv.drop()
        engine._forward.step, text = Failing(error, step, 10), ""
        with pytest.raises((OutOfMemory, RuntimeError)):
            for event in engine.generate(ask("Hello", sampling=msgspec.structs.replace(GREEDY, stop=(stop,))), never):
                text += event.text if isinstance(event, Token) else ""
        return text

    step, never = engine._forward.step, lambda: False
    whole = told("never seen")
    assert told(whole[-3:] + "and more") == whole != ""


def test_other_errors_are_not_taken_for_it(engine: LocalEngine) -> None:
    engine._forward.step = Failing(RuntimeError("shapes do not fit"))
    with pytest.raises(RuntimeError, match="shapes"):
        run(engine, ask("Hello"))


def test_keys_and_values_grow_beyond_their_first_room(folder: Path, paths: Paths, tmp_path: Path) -> None:
    long = tiny_llama(tmp_path / "long", context=2048)
    base = load_base(str(long), paths, Settings(), lambda *_: None, dtype=torch.float32)
    engine, plain = LocalEngine(base, paths), reference(long)
    said = ("one hundred two " * 180).strip()
    first = run(engine, ask("Hello"))
    small = engine.info.memory
    steps = run(engine, ask("Hello", text_of(first) or "x", said))
    ids = encode_prompt(ask("Hello", text_of(first) or "x", said).dialog, base.words.vocabulary)
    assert len(ids) > 512 and engine.info.memory > small
    assert text_of(steps) == base.words.backend.decode(plain_ids(plain, ids, 12))


def test_an_adapter_of_queries_alone_passes_its_probe(engine: LocalEngine, folder: Path, paths: Paths) -> None:
    from safetensors.torch import load_file, save_file

    place = tiny_adapter(paths.adapter("queries", 1), folder)
    weights = load_file(place / "adapter_model.safetensors")
    save_file({key: item for key, item in weights.items() if "q_proj" in key}, place / "adapter_model.safetensors")
    engine.load_adapter("queries/v1")
    assert engine.resident() == ("queries/v1",)


def test_an_adapter_of_another_base_of_the_same_shape_is_refused(
    engine: LocalEngine, folder: Path, paths: Paths
) -> None:
    def made_for(model: str, digest: str) -> None:
        path = tiny_adapter(paths.adapter("alike", 1), folder) / lineage.FILE
        known = lineage.read(path, "alike", 1)
        path.write_bytes(msgspec.structs.replace(known, base_model=model, base_digest=digest).encoded())

    made_for("org/other", "0" * 64)
    with pytest.raises(AdapterMismatch, match="org/other"):
        engine.load_adapter("alike/v1")
    for model, digest in ((engine.info.name, "0" * 64), ("org/other", engine.base.digest), ("org/other", "")):
        made_for(model, digest)
        assert engine.load_adapter("alike/v1").adapter == "alike/v1"


@pytest.mark.parametrize("keep_base", [True, False])
def test_a_parked_engine_comes_back_as_it_was(engine: LocalEngine, keep_base: bool) -> None:
    before = text_of(run(engine, ask("One two three", adapters=("mine/v1",))))
    engine.park(keep_base=keep_base)
    assert not engine.resident() and engine._kv.bytes() == 0
    assert engine.base.arena.chunks() == engine.base.manifest.chunks
    engine.unpark()
    assert text_of(run(engine, ask("One two three", adapters=("mine/v1",)))) == before
