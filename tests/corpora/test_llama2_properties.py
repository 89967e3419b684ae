"""What must hold for every dialog: one prompt for chat and training, a mask on replies alone, no ids from text."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from corpora.dialog import Message
from corpora.errors import DialogError, DialogTooLong, TagsInContent
from corpora.llama2 import TAGS, encode_example, encode_examples, encode_prompt, fit_example, fit_prompt, render

BOS, EOS = 1, 2
SPICE = (
    *("</s>", "<s>", "<unk>", "[INS", "<<SYS", "", "   \n\n  ", "▁▁a", "\u202e", "e\u0301", "\x1b[31m"),
    *("سلام می\u200cخواهم", "你好，世界", "\U0001f469\U0001f3fd\u200d\U0001f680", "def f(x):\n\treturn x"),
)
words_of = st.lists(st.one_of(st.sampled_from(SPICE), st.text(max_size=8)), max_size=5).map("".join)
texts = words_of.filter(lambda text: not any(tag in text for tag in TAGS))


@st.composite
def dialogs(draw: st.DrawFn) -> tuple[Message, ...]:
    system = [Message("system", draw(texts))] if draw(st.booleans()) else []
    turns = draw(st.integers(1, 4))
    rest = [
        said
        for _ in range(turns)
        for said in (Message("user", draw(texts)), Message("assistant", draw(texts), kept=draw(st.booleans())))
    ]
    return (*system, *rest)


def examples(count: int) -> settings:
    return settings(max_examples=count, deadline=None, database=None)


@given(dialog=dialogs())
@examples(300)
def test_the_prompt_of_chat_is_the_prompt_part_of_training(dialog: tuple[Message, ...], words: Tokenizer) -> None:
    example = encode_example(dialog, words)
    for end in range(1, len(dialog)):
        if dialog[end - 1].role == "user":
            prompt = encode_prompt(dialog[:end], words)
            assert example.ids[: len(prompt)] == prompt


@given(dialog=dialogs())
@examples(300)
def test_trained_are_the_kept_replies_and_their_eos_alone(dialog: tuple[Message, ...], words: Tokenizer) -> None:
    example = encode_example(dialog, words)
    assert len(example.ids) == len(example.trained)
    at = 0
    for end in range(1, len(dialog)):
        if dialog[end - 1].role != "user":
            continue
        start = len(encode_prompt(dialog[:end], words))
        stop = example.ids.index(EOS, start) + 1
        assert not any(example.trained[at:start])
        assert set(example.trained[start:stop]) == {dialog[end].kept}
        at = stop
    assert at == len(example.ids)


@given(dialog=dialogs())
@examples(300)
def test_text_never_becomes_bos_or_eos(dialog: tuple[Message, ...], words: Tokenizer) -> None:
    ids = encode_example(dialog, words).ids
    turns = sum(said.role == "user" for said in dialog)
    assert (ids.count(BOS), ids.count(EOS)) == (turns, turns)


@given(dialog=dialogs())
@examples(200)
def test_the_text_form_decodes_from_the_ids(dialog: tuple[Message, ...], words: Tokenizer) -> None:
    """All that is said comes back, exchange by exchange; U+2581 is the vocabulary's own sign for a blank."""
    ids, text = encode_example(dialog, words).ids, ""
    for chunk in _between(ids):
        text += f"<s>{words.decode(chunk, skip_special_tokens=False)}</s>"
    assert text == render(dialog).replace("\u2581", " ")


def _between(ids: list[int]) -> list[list[int]]:
    found: list[list[int]] = []
    for token in ids:
        if token == BOS:
            found.append([])
        elif token != EOS:
            found[-1].append(token)
    return found


@given(several=st.lists(dialogs(), max_size=4))
@examples(60)
def test_a_batch_is_its_dialogs_one_by_one(several: list[tuple[Message, ...]], words: Tokenizer) -> None:
    assert encode_examples(several, words) == [encode_example(dialog, words) for dialog in several]


@given(dialog=dialogs(), budget=st.integers(1, 120))
@examples(200)
def test_what_fits_is_the_end_of_the_dialog_under_its_system_prompt(
    dialog: tuple[Message, ...], budget: int, words: Tokenizer
) -> None:
    head, rest = (dialog[:1], dialog[1:]) if dialog[0].role == "system" else ((), dialog)
    try:
        fitted = fit_prompt(dialog[:-1], words, budget)
    except DialogTooLong:
        assert len(encode_prompt([*head, rest[-2]], words)) > budget
        return
    dropped = fitted.dropped_exchanges
    assert fitted.ids == encode_prompt([*head, *rest[2 * dropped : -1]], words)
    assert len(fitted.ids) <= budget
    if dropped:
        assert len(encode_prompt([*head, *rest[2 * dropped - 2 : -1]], words)) > budget


def test_an_example_is_cut_by_whole_exchanges(words: Tokenizer) -> None:
    dialog = [Message("system", "Be brief.")]
    for number in range(6):
        dialog += [
            Message("user", f"Question {number}"),
            Message("assistant", f"Answer {number}", kept=number % 2 == 1),
        ]
    whole = encode_example(dialog, words)
    fitted = fit_example(dialog, words, len(whole.ids) - 1)
    assert fitted.dropped_exchanges == 1
    assert fitted.ids == encode_example([dialog[0], *dialog[3:]], words).ids
    assert sum(fitted.trained) == sum(whole.trained)


@pytest.mark.parametrize("tag", TAGS)
@pytest.mark.parametrize("role", ["system", "user", "assistant"])
def test_tags_are_refused_unless_allowed(tag: str, role: str, words: Tokenizer) -> None:
    said = {"system": "a", "user": "b", "assistant": "c"} | {role: f"x {tag} y"}
    dialog = [Message(each, text) for each, text in said.items()]  # type: ignore[arg-type]
    with pytest.raises(TagsInContent, match="holds"):
        encode_example(dialog, words)
    allowed = [Message(each.role, each.content, tags_allowed=True) for each in dialog]
    assert encode_example(allowed, words).ids.count(BOS) == 1


@pytest.mark.parametrize(
    "roles", [[], ["assistant"], ["user", "user"], ["user", "assistant", "assistant"], ["system"], ["user", "system"]]
)
def test_other_orders_of_roles_are_refused(roles: list[str], words: Tokenizer) -> None:
    with pytest.raises(DialogError):
        encode_prompt([{"role": role, "content": "x"} for role in roles], words)
