"""Questions on a text: dolly (`instruction`, `context`, `response`) and SQuAD or persian_qa (`question`,
`context`, `answers`), flat or nested under `data`, `paragraphs` and `qas`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from corpora.formats.form import BadRow, Form, Item, RowOf, checked, dialog, kind_of, listed, optional, text
from corpora.store.values import ImportedTurn

BETWEEN = "\n\n"


def fits_dolly(row: RowOf) -> bool:
    """Has an instruction and a response."""
    return "instruction" in row and "response" in row


def read_dolly(row: RowOf, source: str) -> Iterator[Item]:
    """One exchange a row; its category becomes a tag."""
    instruction, context = text(row, "instruction", empty=False), optional(row, "context")
    category = optional(row, "category")
    prompt = instruction if context is None else f"{instruction}{BETWEEN}{context}"
    cut = None if context is None else len(instruction)
    turn = ImportedTurn(prompt, text(row, "response"), instruction=cut)
    yield dialog([turn], None, source, (category,) if category else ())


def fits_squad(row: RowOf) -> bool:
    """Has a question with answers, or paragraphs of them."""
    return ("question" in row and "answers" in row) or "paragraphs" in row or isinstance(row.get("data"), list)


def read_squad(row: RowOf, source: str) -> Iterator[Item | BadRow]:
    """One exchange a question: the text, a blank line, the question; the first answer is the reply."""
    if "data" in row:
        for part in listed(row, "data"):
            yield from read_squad(_object(part, "data"), source)
    elif "paragraphs" in row:
        for part in listed(row, "paragraphs"):
            yield from _paragraph(_object(part, "paragraphs"), source)
    else:
        yield _question(row, optional(row, "context"), source)


def _paragraph(row: RowOf, source: str) -> Iterator[Item | BadRow]:
    """Questions that the text does not answer have nothing to learn from and are passed over."""
    for part in listed(row, "qas"):
        question = _object(part, "qas")
        if question.get("is_impossible"):
            continue
        try:
            yield _question(question, optional(row, "context"), source)
        except BadRow as error:
            yield error


def _question(row: RowOf, context: str | None, source: str) -> Item:
    question, answer = text(row, "question", empty=False), _answer(row.get("answers"))
    prompt = question if context is None else f"{context}{BETWEEN}{question}"
    return dialog([ImportedTurn(prompt, answer)], None, source)


def _answer(value: Any) -> str:
    """The first of `{"text": […]}` or `[{"text": …}, …]`."""
    found = value.get("text") if isinstance(value, dict) else value
    first = found[0] if isinstance(found, list) and found else None
    if isinstance(first, dict):
        first = first.get("text")
    if first is None:
        raise BadRow("it has no answer")
    return checked(first, "answers", empty=False)


def _object(value: Any, name: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise BadRow(f"an element of {name!r} is {kind_of(value)}, not an object")
    return value


DOLLY = Form("dolly", fits_dolly, read_dolly)
SQUAD = Form("squad", fits_squad, read_squad)
