"""An exchange as training sees it: every id's text, what is trained in colour, BOS and EOS visible.

Encodes with the project's one renderer and the model's own tokenizer.json; no model, no widgets.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from textual.content import Content

from corpora.dialog import Exchange, Message, Status
from corpora.errors import LlamaTuiError
from corpora.llama2 import encode_example
from sessions import models
from sessions.errors import ModelNotFound
from tui import render
from tui.widgets.exchange_detail import Shown

LONGEST = 3000
TRAINED, SPECIAL, PLAIN = "$text-success", "bold reverse", "dim"


def token_preview(model: str, shown: Shown) -> Content:
    """The ids of the dialog that ends with this exchange; what is wrong with it, where it cannot be encoded."""
    try:
        tokenizer = _tokenizer(str(tokenizer_file(model)))
        example = encode_example(dialog_of(shown.path), tokenizer)
    except (LlamaTuiError, OSError) as error:
        return Content.assemble(("Tokens\n", "bold dim"), render.text(str(error), "$text-error"))
    trained = sum(example.trained)
    head = f"Tokens: {len(example.ids):,}, of which {trained:,} are trained (coloured)\n"
    return Content("").join([Content.styled(head, "bold dim"), *_pieces(tokenizer, example.ids, example.trained)])


def dialog_of(path: tuple[Exchange, ...]) -> list[Message]:
    """The messages down to an exchange; replies above it are trained where they were kept."""
    system = path[0].system if path else None
    said = [Message("system", system, tags_allowed=True)] if system else []
    for exchange in path:
        kept = exchange is path[-1] or exchange.status is Status.KEPT
        said.append(Message("user", exchange.prompt, tags_allowed=exchange.tags_allowed))
        said.append(Message("assistant", exchange.reply, kept=kept, tags_allowed=exchange.tags_allowed))
    return said


def tokenizer_file(model: str) -> Path:
    """The tokenizer.json of a model that is on this disk; nothing is downloaded. Raises ModelError."""
    local = model == models.DEMO or Path(model).expanduser().is_dir()
    folder = models.resolve(model, lambda stage, done: None).folder if local else models.cached(models.hub_name(model))
    if folder is None or not (folder / "tokenizer.json").is_file():
        raise ModelNotFound(
            f"The tokenizer of {model} is not on this disk.", remedy="It comes with the model, once that is loaded."
        )
    return folder / "tokenizer.json"


@lru_cache(maxsize=2)
def _tokenizer(path: str) -> Any:
    from tokenizers import Tokenizer

    return Tokenizer.from_file(path)


def _pieces(tokenizer: Any, ids: list[int], trained: list[bool]) -> list[Content]:
    pieces = [
        _piece(tokenizer.id_to_token(id) or f"<{id}>", on) for id, on in zip(ids[:LONGEST], trained, strict=False)
    ]
    if len(ids) > LONGEST:
        pieces.append(Content.styled(f"\n… and {len(ids) - LONGEST:,} more", "dim"))
    return pieces


def _piece(token: str, trained: bool) -> Content:
    """One token: special ones stand out, blanks are dots, line ends are seen and still end the line."""
    style = TRAINED if trained else PLAIN
    if token in ("<s>", "</s>", "<unk>"):
        return Content.styled(token + ("\n" if token == "</s>" else ""), f"{SPECIAL} {style}")
    if token == "<0x0A>":
        return Content.styled("⏎\n", style)
    return Content.styled(render.clean(token.replace("▁", "·")), style)
