"""`corpus show ID --tokens`: the exact ids of an exchange, and which of them the loss counts.

Knows nothing of the format: `corpora.llama2` makes the ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from corpora.dialog import Example, Exchange, Status, dialog_of
from corpora.llama2 import encode_example
from sessions import models
from sessions.errors import ModelUnusable
from tui.verbs.call import Call

CONTINUED = "\u2581"
"""How Llama 2's vocabulary writes a blank."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """What `--tokens --json` prints; three lists of one length."""

    exchange_id: int
    model: str
    ids: list[int]
    trained: list[bool]
    tokens: list[str]


def show_tokens(call: Call, path: Sequence[Exchange]) -> int:
    """The branch as an example, the way a run would see it."""
    kept = {exchange.id for exchange in path if exchange.status is Status.KEPT}
    tokens, example = _encoded(call, path, kept)
    if call.output.json:
        call.output.document(Tokens(path[-1].id, call.model, example.ids, example.trained, tokens))
    elif call.output.terminal:
        _coloured(call, tokens, example)
    else:
        marks = ("trained" if trained else "" for trained in example.trained)
        rows = zip(range(len(tokens)), example.ids, marks, tokens, strict=True)
        call.output.table(("PLACE", "ID", "LOSS", "TOKEN"), rows, right=("PLACE", "ID"))
    call.output.note(f"{len(example.ids)} tokens, {sum(example.trained)} trained ({call.model}).")
    if not kept:
        call.output.note("Nothing of it is kept, so nothing of it is trained.")
    return 0


def _encoded(call: Call, path: Sequence[Exchange], kept: set[int]) -> tuple[list[str], Example]:
    from tokenizers import Tokenizer

    source = models.resolve(call.model, lambda stage, share: call.output.progress(stage))
    file = source.folder / "tokenizer.json"
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises nothing narrower
        raise _unusable(file, error) from error
    example = encode_example(dialog_of(path, kept), tokenizer)
    return [tokenizer.id_to_token(id) or f"<{id}>" for id in example.ids], example


def _unusable(file: Path, error: Exception) -> ModelUnusable:
    return ModelUnusable(f"{file} cannot be read: {error}.", remedy="Download the model again.")


def _coloured(call: Call, tokens: list[str], example: Example) -> None:
    """Runs of tokens, the trained ones in green, with BOS, EOS and line ends visible."""
    line: list[str] = []
    for place, token in enumerate(tokens):
        line.append(token.replace(CONTINUED, "·"))
        last = place + 1 == len(tokens)
        if last or token == "<0x0A>" or example.trained[place + 1] != example.trained[place]:
            call.output.say("│".join(line), "green" if example.trained[place] else "dim")
            line = []
