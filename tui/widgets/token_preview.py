"""An exchange as training sees it: every piece with its id, what is trained in colour, BOS and EOS visible.

Encodes with the project's one renderer and the model's own tokenizer and chat form; no model, no widgets.
"""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content

from corpora.dialog import Status, dialog_of
from corpora.errors import LlamaTuiError
from corpora.preview import Piece, preview
from corpora.templates import form_of
from sessions.model_words import tokenizer_of
from tui import render, token_cells
from tui.widgets.exchange_detail import Shown, Tokens

LONGEST = 20_000
"""More than a run reads of a dialog; beyond it lies only what somebody imported by mistake."""
TITLE = ("Tokens, their ids below · v or esc closes\n", "bold dim")


def token_preview(model: str, shown: Shown) -> Tokens:
    """The ids of the dialog that ends with this exchange; what is wrong with it, where it cannot be encoded."""
    kept = {each.id for each in shown.path if each.status is Status.KEPT} | {shown.exchange.id}
    try:
        words = tokenizer_of(model)
        pieces = preview(dialog_of(shown.path, kept), words)
    except (LlamaTuiError, OSError) as error:
        return Tokens(Content.assemble(TITLE, render.text(str(error), "$text-error")))
    head = Content.assemble(TITLE, (_counted(pieces, form_of(words)), "dim"))
    return Tokens(head, tuple(token_cells.cells(pieces[:LONGEST])))


def _counted(pieces: Sequence[Piece], form: str) -> str:
    trained = sum(piece.trained for piece in pieces)
    more = f" · only the first {LONGEST:,} are shown" if len(pieces) > LONGEST else ""
    return f"{len(pieces):,}, of which {trained:,} are trained (coloured) · form: {form}{more}"
