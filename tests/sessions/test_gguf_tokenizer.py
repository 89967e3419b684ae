"""tokenizer.json from a GGUF file's metadata: the same ids as the model's own tokenizer gives."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, pre_tokenizers
from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

from sessions.errors import ModelUnusable
from sessions.models.gguf_tokenizer import SPLITS, tokenizer_of
from tests.ggufs import byte_level_words, sentence_piece_words
from tests.models import byte_level_tokenizer

FILE = Path("model.gguf")
TEXTS = [
    "Hello, world! It's 2024, isn't it?",
    "  two  spaces\n\n\n\ttabs and\r\nlines   ",
    "سلام دنیا، حال شما چطور است؟",
    "你好，世界！今天是2024年1月5日。",
    "emoji 🙂👍🏽 and 𝔘𝔫𝔦 𓀀",
    "1234567 3.14 1,000,000 ½ ٣٤",
    "a  1\n\n2. x  \n 3",
    "▁already ▁▁marked",
    "<s>[INST] tags </s> <0x0A> <unk>",
    "",
    " ",
    "x" * 300 + " " * 40 + "_" * 33,
]


def ids(tokenizer: Tokenizer, text: str) -> list[int]:
    return tokenizer.encode(text, add_special_tokens=False).ids


@pytest.fixture(scope="module")
def llama2(shared: Path) -> tuple[Tokenizer, Tokenizer]:
    """Llama 2's tokenizer from a GGUF file's keys, and its own tokenizer.json."""
    folder = shared / "llama2-tokenizer"
    made = tokenizer_of(FILE, sentence_piece_words(folder / "tokenizer.model"))
    return made, Tokenizer.from_file(str(folder / "tokenizer.json"))


def test_llama_2s_merges_are_those_of_its_tokenizer_json(llama2: tuple[Tokenizer, Tokenizer]) -> None:
    ours, own = (json.loads(each.to_str())["model"] for each in llama2)
    assert ours["vocab"] == own["vocab"]
    assert ours["merges"] == own["merges"]


@pytest.mark.parametrize("special", [True, False])
def test_llama_2s_ids_and_text(llama2: tuple[Tokenizer, Tokenizer], special: bool) -> None:
    ours, own = llama2
    for each in llama2:
        each.encode_special_tokens = not special
    for text in TEXTS:
        assert ids(ours, text) == ids(own, text), text
        assert ours.decode(ids(ours, text)) == own.decode(ids(own, text))


@given(st.text(max_size=60))
@settings(max_examples=300, deadline=None, database=None)
def test_llama_2s_ids_of_any_text(llama2: tuple[Tokenizer, Tokenizer], text: str) -> None:
    ours, own = llama2
    assert ids(ours, text) == ids(own, text)


def test_merges_of_a_file_without_scores_are_its_own() -> None:
    words = {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": ["<unk>", "a", "b", "c", "ab", "bc", "abc"],
        "tokenizer.ggml.token_type": [2, 1, 1, 1, 1, 1, 1],
        "tokenizer.ggml.scores": [-1000.0] * 7,
        "tokenizer.ggml.merges": ["b c", "a bc"],
        "tokenizer.ggml.add_space_prefix": False,
    }
    assert tokenizer_of(FILE, words).encode("abc").tokens == ["abc"]
    assert tokenizer_of(FILE, words).encode("abab").tokens == ["a", "b", "a", "b"]


def test_a_space_is_put_before_the_text_unless_the_file_says_no(shared: Path) -> None:
    words = sentence_piece_words(shared / "llama2-tokenizer/tokenizer.model")
    assert tokenizer_of(FILE, words).encode("cat").tokens == ["▁cat"]
    bare = tokenizer_of(FILE, {**words, "tokenizer.ggml.add_space_prefix": False})
    assert bare.encode("cat").tokens == ["cat"] and bare.decode(bare.encode(" cat").ids) == " cat"


def test_special_tokens_are_special_and_defined_ones_are_found_whole() -> None:
    words = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.tokens": ["<|end|>", "a", "b", "<think>"],
        "tokenizer.ggml.token_type": [3, 1, 1, 4],
        "tokenizer.ggml.merges": [],
    }
    made = tokenizer_of(FILE, words)
    assert made.get_vocab_size() == 4
    assert made.encode("a<|end|><think>b").ids == [1, 0, 3, 2]
    assert made.decode([1, 0, 3, 2]) == "a<think>b"


GPT_2 = pre_tokenizers.ByteLevel(add_prefix_space=False)


def split_by(expression: str) -> pre_tokenizers.PreTokenizer:
    """As a tokenizer.json with an expression of its own splits."""
    from tokenizers import Regex

    bytes_only = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(expression), "isolated"), bytes_only])


LLAMA_3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
OWN = {
    "gpt-2": GPT_2,
    "smollm": pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), GPT_2]),
    "llama-bpe": split_by(LLAMA_3),
    "qwen2": split_by(PRETOKENIZE_REGEX),
}


@pytest.mark.parametrize("pre", OWN)
def test_text_is_split_as_the_models_own_tokenizer_splits_it(pre: str, tmp_path: Path) -> None:
    folder = byte_level_tokenizer(tmp_path)
    made = tokenizer_of(FILE, byte_level_words(folder, pre))
    for text in TEXTS:
        pieces = [piece for piece, _ in made.pre_tokenizer.pre_tokenize_str(text)]
        assert pieces == [piece for piece, _ in OWN[pre].pre_tokenize_str(text)], text


@pytest.mark.parametrize("pre", [*SPLITS, None])
def test_bytes_come_back_whole_with_every_pre_tokenizer(pre: str | None, tmp_path: Path) -> None:
    made = tokenizer_of(FILE, byte_level_words(byte_level_tokenizer(tmp_path), pre))
    for text in TEXTS:
        assert made.decode(ids(made, text), skip_special_tokens=False) == text


def test_without_a_pre_tokenizer_numbers_are_split_in_threes(tmp_path: Path) -> None:
    made = tokenizer_of(FILE, byte_level_words(byte_level_tokenizer(tmp_path), None))
    pieces = [piece for piece, _ in made.pre_tokenizer.pre_tokenize_str("a 12345!?")]
    assert pieces == ["a", "Ġ", "123", "45", "!?"]


def test_llama_3_takes_a_whole_word_without_merging() -> None:
    words = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.tokens": ["a", "b", "c", "ab", "abc"],
        "tokenizer.ggml.token_type": [1] * 5,
        "tokenizer.ggml.merges": ["a b"],
    }
    whole = tokenizer_of(FILE, {**words, "tokenizer.ggml.pre": "llama-bpe"})
    merged = tokenizer_of(FILE, {**words, "tokenizer.ggml.pre": "gpt-2"})
    assert whole.encode("abc").tokens == ["abc"] and merged.encode("abc").tokens == ["ab", "c"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"tokenizer.ggml.model": "t5"}, "tokenizer 't5'"),
        ({}, "tokenizer None"),
        ({"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "viking"}, "pre-tokenizer 'viking'"),
    ],
)
def test_other_tokenizers_are_refused_by_name(words: dict, said: str) -> None:
    with pytest.raises(ModelUnusable, match=said) as raised:
        tokenizer_of(FILE, words)
    assert "model.gguf" in raised.value.what and raised.value.remedy
