"""An error where it happened: what, what it means for the data, what to do."""

from __future__ import annotations

from textual.content import Content
from textual.widgets import Static

from sessions.errors import Failure
from tui import render


class ErrorPanel(Static):
    """The three parts of a failure, and the keys that help."""

    def __init__(self, failure: Failure, keys: str = "", **options: str) -> None:
        super().__init__(_content(failure, keys), markup=False, **options)  # type: ignore[arg-type]


def _content(failure: Failure, keys: str) -> Content:
    parts = [
        render.text(failure.what, "bold $text-error"),
        *(render.text(part) for part in (failure.data, failure.remedy) if part),
        *([Content.styled(keys, "dim")] if keys else []),
    ]
    return Content("\n").join(parts)
