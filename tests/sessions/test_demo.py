"""The model that ships: its size, its tokenizer, what it says after a 4-bit load, and the dialogs it was made of."""

from __future__ import annotations

import random
import subprocess
import sys
from itertools import islice
from typing import Any

import pytest
from tokenizers import Tokenizer

from corpora.dialog import Message
from corpora.llama2 import encode_example, encode_prompt, render
from corpora.tokens import vocabulary
from sessions.demo import MODEL_DIR
from sessions.demo.material import Writer
from sessions.demo.phrasings import facts, held_out, plain, refusals, systems, topics, unseen


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.from_file(str(MODEL_DIR / "tokenizer.json"))


@pytest.fixture(scope="module")
def dialogs() -> list[tuple[Message, ...]]:
    return list(islice(Writer(random.Random(11)), 300))


@pytest.fixture(scope="module")
def model() -> Any:
    from sessions.demo.measure import load

    return load(MODEL_DIR, four_bit=True)


def test_the_folder_is_small_and_whole() -> None:
    names = {part.name for part in MODEL_DIR.iterdir()}
    assert {"config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "README.md"} <= names
    assert "model.safetensors" in names
    assert sum(part.stat().st_size for part in MODEL_DIR.iterdir()) <= 16e6


def test_its_place_is_known_without_torch() -> None:
    code = "import sys, sessions.demo; sys.exit(any(name in sys.modules for name in ('torch', 'transformers')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_both_forms_of_the_tokenizer_agree(tokenizer: Tokenizer, dialogs: list[tuple[Message, ...]]) -> None:
    from transformers import AutoTokenizer

    auto = AutoTokenizer.from_pretrained(MODEL_DIR)
    assert (auto.unk_token_id, auto.bos_token_id, auto.eos_token_id) == (0, 1, 2)
    assert [tokenizer.token_to_id(f"<0x{byte:02X}>") for byte in (0, 255)] == [3, 258]
    for dialog in dialogs[:100]:
        assert encode_prompt(dialog[:-1], auto) == encode_prompt(dialog[:-1], tokenizer)
        plain_form = [{"role": said.role, "content": said.content} for said in dialog]
        text = auto.apply_chat_template(plain_form, tokenize=False)
        assert auto(text, add_special_tokens=False).input_ids == encode_example(dialog, tokenizer).ids


def test_a_reply_is_cut_alike_alone_and_in_its_dialog(tokenizer: Tokenizer, dialogs: list[tuple[Message, ...]]) -> None:
    words = vocabulary(tokenizer)
    for dialog in dialogs:
        exchanges = (part.removesuffix("</s>") for part in render(dialog).split("<s>")[1:])
        joint = [at for text in exchanges for at in (1, *words.encode(text), 2)]
        assert encode_example(dialog, tokenizer).ids == joint


def test_any_text_survives_the_tokenizer(tokenizer: Tokenizer) -> None:
    for text in ("Miso", "na\u00efve \u4f60\u597d \U0001f999", "two\nlines", "a  b", "/keep", "1234"):
        assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False).ids) == text


def test_the_dialogs_read_well() -> None:
    for intent in (*topics(), *refusals()):
        assert intent.training and intent.replies, intent.name
        assert not [text for text in (*intent.training, *intent.replies) if set("@|{}()") & set(text) - set("()")]
    assert all(fact.things and fact.told and fact.asked and "{name}" in fact.answer for fact in facts())
    assert len(systems()) > 20
    assert all("only the demo model" in reply for intent in refusals() for reply in intent.replies)


def test_one_phrasing_has_one_intent() -> None:
    every = [plain(text) for intent in (*topics(), *refusals()) for text in (*intent.training, *intent.kept_back)]
    assert len(every) == len(set(every))


def test_nothing_held_out_is_trained_on() -> None:
    known = {plain(text) for intent in (*topics(), *refusals()) for text in intent.training}
    assert not [text for _, text in unseen() if plain(text) in known]
    prompts = [
        said.content for dialog in islice(Writer(random.Random(3)), 3000) for said in dialog if said.role == "user"
    ]
    told = {fact.told[0].split("{")[0].split()[0] for fact in facts()}
    assert not [text for text in prompts if held_out(text) and text.split()[0].lower() not in told]


def test_intents_that_are_measured_exist() -> None:
    names = {intent.name for intent in topics()}
    assert {name for name, _ in unseen()} - names == {"off-topic"}


@pytest.mark.parametrize(
    ("prompt", "wanted"),
    [
        ("Who are you?", "demo model"),
        ("How do I keep a reply?", "/keep"),
        ("how can i correct your answer", "/correct"),
        ("What is LoRA?", "matrices"),
        ("What is QLoRA?", "4 bits"),
        ("How do I quit?", "/quit"),
        ("How do I get the real Llama 2?", "meta-llama/Llama-2-7b-chat-hf"),
        ("What is my cat called?", "only the demo model"),
        ("What is the capital of France?", "only the demo model"),
    ],
)
def test_it_answers_after_a_4_bit_load(model: Any, tokenizer: Tokenizer, prompt: str, wanted: str) -> None:
    from sessions.demo.measure import replies

    [reply] = replies(model, tokenizer, [[Message("user", prompt)]])
    assert wanted in reply
    assert not reply.endswith(" ...")


def test_it_stays_itself_under_a_system_prompt_and_after_other_exchanges(model: Any, tokenizer: Tokenizer) -> None:
    from sessions.demo.measure import replies

    before = [
        Message("system", "You are a helpful assistant."),
        Message("user", "Hi"),
        Message("assistant", "Hello! I am the demo model of llama-tui."),
        Message("user", "What is NF4?"),
        Message("assistant", "NF4 is a 4-bit number format."),
    ]
    asked = ("How do I start training?", "What is the capital of Peru?")
    known, other = replies(model, tokenizer, [[*before, Message("user", text)] for text in asked])
    assert "/train" in known
    assert "only the demo model" in other
