"""Kept replies as rows: several exchanges, rewordings, held-out parts; in Llama 2's form and with a template."""

from __future__ import annotations

import pytest

from corpora.dataset import Row, row_key
from corpora.dialog import Message
from corpora.model_tokenizer import ModelTokenizer, read_tokenizer
from sessions.training import lessons
from sessions.training.lessons import CHECKED_REWORDINGS, Material, material_of
from sessions.training.objective import TrainRow
from sessions.training.recipe import Recipe
from tests.corpora.chat_templates import CHATML
from tests.models import byte_level_tokenizer, tiny_tokenizer
from tests.sessions.training_help import FACTS

LONG = 400


@pytest.fixture(scope="module", params=["llama 2", "chatml"])
def words(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ModelTokenizer:
    folder = tmp_path_factory.mktemp("words")
    if request.param == "llama 2":
        return read_tokenizer(tiny_tokenizer(folder))
    return read_tokenizer(
        byte_level_tokenizer(folder, CHATML.template, special=CHATML.special, bos=CHATML.bos, eos=CHATML.eos)
    )


def row(*said: tuple[str, str, bool], system: str | None = None, replay: bool = False) -> Row:
    dialog = [Message("system", system)] if system else []
    for asked, reply, kept in said:
        dialog += [Message("user", asked), Message("assistant", reply, kept=kept)]
    return Row(row_key(dialog), tuple(dialog), (1,), replay)


def single(index: int, replay: bool = False) -> Row:
    return row((*FACTS[index], True), replay=replay)


def made(words: ModelTokenizer, *rows: Row, **changes: object) -> Material:
    return material_of(rows, words, changes.pop("max_length", LONG), Recipe(**changes))


def trained_text(words: ModelTokenizer, found: TrainRow) -> str:
    """The text of the targets."""
    return words.decode([found.ids[place] for place in found.targets]).strip()


def whole_text(words: ModelTokenizer, found: TrainRow) -> str:
    return words.decode(list(found.ids))


def test_each_row_is_a_lesson_with_rewordings_of_its_own_prompt(words: ModelTokenizer) -> None:
    found = made(words, *(single(index) for index in range(5)), rewordings=6)
    assert len(found.lessons) == 5 and found.new == [lesson.row for lesson in found.lessons]
    for index, (lesson, (prompt, reply)) in enumerate(zip(found.lessons, FACTS, strict=True)):
        assert (lesson.row.source, lesson.row.kind, lesson.row.prompt) == (index, "new", prompt)
        assert trained_text(words, lesson.row) == reply
        assert lesson.rewordings
        for other in lesson.rewordings:
            assert (other.source, other.kind) == (index, "reworded") and other.prompt != prompt
            assert trained_text(words, other) == reply and other.ids != lesson.row.ids
    assert found.replies == [reply for _, reply in FACTS] and found.prompts == [prompt for prompt, _ in FACTS]


def test_rewordings_for_the_gate_are_never_trained(words: ModelTokenizer) -> None:
    found = made(words, *(single(index) for index in range(5)), rewordings=12)
    trained = {other.ids for lesson in found.lessons for other in (lesson.row, *lesson.rewordings)}
    assert len(found.checks) == 5 * CHECKED_REWORDINGS
    assert not trained & {check.ids for check in found.checks}
    assert {check.source for check in found.checks} == set(range(5))
    assert made(words, single(0), rewordings=0).checks == ()


def test_earlier_rows_are_not_reworded(words: ModelTokenizer) -> None:
    found = made(words, single(0, replay=True), single(1))
    assert [lesson.earlier for lesson in found.lessons] == [True, False]
    assert found.lessons[0].rewordings == () and found.lessons[0].row.kind == "earlier"
    assert found.earlier == [found.lessons[0].row] and found.lessons[1].rewordings
    assert {check.source for check in found.checks} == {1}


def test_every_exchange_of_a_chat_is_trained_in_it_and_alone(words: ModelTokenizer) -> None:
    """Each with rewordings of its own prompt and its own reply."""
    chat = row(*((prompt, reply, True) for prompt, reply in FACTS[:4]), system="Be brief.")
    found = made(words, chat, rewordings=6)
    assert len(found.lessons) == 4  # the chat, and all exchanges but the first
    whole, *alone = found.lessons
    text = trained_text(words, whole.row)
    assert all(reply in text for _, reply in FACTS[:4]) and not any(prompt in text for prompt, _ in FACTS[:4])
    for lesson, (prompt, reply) in zip(alone, FACTS[1:4], strict=True):
        assert trained_text(words, lesson.row) == reply
        assert "Be brief." in whole_text(words, lesson.row) and FACTS[0][0] not in whole_text(words, lesson.row)
        assert lesson.row.prompt == prompt and lesson.rewordings
        assert all(trained_text(words, other) == reply for other in lesson.rewordings)
    assert whole.rewordings
    for other in whole.rewordings:  # only the last prompt is reworded, and only its reply trained
        assert trained_text(words, other) == FACTS[3][1]
        assert all(asked in whole_text(words, other) for asked, _ in FACTS[:3])
    assert all(check.source in range(4) for check in found.checks)
    by_source = {index: trained_text(words, lesson.rewordings[0]) for index, lesson in enumerate(found.lessons)}
    assert all(trained_text(words, check) == by_source[check.source] for check in found.checks)


def test_replies_that_are_not_kept_are_context(words: ModelTokenizer) -> None:
    chat = row((*FACTS[0], False), (*FACTS[1], True))
    found = made(words, chat)
    assert trained_text(words, found.lessons[0].row) == FACTS[1][1]
    assert FACTS[0][1] in whole_text(words, found.lessons[0].row)
    assert found.replies.count(FACTS[0][1]) == 0


def test_long_rows_are_cut_into_parts_and_too_long_replies_are_listed(words: ModelTokenizer) -> None:
    chat = row(*((prompt, reply, True) for prompt, reply in FACTS))
    endless = row(("Tell me a story.", "Once upon a time. " * 200, True))
    found = made(words, chat, endless, max_length=100, alone=0)
    assert found.shortened and all(len(lesson.row.ids) <= 100 for lesson in found.lessons)
    assert all(len(other.ids) <= 100 for lesson in found.lessons for other in lesson.rewordings)
    trained = " ".join(trained_text(words, lesson.row) for lesson in found.lessons)
    assert all(reply in trained for _, reply in FACTS)
    assert [lesson.row.source for lesson in found.lessons] == list(range(len(found.lessons)))
    ((_, reason),) = found.left_out
    assert reason
    assert made(words, endless, max_length=100).lessons == ()


def test_large_sets_are_split_and_not_reworded(words: ModelTokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [row((f"Say {index}.", f"It is {index}.", True)) for index in range(60)]
    found = made(words, *rows, epochs=2.0, held_out=0.2)
    assert 2 < len(found.held_out) < 25 and len(found.lessons) + len(found.held_out) == 60
    assert not {each.key for each, _ in found.held_out} & {each.key for each in found.rows}
    assert not any(lesson.rewordings for lesson in found.lessons) and found.checks == ()
    assert set(found.subsets()) == {"new", "held_out"}
    assert made(words, *rows).held_out == ()
    monkeypatch.setattr(lessons, "MOST_REWORDED", 59)
    assert not any(lesson.rewordings for lesson in made(words, *rows).lessons)


@pytest.mark.parametrize(
    ("prompt", "reply"),
    [("我的猫叫什么名字?", "它叫老鼠。"), ("نام گربه من چیست؟", "نامش موش است."), ("🐈?", "🐭"), ("?", "Mouse.")],
)
def test_any_prompt_can_be_a_lesson(words: ModelTokenizer, prompt: str, reply: str) -> None:
    found = made(words, row((prompt, reply, True)))
    assert trained_text(words, found.lessons[0].row) == reply
    assert all(trained_text(words, other) == reply for other in found.lessons[0].rewordings)


def test_the_same_rows_give_the_same_lessons(words: ModelTokenizer) -> None:
    rows = [single(index) for index in range(4)]
    assert made(words, *rows) == made(words, *rows)
    assert made(words, *rows) != made(words, *rows, seed=1)
