"""`corpus show ID --tokens`: the exact ids of an exchange, and which of them the loss counts.

Knows nothing of the format: `corpora.preview` makes the ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from corpora.dialog import Exchange, Status, dialog_of
from corpora.preview import Piece, preview
from corpora.tokens import Tokenizer
from sessions import models
from sessions.errors import UNREADABLE, ModelNotFound, ModelUnusable
from tui.verbs.call import Call


@dataclass(frozen=True, slots=True)
class Tokens:
    """What `--tokens --json` prints; three lists of one length."""

    exchange_id: int
    model: str
    kept: bool
    ids: list[int]
    trained: list[bool]
    tokens: list[str]


def show_tokens(call: Call, path: Sequence[Exchange]) -> int:
    """The branch as an example, as a run sees it (and would see this exchange once it is kept)."""
    kept = {exchange.id for exchange in path if exchange.status is Status.KEPT} | {path[-1].id}
    is_kept = path[-1].status is Status.KEPT
    pieces = preview(dialog_of(path, kept), load_tokenizer(tokenizer_file(call.model)))
    ids, trained = [piece.id for piece in pieces], [piece.trained for piece in pieces]
    if call.output.json:
        texts = [piece.text for piece in pieces]
        call.output.document(Tokens(path[-1].id, call.model, is_kept, ids, trained, texts))
    elif call.output.terminal:
        _coloured(call, pieces)
    else:
        rows = [(at, each.id, "trained" if each.trained else "", repr(each.text)) for at, each in enumerate(pieces)]
        call.output.table(("PLACE", "ID", "LOSS", "TOKEN"), rows, right=("PLACE", "ID"))
    call.output.note(f"{len(ids)} tokens, {sum(trained)} trained ({call.model}).")
    if not is_kept:
        call.output.note("It is not kept: nothing of it is trained until it is.")
    return 0


def tokenizer_file(model: str) -> Path:
    """The tokenizer.json of a model that is on this disk; nothing is downloaded.

    Raises ModelNotFound; ModelUnusable for a model that is asked in a form of its own.
    """
    local = model == models.DEMO or Path(model).expanduser().is_dir()
    folder = models.resolve(model, lambda stage, share: None).folder if local else models.cached(models.hub_name(model))
    if folder is None or not (folder / "tokenizer.json").is_file():
        raise ModelNotFound(
            f"The tokenizer of {model} is not on this disk.", remedy="It comes with the model, once that is loaded."
        )
    if not _asked_as_llama_2(folder):
        raise ModelUnusable(
            f"{model} has a chat template of its own, and only its host can apply that.",
            remedy="Name a Llama 2 with --model to see its tokens.",
        )
    return folder / "tokenizer.json"


def load_tokenizer(file: Path) -> Tokenizer:
    """The tokenizer in a tokenizer.json. Raises ModelUnusable."""
    from tokenizers import Tokenizer as Fast

    try:
        return Fast.from_file(str(file))
    except Exception as error:  # the library raises nothing narrower
        raise ModelUnusable(f"{file} cannot be read: {error}.", remedy="Download the model again.") from error


def _asked_as_llama_2(folder: Path) -> bool:
    """True where the model's template, if it has one, is Llama 2's."""
    template = _template(folder)
    return not template or ("[INST]" in template and "<<SYS>>" in template)


def _template(folder: Path) -> str:
    jinja = folder / "chat_template.jinja"
    try:
        if jinja.is_file():
            return jinja.read_text("utf-8", errors="replace")
        config = msgspec.json.decode((folder / "tokenizer_config.json").read_bytes(), type=dict[str, Any])
    except (OSError, *UNREADABLE):
        return ""
    return str(config.get("chat_template") or "")


def _coloured(call: Call, pieces: Sequence[Piece]) -> None:
    """Runs of tokens, the trained ones in green, with BOS, EOS, blanks and line ends visible."""
    line: list[str] = []
    for place, piece in enumerate(pieces):
        line.append(piece.text.replace(" ", "·"))
        last = place + 1 == len(pieces)
        if last or piece.text == "<0x0A>" or pieces[place + 1].trained != piece.trained:
            call.output.say("│".join(line), "green" if piece.trained else "dim")
            line = []
