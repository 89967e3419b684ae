"""Runs on models with a chat form of their own: the same ids as in chat, the right mask, a version in the end."""

from __future__ import annotations

from pathlib import Path

import pytest

from corpora.dataset import encode_rows, read_snapshot
from corpora.dialog import Message
from corpora.llama2 import encode_prompt, fit_prompt
from sessions.engine.base import load_base
from sessions.engine.local import LocalEngine
from sessions.paths import Paths
from sessions.protocol import Generate, Sampling, Token
from sessions.registry import Registry
from sessions.settings import Settings
from sessions.training import events, runs
from sessions.training.events import Planned, Sampled, Warned
from sessions.training.recipe import Recipe
from tests.corpora.chat_templates import CHATML, GEMMA, Known
from tests.models import byte_level_tokenizer, tiny_llama, tiny_model
from tests.sessions.training_help import FACTS, done, keep, of, opened, prepared, tell_in_one_chat

pytestmark = [
    pytest.mark.usefixtures("one_thread", "few_anchors", "handlers"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
BLOOM = Known("", ("<unk>", "<pad>"), "</s>", bos="<s>", eos="</s>")
GREEDY = Sampling(temperature=0, repetition_penalty=1, top_k=0, top_p=1, max_new_tokens=48)
FORMS = {"llama": CHATML, "bloom": BLOOM, "qwen2": CHATML, "llama 2": None}


def made(place: Path, kind: str, known: Known | None) -> Path:
    """A model with a chat template, or one with Llama 2's tokenizer and form."""
    if known is None:
        return tiny_llama(place / "tiny")
    words = byte_level_tokenizer(place / "words", known.template, special=known.special, bos=known.bos, eos=known.eos)
    return tiny_model(place / "tiny", kind, words)


@pytest.mark.parametrize("kind", FORMS)
def test_a_model_learns_in_its_own_form(paths: Paths, tmp_path: Path, kind: str) -> None:
    known, facts = FORMS[kind], FACTS[:2]
    model = made(tmp_path, kind, known)
    with opened(paths) as store:
        keep(store, facts)
    recipe = Recipe(
        max_steps=60, learning_rate=5e-3, samples=(facts[0][0],), evaluations=1, rewordings=2, anchors=2, neighbours=0
    )
    found = done(paths, prepared(paths, model, recipe))
    assert found.phase == "finished", found.failure
    assert found.published is not None and found.steps[-1].loss < found.steps[0].loss
    base = load_base(str(model), paths, Settings(), lambda *_: None)
    words, end = base.words.vocabulary, known.end if known else " </s>"
    rows = read_snapshot(paths.run(found.id) / runs.SNAPSHOT).rows
    encoded = encode_rows(rows, words, 200).examples
    plan = next(event for event, _ in events.read(paths.run(found.id)) if isinstance(event, Planned))
    assert plan.trained_tokens == sum(sum(example.trained) for _, example in encoded)
    for row, example in encoded:
        asked = fit_prompt(row.dialog[:1], words, 200).ids
        assert example.ids[: len(asked)] == asked == encode_prompt(row.dialog[:1], words)
        assert not any(example.trained[: len(asked)])
        trained = [token for token, is_trained in zip(example.ids, example.trained, strict=True) if is_trained]
        assert words.decode(trained, skip_special_tokens=False).strip() == row.dialog[1].content + end
    engine = LocalEngine(base, paths)
    for prompt, reply in facts:
        ask = Generate(id="1", dialog=(Message("user", prompt),), adapters=("mine/v1",), sampling=GREEDY)
        said = "".join(step.text for step in engine.generate(ask, lambda: False) if isinstance(step, Token))
        assert said.strip() == reply
    told = [event for event, _ in events.read(paths.run(found.id)) if isinstance(event, Sampled)]
    assert told and told[-1].reply == facts[0][1]


@pytest.mark.parametrize("kind", FORMS)
def test_all_exchanges_of_a_chat_are_trained(paths: Paths, tmp_path: Path, kind: str) -> None:
    """In the chat and by themselves, from a second run on as earlier replies."""
    model = made(tmp_path, kind, FORMS[kind])
    with opened(paths) as store:
        tell_in_one_chat(store, FACTS[:3])
    recipe = Recipe(max_steps=2, rewordings=2)
    found = done(paths, prepared(paths, model, recipe))
    assert found.phase == "finished" and found.plan is not None, found.failure
    assert found.plan.examples == 3 and not found.plan.left_out  # the chat, its second and its third exchange
    assert found.gate is not None and found.gate.new.total == 3
    lineage = Registry(paths).lineage("mine/v1")
    assert lineage.rows == len(lineage.seen) == 3
    with opened(paths) as store:
        assert store.stats().trained == 3
        keep(store, FACTS[3:4])
    found = done(paths, prepared(paths, model, recipe, parent="mine/v1"))
    assert found.created is not None and (found.created.new_replies, found.created.replayed_replies) == (1, 3)
    (planned,) = of(paths, found.id, Planned)
    assert planned.examples == 4 and found.gate is not None and found.gate.new.total == 1


def test_what_a_form_cannot_express_is_told_before_start(paths: Paths, tmp_path: Path) -> None:
    chatml, gemma = made(tmp_path / "a", "llama", CHATML), made(tmp_path / "b", "llama", GEMMA)
    with opened(paths) as store:
        keep(store, [("What is [INST]?", "A tag."), ("What is <|im_end|>?", "A sign.")])
        asked = store.begin(store.start_conversation().id, None, "Who are you?", system="You are a pirate.")
        store.correct(asked.id, "A pirate.")

        def problems(model: Path | str) -> str:
            found = runs.preview(paths, store, model=str(model), adapter="mine", recipe=Recipe())
            return " ".join(map(str, found.left_out))

        assert "[INST]" in problems("demo") and "im_end" not in problems("demo") and "system" not in problems("demo")
        assert "im_end" in problems(chatml) and "[INST]" not in problems(chatml) and "system" not in problems(chatml)
        assert "takes no system prompt" in problems(gemma) and "im_end" not in problems(gemma)


def test_rows_that_the_template_refuses_are_listed_and_the_others_trained(paths: Paths, tmp_path: Path) -> None:
    model = made(tmp_path, "llama", GEMMA)
    with opened(paths) as store:
        tell_in_one_chat(store, FACTS[:3])
        conversation = store.start_conversation()
        asked = store.begin(conversation.id, None, "Who are you?", system="You are a pirate.")
        store.correct(asked.id, "A pirate.")
    found = done(paths, prepared(paths, model, Recipe(max_steps=2)))
    assert found.phase == "finished", found.failure
    assert (
        found.plan is not None and len(found.plan.left_out) == 1 and "takes no system prompt" in found.plan.left_out[0]
    )


def test_a_sample_that_the_form_cannot_express_ends_no_run(paths: Paths, tmp_path: Path) -> None:
    model = made(tmp_path, "llama", CHATML)
    with opened(paths) as store:
        keep(store, FACTS[:2])
    samples = ("What is <|im_end|>?", FACTS[0][0])
    found = done(paths, prepared(paths, model, Recipe(max_steps=2, samples=samples, evaluations=1)))
    assert found.phase == "finished", found.failure
    told = [event for event, _ in events.read(paths.run(found.id))]
    assert [event.prompt for event in told if isinstance(event, Sampled)] == [FACTS[0][0]]
    assert any(isinstance(event, Warned) and "im_end" in event.text for event in told)
