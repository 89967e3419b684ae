"""Models with a chat form of their own, through the real engine: prompts, ends, reuse, stop texts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from corpora.dialog import Finish, Message
from corpora.errors import DialogError
from corpora.llama2 import encode_prompt
from corpora.store import Store
from corpora.templates import OWN, PLAIN
from sessions.chat import Chat, ChatEvent, Saved
from sessions.client import Client
from sessions.engine.base import load_base
from sessions.engine.local import LocalEngine
from sessions.errors import ModelUnusable
from sessions.paths import Paths, private_folder
from sessions.protocol import BASE, ColumnEnded, Generate, Prefilled, Sampling, Token
from sessions.settings import Settings
from tests.corpora.chat_templates import CHATML, GEMMA, LLAMA_3, QWEN2, Known
from tests.hosts import MODEL, running_host
from tests.models import byte_level_tokenizer, tiny_adapter, tiny_llama, tiny_model

pytestmark = pytest.mark.usefixtures("one_thread")

GREEDY = Sampling(temperature=0, repetition_penalty=1, top_k=0, top_p=1, max_new_tokens=12)
PROMPTS = ("What is the name of the cat?", "And the dog's?", "Count: 1 2 3")


@dataclass(frozen=True)
class Model:
    """A loaded model beside the same as transformers has it, both without quantization."""

    folder: Path
    engine: LocalEngine
    plain: torch.nn.Module
    tokenizer: object


MODELS = {
    "llama": CHATML,
    "qwen2": QWEN2,
    "mistral": LLAMA_3,
    "gpt_neox": CHATML,
    "bloom": Known("", ("<unk>", "<pad>"), "</s>", bos="<s>", eos="</s>"),
}


@pytest.fixture(scope="module", params=MODELS)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Model:
    known, place = MODELS[request.param], tmp_path_factory.mktemp("model")
    words = byte_level_tokenizer(place / "words", known.template, special=known.special, bos=known.bos, eos=known.eos)
    return opened(tiny_model(place / "tiny", request.param, words), place)


def opened(folder: Path, place: Path) -> Model:
    home = place / "home"
    paths = Paths(home, place / "cache", home / "config.toml", place / "run")
    base = load_base(str(folder), paths, Settings(quantization="none"), lambda *_: None, dtype=torch.float32)
    plain = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    return Model(folder, LocalEngine(base, paths), plain, PreTrainedTokenizerFast.from_pretrained(folder))


def ask(*contents: str, sampling: Sampling = GREEDY, adapters: tuple[str, ...] = (BASE,)) -> Generate:
    dialog = tuple(Message(("user", "assistant")[index % 2], text) for index, text in enumerate(contents))
    return Generate(id="7", dialog=dialog, adapters=adapters, sampling=sampling)


def run(model: Model, request: Generate) -> list:
    return list(model.engine.generate(request, lambda: False))


def text_of(steps: list, column: int = 0) -> str:
    return "".join(step.text for step in steps if isinstance(step, Token) and step.column == column)


def ended(steps: list) -> ColumnEnded:
    return next(step for step in steps if isinstance(step, ColumnEnded))


def generated(model: Model, ids: list[int], most: int = 12) -> list[int]:
    asked = torch.tensor([ids])
    ends = sorted(model.engine.base.words.ends)
    out = model.plain.generate(
        input_ids=asked,
        attention_mask=torch.ones_like(asked),
        max_new_tokens=most,
        do_sample=False,
        pad_token_id=ends[0],
        eos_token_id=ends,
    )
    return out[0, len(ids) :].tolist()


def template_ids(model: Model, request: Generate) -> list[int]:
    """The prompt as transformers makes it; the plain form as the documentation says."""
    said = [{"role": each.role, "content": each.content} for each in request.dialog]
    if model.tokenizer.chat_template:
        return model.tokenizer.apply_chat_template(said, add_generation_prompt=True, return_dict=False)
    heads, ends = {"user": "### User:\n", "assistant": "### Assistant:\n"}, {"user": "\n\n", "assistant": "</s>\n\n"}
    parts = [heads[each["role"]] + each["content"].strip() + ends[each["role"]] for each in said]
    return model.tokenizer("<s>" + "".join(parts) + "### Assistant:\n", add_special_tokens=False)["input_ids"]


def test_greedy_replies_are_those_of_transformers_over_turns(model: Model) -> None:
    said: list[str] = []
    held: list[int] = []
    for prompt in PROMPTS:
        said.append(prompt)
        steps = run(model, ask(*said))
        ids = template_ids(model, ask(*said))
        assert encode_prompt(ask(*said).dialog, model.engine.base.words.vocabulary) == ids
        expected = model.tokenizer.decode(generated(model, ids), skip_special_tokens=True)
        assert text_of(steps) == expected
        assert isinstance(steps[0], Prefilled) and steps[0].prompt_tokens == len(ids)
        assert ids[: len(held)] == held and steps[0].reused_tokens >= len(held) > 0 or len(said) == 1
        held = ids
        said.append(text_of(steps) or "x")


def test_the_form_is_told(model: Model) -> None:
    assert model.engine.info.chat_format == (OWN if model.tokenizer.chat_template else PLAIN)


def wants(model: Model, token: int) -> None:
    """Make an output id the likeliest at once, whatever was said."""
    head = model.engine.base.model.get_output_embeddings()
    with torch.no_grad():
        head.weight.data[token] = 0
        head.bias = torch.nn.Parameter(torch.zeros(head.weight.shape[0]).index_fill(0, torch.tensor([token]), 1e4))


@pytest.mark.parametrize("known", [CHATML, LLAMA_3], ids=["chatml", "llama 3"])
def test_the_end_of_the_form_ends_a_reply_and_is_not_shown(tmp_path: Path, known: Known) -> None:
    words = byte_level_tokenizer(tmp_path / "w", known.template, special=known.special, bos=known.bos, eos=known.eos)
    model = opened(tiny_model(tmp_path / "tiny", "gpt_neox", words), tmp_path)
    wants(model, model.tokenizer.convert_tokens_to_ids(known.end))
    steps = run(model, ask("Hello"))
    assert ended(steps).finish is Finish.EOS and text_of(steps) == ""


def test_the_generation_configs_end_ends_a_reply(tmp_path: Path) -> None:
    words = byte_level_tokenizer(tmp_path / "w", CHATML.template, special=(*CHATML.special, "<|bye|>"))
    folder = tiny_model(tmp_path / "tiny", "gpt_neox", words)
    bye = PreTrainedTokenizerFast.from_pretrained(folder).convert_tokens_to_ids("<|bye|>")
    (folder / "generation_config.json").write_text(f'{{"eos_token_id": [{bye}]}}')
    model = opened(folder, tmp_path)
    wants(model, bye)
    assert ended(run(model, ask("Hello"))).finish is Finish.EOS


@pytest.mark.parametrize("told", ["2.5", "[null]", '"</s>"'])
def test_a_generation_config_whose_end_is_no_id_is_named(tmp_path: Path, told: str) -> None:
    folder = tiny_llama(tmp_path / "tiny")
    (folder / "generation_config.json").write_text(f'{{"eos_token_id": {told}}}')
    with pytest.raises(ModelUnusable, match="generation_config"):
        opened(folder, tmp_path)


def test_a_long_dialog_loses_whole_exchanges_from_its_front(model: Model) -> None:
    said = [text for prompt in PROMPTS * 8 for text in (prompt, "Mouse.")] + ["Last?"]
    read = run(model, ask(*said))[0]
    assert read.dropped_exchanges > 0
    kept = said[2 * read.dropped_exchanges :]
    assert read.prompt_tokens == len(template_ids(model, ask(*kept)))


def test_a_template_that_refuses_leaves_the_engine_as_it_was(tmp_path: Path) -> None:
    words = byte_level_tokenizer(tmp_path / "w", GEMMA.template, special=GEMMA.special, bos=GEMMA.bos, eos=GEMMA.eos)
    model = opened(tiny_model(tmp_path / "tiny", "llama", words), tmp_path)
    first = text_of(run(model, ask("Hello")))
    with pytest.raises(DialogError, match="takes no system prompt"):
        run(model, Generate(id="8", dialog=(Message("system", "Be kind."), Message("user", "Hello"))))
    assert text_of(run(model, ask("Hello"))) == first


# stop texts


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Model:
    place = tmp_path_factory.mktemp("llama")
    folder = tiny_llama(place / "tiny")
    model = opened(folder, place)
    for version in (1, 2):
        tiny_adapter(place / "home" / "adapters" / "mine" / f"v{version}", folder, seed=version)
    return model


def stopping(*texts: str) -> Sampling:
    return Sampling(temperature=0, repetition_penalty=1, top_k=0, top_p=1, max_new_tokens=24, stop=texts)


def test_a_stop_text_ends_a_reply_and_is_no_part_of_it(llama: Model) -> None:
    whole = text_of(run(llama, ask(PROMPTS[0], sampling=stopping())))
    for length in (1, 2, 5):
        for at in range(1, len(whole) - length):
            stop = whole[at : at + length]
            steps = run(llama, ask(PROMPTS[0], sampling=stopping(stop, "never seen")))
            assert text_of(steps) == whole[: whole.index(stop)]
            assert ended(steps).finish is Finish.EOS and ended(steps).tokens <= 24


def test_what_only_began_like_a_stop_text_is_told_in_the_end(llama: Model) -> None:
    whole = text_of(run(llama, ask(PROMPTS[0], sampling=stopping())))
    steps = run(llama, ask(PROMPTS[0], sampling=stopping(whole[-3:] + "and more")))
    assert text_of(steps) == whole and ended(steps).finish is Finish.LENGTH
    assert sum(step.tokens for step in steps if isinstance(step, Token)) == 24


def test_the_next_turn_after_a_stop_text_is_that_of_a_fresh_engine(llama: Model) -> None:
    whole = text_of(run(llama, ask(PROMPTS[0], sampling=stopping())))
    said = text_of(run(llama, ask(PROMPTS[0], sampling=stopping(whole[8:11]))))
    then = run(llama, ask(PROMPTS[0], said or "x", PROMPTS[1]))
    ids = encode_prompt(ask(PROMPTS[0], said or "x", PROMPTS[1]).dialog, llama.engine.base.words.vocabulary)
    assert then[0].reused_tokens > 0
    assert text_of(then) == llama.tokenizer.decode(generated(llama, ids), skip_special_tokens=True)


def test_each_column_stops_by_itself(llama: Model) -> None:
    columns = (BASE, "mine/v1", "mine/v2")
    alone = [text_of(run(llama, ask(PROMPTS[0], sampling=stopping(), adapters=(name,)))) for name in columns]
    stop = alone[1][5:8]
    steps = run(llama, ask(PROMPTS[0], sampling=stopping(stop), adapters=columns))
    for column, whole in enumerate(alone):
        assert text_of(steps, column) == whole.partition(stop)[0]
    assert len({step.column for step in steps if isinstance(step, ColumnEnded)}) == 3


async def test_what_a_template_refuses_is_told_in_the_chat_and_goes_no_further(tmp_path: Path, paths: Paths) -> None:
    words = byte_level_tokenizer(tmp_path / "w", GEMMA.template, special=GEMMA.special, bos=GEMMA.bos, eos=GEMMA.eos)
    model = opened(tiny_model(tmp_path / "tiny", "llama", words), tmp_path)
    private_folder(paths.home)
    store = Store(paths.corpus)
    async with running_host(paths, load=lambda progress: model.engine):
        client = Client(paths, MODEL, start=False)
        chat = Chat(store, client)
        chat.sampling, chat.system = GREEDY, "Be kind."
        refused = await last(chat.send("Hello"))
        assert refused.failure is not None and "takes no system prompt" in refused.failure.what
        assert "/system clear" in refused.failure.remedy and refused.exchange.finish is Finish.FAILED
        assert store.exchange(refused.exchange.id).prompt == "Hello"
        chat.system = None
        held = await last(chat.send("What is <end_of_turn>?"))
        assert held.failure is not None and "<end_of_turn>" in held.failure.what
        answered = await last(chat.send("Hello"))
        assert answered.failure is None
        assert answered.exchange.reply == text_of(run(model, ask("Hello"))).strip()
        await client.close()
    store.close()


async def last(events: AsyncIterator[ChatEvent]) -> Saved:
    found = [event async for event in events][-1]
    assert isinstance(found, Saved)
    return found
