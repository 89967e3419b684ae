"""Kept replies as the rows that a run trains on and measures: encoded, split, reworded. Knows nothing of models."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from corpora.dataset import Row, encode_rows, split
from corpora.dialog import Message
from corpora.tokens import Tokenizer
from sessions.training import schedule
from sessions.training.mixture import Lesson
from sessions.training.objective import TrainRow
from sessions.training.recipe import Recipe
from sessions.training.rewording import rewordings
from sessions.training.variants import alone

MOST_REWORDED = 1_000
"""Rows of a set up to which prompts are reworded."""
CHECKED_REWORDINGS = 3
"""Wordings of each new prompt that the gate asks and training never sees."""


@dataclass(frozen=True, slots=True)
class Material:
    """The rows of a run with their encoded form: trained on, held out to measure, left out with the reason.

    A row has several lessons where exchanges from within it are also trained on their own. `checks` are rewordings
    that are not trained on.
    """

    rows: tuple[Row, ...]
    lessons: tuple[Lesson, ...]
    held_out: tuple[tuple[Row, TrainRow], ...] = ()
    left_out: tuple[tuple[Row, str], ...] = ()
    checks: tuple[TrainRow, ...] = ()
    shortened: int = 0
    """Rows that lost their oldest exchanges, as they are longer than the context."""

    @property
    def trained(self) -> tuple[tuple[Row, Lesson], ...]:
        """Each lesson with its row."""
        return tuple(zip(self.rows, self.lessons, strict=True))

    @property
    def new(self) -> list[TrainRow]:
        """The rows that no earlier run trained on."""
        return [lesson.row for lesson in self.lessons if not lesson.earlier]

    @property
    def earlier(self) -> list[TrainRow]:
        """The rows that an earlier run trained on."""
        return [lesson.row for lesson in self.lessons if lesson.earlier]

    @property
    def prompts(self) -> list[str]:
        """The prompts of all trained replies."""
        return [text for row in self.rows for text in _prompts(row)]

    @property
    def replies(self) -> list[str]:
        """All trained replies."""
        return [said.content for row in self.rows for said in row.dialog if said.role == "assistant" and said.kept]

    def subsets(self) -> dict[str, list[TrainRow]]:
        """Return what is scored, without empty sets: new, earlier (`old`) and held-out rows."""
        found = {"new": self.new, "old": self.earlier, "held_out": [row for _, row in self.held_out]}
        return {name: rows for name, rows in found.items() if rows}


def material_of(rows: tuple[Row, ...], tokenizer: Tokenizer, max_length: int, recipe: Recipe) -> Material:
    """Return the rows of a snapshot encoded, split and reworded. It has no lessons where no row can be trained."""
    encoded = encode_rows(rows, tokenizer, max_length)
    whole = tuple(row for row, _ in encoded.examples)
    tokens = sum(sum(example.trained) for row, example in encoded.examples if not row.replay)
    memorized = schedule.plan(len(whole), max_length, recipe, trained_tokens=tokens).until_reproduced
    kept, aside = (whole, ()) if memorized else split(whole, recipe.held_out)
    outside = {row.key for row in aside} if kept else set()
    pairs = [(row, example) for row, example in encoded.examples if row.key not in outside]
    pairs += encode_rows(alone((row for row, _ in pairs), recipe.alone), tokenizer, max_length).examples
    trained = [
        (row, TrainRow.of(example, "earlier" if row.replay else "new", prompt=last_prompt(row)))
        for row, example in pairs
    ]
    count = recipe.rewordings if memorized else 0
    lessons, checks = lessons_of(trained, tokenizer, max_length, count, recipe.seed)
    return Material(
        rows=tuple(row for row, _ in pairs),
        lessons=lessons,
        held_out=tuple((row, TrainRow.of(example, "new")) for row, example in encoded.examples if row.key in outside),
        left_out=encoded.left_out,
        checks=checks,
        shortened=len(encoded.shortened),
    )


def lessons_of(
    pairs: Sequence[tuple[Row, TrainRow]], tokenizer: Tokenizer, max_length: int, count: int, seed: int
) -> tuple[tuple[Lesson, ...], tuple[TrainRow, ...]]:
    """Return a lesson for each row, with `count` rewordings for new ones, and the rewordings for the gate."""
    new = [index for index, (row, _) in enumerate(pairs) if not row.replay]
    wordings: dict[int, list[TrainRow]] = {index: [] for index in new}
    checks: list[TrainRow] = []
    if count and len(pairs) <= MOST_REWORDED:
        variants = [(index, each) for index in new for each in _reworded(index, pairs[index][0], count, seed)]
        encoded = encode_rows(tuple(row for _, row in variants), tokenizer, max_length)
        by_key = {row.key: example for row, example in encoded.examples}
        for index, row in variants:
            if row.key in by_key:
                wordings[index].append(TrainRow.of(by_key[row.key], "reworded", index, last_prompt(row)))
        for index in new:
            cut = min(CHECKED_REWORDINGS, len(wordings[index]) // 3)
            checks += wordings[index][len(wordings[index]) - cut :]
            wordings[index] = wordings[index][: len(wordings[index]) - cut]
    lessons = [
        Lesson(replace(row, source=index), tuple(wordings.get(index, ())), pairs[index][0].replay)
        for index, (_, row) in enumerate(pairs)
    ]
    return tuple(lessons), tuple(checks)


def _reworded(index: int, row: Row, count: int, seed: int) -> Iterable[Row]:
    """Yield the row with other wordings of its last prompt; only the reply to that one is trained.

    The keys have the row's index: a chat and the exchanges from within it have the same key.
    """
    *before, asked, reply = row.dialog
    if asked.role != "user" or not reply.kept:
        return
    history = tuple(replace(said, kept=False) for said in before)
    for number, text in enumerate(rewordings(asked.content, count + CHECKED_REWORDINGS, seed)):
        yield Row(f"{index}:{number}", (*history, Message("user", text), reply), (), row.replay)


def last_prompt(row: Row) -> str:
    """Return the text of the last prompt of a row."""
    return next((said.content for said in reversed(row.dialog) if said.role == "user"), "")


def _prompts(row: Row) -> Iterable[str]:
    return (said.content for said in row.dialog if said.role == "user")
