"""Ids to text, whole characters only; and the drawing of ids from logits."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from corpora.model_tokenizer import read_tokenizer
from sessions.engine.detokenize import Detokenizer
from sessions.engine.sampling import Sampler
from sessions.engine.words import Words, words_of
from sessions.protocol import Sampling
from tests.corpora.chat_templates import CHATML
from tests.models import byte_level_tokenizer, tiny_tokenizer

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Words:
    return words_of(read_tokenizer(tiny_tokenizer(tmp_path_factory.mktemp("words"))), [])


@pytest.fixture(scope="module")
def bytes_(tmp_path_factory: pytest.TempPathFactory) -> Words:
    folder = byte_level_tokenizer(tmp_path_factory.mktemp("words"), CHATML.template, special=CHATML.special)
    return words_of(read_tokenizer(folder), [])


@pytest.fixture(scope="module")
def real(shared: Path) -> Words:
    return words_of(read_tokenizer(shared / "llama2-tokenizer"), [])


def pieces(words: Words, ids: list[int]) -> list[str]:
    stream = Detokenizer(words)
    return [*(stream.push(token) for token in ids), stream.finish()]


TEXTS = st.text(max_size=60) | st.text("éß日本語🙂👩‍🚀\n\t ▁�ab", max_size=30)


@given(text=TEXTS)
@settings(max_examples=150, deadline=None)
def test_pieces_of_any_text_are_the_decoded_whole(tiny: Words, text: str) -> None:
    ids = tiny.vocabulary.encode(text)
    assert "".join(pieces(tiny, ids)) == tiny.backend.decode(ids)


@given(ids=st.lists(st.integers(0, 470), max_size=40))
@settings(max_examples=200, deadline=None)
def test_pieces_of_any_ids_are_the_decoded_whole(tiny: Words, ids: list[int]) -> None:
    assert "".join(pieces(tiny, ids)) == tiny.backend.decode(ids)


@given(text=TEXTS)
@settings(max_examples=150, deadline=None)
def test_the_same_with_the_real_tokenizer(real: Words, text: str) -> None:
    ids = real.vocabulary.encode(text)
    assert "".join(pieces(real, ids)) == real.backend.decode(ids)


@given(ids=st.lists(st.integers(0, 31_999), max_size=30))
@settings(max_examples=200, deadline=None)
def test_any_ids_with_the_real_tokenizer(real: Words, ids: list[int]) -> None:
    assert "".join(pieces(real, ids)) == real.backend.decode(ids)


@given(ids=st.lists(st.integers(0, 280), max_size=40))
@settings(max_examples=200, deadline=None)
def test_any_ids_with_a_byte_level_tokenizer(bytes_: Words, ids: list[int]) -> None:
    told = "".join(pieces(bytes_, ids))
    assert told == bytes_.backend.decode(ids, skip_special_tokens=True)
    assert not any(sign in told for sign in CHATML.special)


def test_the_end_of_a_form_is_an_end(bytes_: Words) -> None:
    assert bytes_.backend.token_to_id("<|im_end|>") in bytes_.ends & bytes_.special


def test_no_piece_holds_half_a_character(tiny: Words) -> None:
    text = "a🙂b日本c"
    told = pieces(tiny, tiny.vocabulary.encode(text))
    assert "".join(told) == text and all("�" not in piece for piece in told)


def test_special_tokens_are_no_text_and_their_letters_are(tiny: Words) -> None:
    spelled = tiny.vocabulary.encode("</s>")
    assert "".join(pieces(tiny, [1, *spelled, 2, 0])) == "</s>"


def test_a_space_before_the_first_word_is_dropped_and_kept_between(tiny: Words) -> None:
    ids = tiny.vocabulary.encode("the cat")
    assert "".join(pieces(tiny, ids)) == "the cat"


def draws(how: Sampling, logits: torch.Tensor, count: int = 4000) -> torch.Tensor:
    sampler = Sampler(how, [], logits.numel(), CPU)
    return torch.bincount(torch.cat([sampler.draw(logits) for _ in range(count)]), minlength=logits.numel()) / count


def test_draws_follow_the_distribution() -> None:
    logits = torch.tensor([2.0, 1.0, 0.0, -1.0])
    found = draws(Sampling(temperature=1, top_k=0, top_p=1, repetition_penalty=1, seed=1), logits)
    torch.testing.assert_close(found, logits.softmax(0), atol=0.03, rtol=0)


def test_top_k_leaves_the_k_best() -> None:
    logits = torch.randn(50, generator=torch.Generator().manual_seed(2))
    found = draws(Sampling(temperature=2, top_k=5, top_p=1, repetition_penalty=1, seed=1), logits)
    assert set(found.nonzero().flatten().tolist()) == set(logits.topk(5).indices.tolist())


@pytest.mark.parametrize("top_k", [0, 3])
def test_top_p_leaves_the_fewest_that_reach_it(top_k: int) -> None:
    logits = torch.tensor([0.1, 0.5, 0.3, 0.1]).log()
    found = draws(Sampling(temperature=1, top_k=top_k, top_p=0.7, repetition_penalty=1, seed=1), logits)
    assert set(found.nonzero().flatten().tolist()) == {1, 2}


def test_temperature_zero_is_greedy_and_a_low_one_nearly() -> None:
    logits = torch.tensor([1.0, 3.0, 2.0])
    assert draws(Sampling(temperature=0), logits, 3)[1] == 1
    assert draws(Sampling(temperature=0.05, repetition_penalty=1, seed=1), logits, 200)[1] == 1


def test_the_penalty_is_transformers_own() -> None:
    from transformers import RepetitionPenaltyLogitsProcessor

    logits = torch.randn(20, generator=torch.Generator().manual_seed(3))
    sampler = Sampler(Sampling(temperature=0, repetition_penalty=1.7), [3, 4, 5], 20, CPU)
    expected = RepetitionPenaltyLogitsProcessor(1.7)(torch.tensor([[3, 4, 5]]), logits[None].clone())[0]
    torch.testing.assert_close(sampler._penalized(logits), expected)


def test_what_was_drawn_is_penalized_too() -> None:
    sampler = Sampler(Sampling(temperature=0, repetition_penalty=2), [], 3, CPU)
    logits = torch.tensor([1.0, 1.5, 0.0])
    assert [sampler.draw(logits).item() for _ in range(2)] == [1, 0]


def test_without_a_seed_draws_differ() -> None:
    logits = torch.zeros(30_000)
    first, second = (Sampler(Sampling(temperature=1), [], 30_000, CPU) for _ in range(2))
    assert [first.draw(logits).item() for _ in range(3)] != [second.draw(logits).item() for _ in range(3)]
