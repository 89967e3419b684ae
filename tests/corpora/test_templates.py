"""Tokenizers that are not Llama 2's, through the same two functions."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from corpora.dialog import Message
from corpora.errors import DialogError, TagsInContent
from corpora.llama2 import encode_example, encode_prompt, fit_prompt
from corpora.model_tokenizer import read_tokenizer
from corpora.templates import stop_ids, template_of
from tests.models import byte_level_tokenizer

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
NO_SYSTEM = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}" + CHATML
FORGETS = "{{ messages[-1]['content'] }}"
DIALOG = [
    Message("system", "Be kind."),
    Message("user", "Hello, who are you?"),
    Message("assistant", "A small model.", kept=False),
    Message("user", "And now?\n\n"),
    Message("assistant", "\nStill the same."),
]


def _tokenizer(template: str | None) -> PreTrainedTokenizerFast:
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    special = ["<pad>", "<eot>", "<|im_start|>", "<|im_end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=500,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(["Hello, who are you? A small model. Still the same.\n\n\n"] * 20, trainer)
    found = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<eot>", eos_token="<eot>", pad_token="<pad>")
    found.chat_template = template
    return found


@pytest.fixture(scope="module")
def chatml() -> PreTrainedTokenizerFast:
    return _tokenizer(CHATML)


@pytest.fixture(scope="module")
def plain() -> PreTrainedTokenizerFast:
    return _tokenizer(None)


def _plainly(dialog: list[Message]) -> list[dict[str, str]]:
    return [{"role": said.role, "content": said.content} for said in dialog]


def test_ids_are_those_of_the_template(chatml: PreTrainedTokenizerFast) -> None:
    assert chatml.decode(encode_example(DIALOG, chatml).ids) == chatml.apply_chat_template(
        _plainly(DIALOG), tokenize=False
    )
    asked = chatml.apply_chat_template(_plainly(DIALOG[:-1]), tokenize=False, add_generation_prompt=True)
    assert encode_prompt(DIALOG[:-1], chatml) == chatml(asked, add_special_tokens=False)["input_ids"]


def test_trained_are_the_kept_reply_and_its_end(chatml: PreTrainedTokenizerFast) -> None:
    example = encode_example(DIALOG, chatml)
    trained = [token for token, is_trained in zip(example.ids, example.trained, strict=True) if is_trained]
    assert chatml.decode(trained) == "\nStill the same.<|im_end|>"
    assert stop_ids(chatml) == (chatml.convert_tokens_to_ids("<|im_end|>"),)


def test_the_plain_form(plain: PreTrainedTokenizerFast) -> None:
    example = encode_example(DIALOG, plain)
    assert plain.decode(example.ids) == (
        "<eot>Be kind.\n\n### User:\nHello, who are you?\n\n### Assistant:\nA small model.<eot>"
        "\n\n### User:\nAnd now?\n\n### Assistant:\nStill the same.<eot>"
    )
    trained = [token for token, is_trained in zip(example.ids, example.trained, strict=True) if is_trained]
    assert plain.decode(trained) == "Still the same.<eot>"
    assert encode_example(DIALOG[1:3], plain).ids[0] == plain.bos_token_id


texts = st.text(st.sampled_from("abc Hello\n\té你👍.<|"), min_size=1, max_size=12).filter(
    lambda text: "<|" not in text and text.strip()
)


@given(said=st.lists(st.tuples(texts, texts, st.booleans()), min_size=1, max_size=4))
@settings(max_examples=150, deadline=None, database=None)
@pytest.mark.parametrize("name", ["chatml", "plain"])
def test_the_prompt_of_chat_is_the_prompt_part_of_training(
    name: str, said: list[tuple[str, str, bool]], chatml: PreTrainedTokenizerFast, plain: PreTrainedTokenizerFast
) -> None:
    tokenizer = {"chatml": chatml, "plain": plain}[name]
    dialog = [
        each
        for prompt, reply, kept in said
        for each in (Message("user", prompt), Message("assistant", reply, kept=kept))
    ]
    example = encode_example(dialog, tokenizer)
    for end in range(1, len(dialog), 2):
        prompt = encode_prompt(dialog[:end], tokenizer)
        assert example.ids[: len(prompt)] == prompt
        assert example.trained[len(prompt)] is dialog[end].kept
    assert sum(example.trained) <= len(example.ids)


def test_special_tokens_in_text_are_refused(chatml: PreTrainedTokenizerFast) -> None:
    with pytest.raises(TagsInContent, match="im_end"):
        encode_prompt([Message("user", "a <|im_end|> b")], chatml)


def test_a_template_that_refuses_is_said_in_words() -> None:
    with pytest.raises(DialogError, match="no system"):
        encode_prompt(DIALOG[:2], _tokenizer(NO_SYSTEM))


def test_a_template_that_changes_what_was_said_is_refused() -> None:
    with pytest.raises(DialogError, match="changes what was said"):
        encode_example(DIALOG[1:], _tokenizer(FORGETS))


def test_a_prompt_is_fitted_in_any_form(chatml: PreTrainedTokenizerFast) -> None:
    whole = encode_prompt(DIALOG[:-1], chatml)
    fitted = fit_prompt(DIALOG[:-1], chatml, len(whole) - 1)
    assert fitted.dropped_exchanges == 1
    assert fitted.ids == encode_prompt([DIALOG[0], DIALOG[3]], chatml)


def test_llama_2_is_known_with_and_without_its_template(shared) -> None:
    llama = AutoTokenizer.from_pretrained(shared / "llama2-tokenizer")
    assert template_of(llama) is None
    llama.chat_template = "{{ '[INST] <<SYS>>' }}"
    assert template_of(llama) is None
    llama.chat_template = CHATML
    assert template_of(llama) is not None
    assert stop_ids(Tokenizer(models.BPE())) == ()


NO_END = (
    "{% for m in messages %}{% if m.role == 'user' %}U: {{ m.content }}<eot>{% else %}A: {{ m.content }}\n{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}A: {% endif %}"
)
THINKS = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' and loop.last %}"
    "<pad>\n<pad>\n{% endif %}{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def _trained(dialog: list[Message], tokenizer: PreTrainedTokenizerFast) -> str:
    example = encode_example(dialog, tokenizer)
    return tokenizer.decode(
        [token for token, is_trained in zip(example.ids, example.trained, strict=True) if is_trained]
    )


def test_a_prompt_that_says_the_same_as_the_reply_before_is_not_trained() -> None:
    said = [Message("user", "Well?"), Message("assistant", "yes"), Message("user", "yes"), Message("assistant", "no")]
    assert _trained(said, _tokenizer(NO_END)) == "yes\nno\n"


def test_a_reply_is_found_behind_what_the_template_says_in_its_place() -> None:
    said = [Message("user", "yes"), Message("assistant", "pad")]
    assert _trained(said, _tokenizer(THINKS)) == "<pad>\n<pad>\npad<|im_end|>"


def test_a_template_that_leaves_replies_out_says_so_and_chats() -> None:
    tokenizer = _tokenizer("{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}")
    assert stop_ids(tokenizer) == () and tokenizer.decode(encode_prompt([Message("user", "Hi")], tokenizer)) == "Hi"
    with pytest.raises(DialogError, match="leaves out replies"):
        encode_example([Message("user", "a"), Message("assistant", "b")], tokenizer)


def test_the_plain_form_ends_replies_where_no_file_names_the_end(tmp_path: Path) -> None:
    folder = byte_level_tokenizer(tmp_path, special=("<s>",), eos="</s>")
    (folder / "tokenizer_config.json").unlink()
    words = read_tokenizer(folder)
    example = encode_example([Message("user", "a"), Message("assistant", "b")], words)
    assert (example.ids[0], example.ids[-1], example.trained[-1]) == (words.bos_id, words.eos_id, True)
