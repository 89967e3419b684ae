"""An exchange as training sees it: every id's text, what is trained in colour, BOS and EOS visible.

Encodes with the project's one renderer and the model's own tokenizer.json; no model, no widgets.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from textual.content import Content

from corpora.dialog import Status, dialog_of
from corpora.errors import LlamaTuiError
from corpora.preview import Piece, preview
from sessions import models
from sessions.errors import ModelNotFound
from tui import render
from tui.widgets.exchange_detail import Shown

LONGEST = 3000
TRAINED, SPECIAL, PLAIN = "$text-success", "bold reverse", "dim"


def token_preview(model: str, shown: Shown) -> Content:
    """The ids of the dialog that ends with this exchange; what is wrong with it, where it cannot be encoded."""
    kept = {each.id for each in shown.path if each.status is Status.KEPT} | {shown.exchange.id}
    try:
        pieces = preview(dialog_of(shown.path, kept), tokenizer_of(model))
    except (LlamaTuiError, OSError) as error:
        return Content.assemble(("Tokens\n", "bold dim"), render.text(str(error), "$text-error"))
    trained = sum(piece.trained for piece in pieces)
    head = f"Tokens: {len(pieces):,}, of which {trained:,} are trained (coloured)\n"
    rest = [Content.styled(f"\n… and {len(pieces) - LONGEST:,} more", "dim")] if len(pieces) > LONGEST else []
    return Content("").join([Content.styled(head, "bold dim"), *map(_drawn, pieces[:LONGEST]), *rest])


def tokenizer_file(model: str) -> Path:
    """The tokenizer.json of a model that is on this disk; nothing is downloaded. Raises ModelError."""
    local = model == models.DEMO or Path(model).expanduser().is_dir()
    folder = models.resolve(model, lambda stage, done: None).folder if local else models.cached(models.hub_name(model))
    if folder is None or not (folder / "tokenizer.json").is_file():
        raise ModelNotFound(
            f"The tokenizer of {model} is not on this disk.", remedy="It comes with the model, once that is loaded."
        )
    return folder / "tokenizer.json"


def tokenizer_of(model: str) -> Any:
    """The model's own tokenizer, read once. Raises ModelError and OSError."""
    return _tokenizer(str(tokenizer_file(model)))


@lru_cache(maxsize=2)
def _tokenizer(path: str) -> Any:
    from tokenizers import Tokenizer

    return Tokenizer.from_file(path)


def _drawn(piece: Piece) -> Content:
    """One token: BOS and EOS stand out, blanks are dots, line ends are seen and still end the line."""
    style = TRAINED if piece.trained else PLAIN
    if piece.text in ("<s>", "</s>", "<unk>"):
        return Content.styled(piece.text + ("\n" if piece.text == "</s>" else ""), f"{SPECIAL} {style}")
    if piece.text == "<0x0A>":
        return Content.styled("⏎\n", style)
    return Content.styled(render.clean(piece.text.replace(" ", "·")), style)
