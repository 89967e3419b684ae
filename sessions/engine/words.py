"""A model's tokenizer as the engine needs it: ids of a prompt, ids that end a reply, ids that are no text.

Reads the folder's tokenizer.json as it stands; nothing is converted.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from tokenizers import Tokenizer

from corpora.tokens import FastVocabulary, Vocabulary
from sessions.errors import ModelUnusable


@dataclass(frozen=True, slots=True)
class Words:
    """The raw tokenizer, its `Vocabulary`, ids that end a reply, and special ids, which are never text."""

    backend: Tokenizer
    vocabulary: Vocabulary
    ends: frozenset[int]
    special: frozenset[int]


def read_words(folder: Path, config: Any) -> Words:
    """The words of a model's folder. Raises ModelUnusable for a tokenizer.json that cannot be used."""
    path = folder / "tokenizer.json"
    try:
        backend = Tokenizer.from_file(str(path))
        bos, eos = _frame(backend, named_tokens(folder))
        ends = frozenset({eos, *_generation_ends(folder, config)})
    except (msgspec.MsgspecError, OSError, ValueError) as error:
        raise ModelUnusable(f"{path} cannot be used: {error}", remedy="Get the model again.") from error
    except Exception as error:
        raise ModelUnusable(f"{path} is damaged: {error}", remedy="Get the model again.") from error
    special = {key for key, token in backend.get_added_tokens_decoder().items() if token.special}
    return Words(backend, FastVocabulary(backend, bos, eos), ends, frozenset(special | ends | {bos}))


def wrapped(words: Words, folder: Path) -> Any:
    """The same tokenizer as transformers wraps it, for trainers; its pad token is never EOS."""
    from transformers import PreTrainedTokenizerFast

    made = PreTrainedTokenizerFast(tokenizer_object=words.backend, **named_tokens(folder))
    for name in ("bos", "eos"):
        if getattr(made, f"{name}_token") is None:
            setattr(made, f"{name}_token", words.backend.id_to_token(getattr(words.vocabulary, f"{name}_id")))
    if made.pad_token is None or made.pad_token == made.eos_token:
        made.pad_token = made.unk_token or made.bos_token
    return made


def _frame(backend: Tokenizer, named: dict[str, str]) -> tuple[int, int]:
    """Ids of BOS and EOS; a tokenizer without a BOS of its own uses its EOS, as such models were trained."""
    eos = backend.token_to_id(named.get("eos_token", "</s>"))
    if eos is None:
        raise ValueError("it has no end-of-text token; name it as eos_token in tokenizer_config.json")
    bos = backend.token_to_id(named.get("bos_token", "<s>"))
    return (eos if bos is None else bos), eos


def named_tokens(folder: Path) -> dict[str, str]:
    """BOS, EOS, UNK and PAD by name, as the tokenizer's own files give them."""
    found: dict[str, Any] = {}
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        if (folder / name).exists():
            found |= msgspec.json.decode((folder / name).read_bytes(), type=dict[str, Any])
    named = {key: found.get(key) for key in ("bos_token", "eos_token", "unk_token", "pad_token")}
    texts = {key: value.get("content") if isinstance(value, dict) else value for key, value in named.items()}
    return {key: value for key, value in texts.items() if isinstance(value, str)}


def _generation_ends(folder: Path, config: Any) -> list[int]:
    path = folder / "generation_config.json"
    told = msgspec.json.decode(path.read_bytes(), type=dict[str, Any]) if path.exists() else {}
    ends = told.get("eos_token_id", getattr(config, "eos_token_id", None))
    return [ends] if isinstance(ends, int) else [int(end) for end in ends or ()]
