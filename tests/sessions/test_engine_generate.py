"""The token loop against transformers' own `generate` and PEFT, over turns, adapters, columns and stops."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
import torch

from corpora.dialog import Finish
from corpora.llama2 import encode_prompt
from sessions.engine.base import load_base
from sessions.engine.forward import Step
from sessions.engine.kv import KvStore
from sessions.engine.local import LocalEngine
from sessions.errors import OutOfMemory, PromptTooLong
from sessions.paths import Paths
from sessions.protocol import BASE, ColumnEnded, Prefilled, Sampling, Token
from sessions.settings import Settings
from tests.models import tiny_llama
from tests.sessions.engine_help import GREEDY, ask, plain_ids, reference, run, text_of

pytestmark = pytest.mark.usefixtures("one_thread")


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


@pytest.mark.parametrize("keep_base", [True, False])
def test_a_parked_engine_comes_back_as_it_was(engine: LocalEngine, keep_base: bool) -> None:
    before = text_of(run(engine, ask("One two three", adapters=("mine/v1",))))
    engine.park(keep_base=keep_base)
    assert not engine.resident() and engine._kv.bytes() == 0
    assert engine.base.arena.chunks() == engine.base.manifest.chunks
    engine.unpark()
    assert text_of(run(engine, ask("One two three", adapters=("mine/v1",)))) == before
