"""`corpus show ID --tokens`: the exact ids of an exchange, and which of them the loss counts.

Knows nothing of the format: `corpora.preview` makes the ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from corpora.dialog import Exchange, Status, dialog_of
from corpora.preview import Piece, preview
from corpora.templates import form_of
from sessions.model_words import tokenizer_of
from tui import token_cells
from tui.verbs.call import Call


@dataclass(frozen=True, slots=True)
class Tokens:
    """What `--tokens --json` prints; three lists of one length. `form` is the chat form they are in."""

    exchange_id: int
    model: str
    form: str
    kept: bool
    ids: list[int]
    trained: list[bool]
    tokens: list[str]


def show_tokens(call: Call, path: Sequence[Exchange]) -> int:
    """The branch as an example, as a run sees it (and would see this exchange once it is kept)."""
    kept = {exchange.id for exchange in path if exchange.status is Status.KEPT} | {path[-1].id}
    is_kept = path[-1].status is Status.KEPT
    tokenizer = tokenizer_of(call.model)
    form, pieces = form_of(tokenizer), preview(dialog_of(path, kept), tokenizer)
    ids, trained = [piece.id for piece in pieces], [piece.trained for piece in pieces]
    if call.output.json:
        texts = [piece.text for piece in pieces]
        call.output.document(Tokens(path[-1].id, call.model, form, is_kept, ids, trained, texts))
    elif call.output.terminal:
        _coloured(call, pieces)
    else:
        rows = [(at, each.id, "trained" if each.trained else "", repr(each.text)) for at, each in enumerate(pieces)]
        call.output.table(("PLACE", "ID", "LOSS", "TOKEN"), rows, right=("PLACE", "ID"))
    call.output.note(f"{len(ids)} tokens, {sum(trained)} trained ({call.model}, form: {form}).")
    if not is_kept:
        call.output.note("It is not kept: nothing of it is trained until it is.")
    return 0


def _coloured(call: Call, pieces: Sequence[Piece]) -> None:
    """Rows of tokens with their ids below, the trained ones in green, with BOS, EOS, blanks and line ends visible."""
    shown, width = token_cells.cells(pieces), call.output.width - token_cells.GAP
    for places in token_cells.rows(shown, width, apart=True):
        row = shown[places.start : places.stop]
        call.output.say("".join(token_cells.texts(row, width)).rstrip(), "green" if row[0].trained else "")
        call.output.say("".join(token_cells.ids(row, width)).rstrip(), "dim")
