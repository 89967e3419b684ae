"""A model's tokenizer as the engine needs it: ids of a prompt, ids that end a reply, ids that are no text.

Reads the folder's tokenizer.json as it stands; nothing is converted.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from tokenizers import Tokenizer

from corpora.errors import CorpusError
from corpora.tokens import Vocabulary, vocabulary
from sessions.errors import ModelUnusable


@dataclass(frozen=True, slots=True)
class Words:
    """The raw tokenizer, its `Vocabulary`, ids that end a reply, and special ids, which are never text."""

    backend: Tokenizer
    vocabulary: Vocabulary
    ends: frozenset[int]
    special: frozenset[int]


def read_words(folder: Path, config: Any) -> tuple[Words, Any]:
    """The words, and the same tokenizer as transformers wraps it. Raises ModelUnusable."""
    from transformers import PreTrainedTokenizerFast

    path = folder / "tokenizer.json"
    try:
        backend = Tokenizer.from_file(str(path))
        tokens = _named_tokens(folder)
        wrapped = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_file(str(path)), **tokens)
        words = vocabulary(wrapped)
    except (CorpusError, msgspec.MsgspecError, OSError, ValueError) as error:
        raise ModelUnusable(f"{path} cannot be used: {error}", remedy="Get the model again.") from error
    except Exception as error:
        raise ModelUnusable(f"{path} is damaged: {error}", remedy="Get the model again.") from error
    if wrapped.pad_token is None:
        wrapped.pad_token = wrapped.unk_token or wrapped.bos_token
    special = {key for key, token in backend.get_added_tokens_decoder().items() if token.special}
    ends = frozenset({words.eos_id, *_generation_ends(folder, config)})
    return Words(backend, words, ends, frozenset(special | ends | {words.bos_id})), wrapped


def _named_tokens(folder: Path) -> dict[str, str]:
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
