"""The main screens by name, each imported when it is first shown. Knows nothing of what they do."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any

from textual.screen import Screen


def _made(module: str, name: str) -> Screen[None]:
    screen = getattr(import_module(f"tui.screens.{module}"), name)()
    assert isinstance(screen, Screen)
    return screen


MODES: dict[str, str | Callable[[], Screen[Any]]] = {
    "chat": partial(_made, "chat", "ChatScreen"),
    "corpus": partial(_made, "corpus", "CorpusScreen"),
    "train": partial(_made, "train", "TrainScreen"),
    "adapters": partial(_made, "adapters", "AdaptersScreen"),
    "compare": partial(_made, "compare", "CompareScreen"),
}
