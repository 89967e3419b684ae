"""The tokenizer of a model that is on this disk, for the terminal: no model, no download, no torch."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from corpora.errors import CorpusError
from corpora.model_tokenizer import ModelTokenizer, read_tokenizer
from sessions import models
from sessions.command import command
from sessions.errors import ModelNotFound, ModelUnusable


def tokenizer_of(model: str) -> ModelTokenizer:
    """Return the model's own tokenizer with its chat form. Raises ModelNotFound, ModelUnusable."""
    found = models.located(model)
    if found is None:
        raise ModelNotFound(
            f"The tokenizer of {model} is not on this disk.",
            remedy=f"It comes with the model: `{command('models', 'get', model)}`.",
        )
    try:
        return _read(found.folder, (found.folder / "tokenizer.json").stat().st_mtime_ns)
    except CorpusError as error:
        raise ModelUnusable(error.what, remedy=error.remedy) from error


@lru_cache(maxsize=2)
def _read(folder: Path, changed: int) -> ModelTokenizer:
    """Read a tokenizer once, as a large one takes seconds; `changed` is the file's time, which a new file changes."""
    return read_tokenizer(folder)
