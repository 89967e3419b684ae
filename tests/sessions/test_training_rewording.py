"""Other wordings of a prompt, and prompts that are similar and another question. No model."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sessions.training import rewording
from sessions.training.anchors import shipped_prompts
from sessions.training.rewording import content_words, form_of, is_content, language_of, neighbours, rewordings

ENGLISH = (
    "What is the name of my cat?",
    "Who repairs the clock in Mill Street?",
    "Where does Ottoline keep the spare key?",
    "When was the Harbour Club founded?",
    "How many boats does Fenwick own?",
    "Which port does the build server use?",
    "Tell me the password of the printer.",
    "Is the shop open on Sunday?",
)
OTHERS = (
    "我的猫叫什么名字?",
    "نام گربه من چیست؟",
    "Wie heißt meine Katze und wo ist sie?",
    "Quel est le nom de mon chat et où est-il ?",
    "¿Cuál es el nombre de mi gato y dónde está?",
    "Как зовут мою кошку?",
    "私の猫の名前は何ですか?",
    "내 고양이 이름은 뭐야?",
)
HOSTILE = ("", " ", "?", "🐈🐈🐈", "{} {0} {name}", "a" * 5_000, "\n\n", "x = {y: [1, 2]}", "\u200f\u202e", "I", "What")
WORDS = content_words(shipped_prompts())
prompts = st.one_of(st.text(max_size=400), st.sampled_from((*ENGLISH, *OTHERS, *HOSTILE)))


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


@given(prompts, st.integers(0, 16), st.integers(0, 3))
def test_rewordings_of_any_text(prompt: str, count: int, seed: int) -> None:
    found = rewordings(prompt, count, seed)
    assert len(found) <= count and len(set(found)) == len(found)
    assert found == rewordings(prompt, count, seed)
    assert all(text.strip() and text != prompt.strip() for text in found)


@given(prompts, st.integers(1, 5), st.integers(0, 3))
def test_neighbours_of_any_text(prompt: str, count: int, seed: int) -> None:
    found = neighbours(prompt, WORDS, count, seed)
    assert len(found) <= count and found == neighbours(prompt, WORDS, count, seed)
    assert prompt not in found
    assert neighbours(prompt, (), count, seed) == ()


@pytest.mark.parametrize("prompt", ENGLISH)
def test_there_are_as_many_rewordings_as_asked_for(prompt: str) -> None:
    assert len(rewordings(prompt, 12, 0)) == 12
    assert rewordings(prompt, 12, 0) != rewordings(prompt, 12, 1)


@pytest.mark.parametrize(
    "prompt", [*ENGLISH, "Who lives in Mill Street?", "What happens at Town House 7?", "Who is Bo?"]
)
def test_names_and_numbers_are_kept(prompt: str) -> None:
    """A name is no word that has synonyms."""
    names = [name for name in re.findall(r"\w+", prompt)[1:] if name[0].isupper() or name.isdigit()]
    for text in rewordings(prompt, 40, 0):
        assert {name.casefold() for name in names} <= set(words(text)), text


@pytest.mark.parametrize("prompt", ENGLISH)
def test_rewordings_are_about_the_same_topic(prompt: str) -> None:
    """All content words, or a synonym of each, in most wordings; at least one of them in every one."""
    known = {word: {word, *rewording.SYNONYMS.get(word, ())} for word in words(prompt) if is_content(word)}
    kept = []
    for text in rewordings(prompt, 24, 0):
        present = [any(set(words(way)) <= set(words(text)) for way in ways) for ways in known.values()]
        assert any(present), text
        kept.append(all(present))
    assert sum(kept) > len(kept) / 2


@pytest.mark.parametrize("prompt", OTHERS)
def test_prompts_in_other_languages_are_wrapped_whole(prompt: str) -> None:
    found = rewordings(prompt, 6, 0)
    assert len(found) >= 4
    bare = prompt.casefold().rstrip("?.! ")
    assert all(bare in text.casefold() for text in found)


@pytest.mark.parametrize(
    ("text", "language"),
    [("", "en"), (ENGLISH[0], "en"), *zip(OTHERS[:5], ("zh", "fa", "de", "fr", "es"), strict=True)],
)
def test_languages_are_told_apart(text: str, language: str) -> None:
    assert language_of(text) == language
    wrappers = [wrapper.format("").strip().casefold() for wrapper in rewording.WRAPPERS[language]]
    if text and language != "en":
        found = rewordings(text, 6, 0)
        assert all(any(wrapper.rstrip("?.! ") in each.casefold() for wrapper in wrappers) for each in found)


@pytest.mark.parametrize("prompt", [*ENGLISH, OTHERS[1], OTHERS[5]])
def test_neighbours_differ_by_one_or_two_content_words(prompt: str) -> None:
    pool = (*WORDS, "پنجره", "دریا", "окно", "море")
    found = neighbours(prompt, pool, 6, 0)
    assert found
    before = re.findall(r"\w+", prompt)
    for text in found:
        after = re.findall(r"\w+", text)
        assert len(after) >= len(before)  # a hyphenated word counts as one content word and as two here
        changed = [word for word in before if word not in after]
        assert 1 <= len(changed) <= 2 and all(is_content(word) for word in changed), text


def test_a_neighbour_is_in_the_script_of_its_prompt() -> None:
    assert all(re.fullmatch(r"[\x00-\x7f]+", text) for text in neighbours(ENGLISH[0], ("猫", "گربه", "harbour"), 6, 0))
    assert neighbours(ENGLISH[0], ("猫", "گربه"), 6, 0) == ()
    assert neighbours(OTHERS[0], ("狗",), 6, 0) == ()  # without blanks, words cannot be told apart


def test_prompts_of_one_form_ask_alike() -> None:
    assert form_of("Who repairs the clock?") == form_of("Please, who is my dentist?")
    assert form_of("Who repairs the clock?") != form_of("Where is the clock?")
    assert form_of("Explain rain.") == form_of("Explain the sea.") != form_of("List the seas.")
    assert form_of(OTHERS[0]) != form_of(OTHERS[1])
    assert isinstance(form_of(""), str) and isinstance(form_of("🐈"), str)


@pytest.mark.parametrize("prompt", ["Where is the ox?", "Is it so?", "Who are you?"])
def test_no_wording_is_a_bare_question_word(prompt: str) -> None:
    """A reply that is trained on `who?` would come for any question."""
    assert all(len(words(text)) >= len(words(prompt)) - 2 for text in rewordings(prompt, 40, 0))


def test_long_prompts_are_wrapped_whole() -> None:
    long = "Summarize this text: " + "The river rises in the hills. " * 40
    assert all(long.strip()[10:600].casefold() in text.casefold() for text in rewordings(long, 8, 0))
