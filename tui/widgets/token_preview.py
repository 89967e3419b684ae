"""An exchange as training sees it: every id's text, what is trained in colour, BOS and EOS visible.

Encodes with the project's one renderer and the model's own tokenizer and chat form; no model, no widgets.
"""

from __future__ import annotations

from textual.content import Content

from corpora.dialog import Status, dialog_of
from corpora.errors import LlamaTuiError
from corpora.preview import Piece, preview
from corpora.templates import form_of
from sessions.model_words import tokenizer_of
from tui import render
from tui.widgets.exchange_detail import Shown

LONGEST = 3000
TRAINED, SPECIAL, PLAIN = "$text-success", "bold reverse", "dim"


def token_preview(model: str, shown: Shown) -> Content:
    """The ids of the dialog that ends with this exchange; what is wrong with it, where it cannot be encoded."""
    kept = {each.id for each in shown.path if each.status is Status.KEPT} | {shown.exchange.id}
    try:
        words = tokenizer_of(model)
        pieces = preview(dialog_of(shown.path, kept), words)
    except (LlamaTuiError, OSError) as error:
        return Content.assemble(("Tokens\n", "bold dim"), render.text(str(error), "$text-error"))
    trained = sum(piece.trained for piece in pieces)
    head = f"Tokens: {len(pieces):,}, of which {trained:,} are trained (coloured) · form: {form_of(words)}\n"
    rest = [Content.styled(f"\n… and {len(pieces) - LONGEST:,} more", "dim")] if len(pieces) > LONGEST else []
    return Content("").join([Content.styled(head, "bold dim"), *map(_drawn, pieces[:LONGEST]), *rest])


def _drawn(piece: Piece) -> Content:
    """One token: special ones stand out, blanks are dots, line ends are seen and still end the line."""
    style = TRAINED if piece.trained else PLAIN
    if piece.special:
        return Content.styled(render.clean(piece.text), f"{SPECIAL} {style}")
    if piece.text == "<0x0A>":
        return Content.styled("⏎\n", style)
    return Content.styled(render.clean(piece.text.replace(" ", "·")).replace("\n", "⏎\n"), style)
