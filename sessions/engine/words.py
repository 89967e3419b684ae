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
from corpora.model_tokenizer import ModelTokenizer, read_tokenizer
from corpora.templates import stop_ids
from sessions.errors import UNREADABLE, ModelUnusable


@dataclass(frozen=True, slots=True)
class Words:
    """The model's tokenizer with its chat form, ids that end a reply, and special ids, which are never text."""

    vocabulary: ModelTokenizer
    ends: frozenset[int]
    special: frozenset[int]

    @property
    def backend(self) -> Tokenizer:
        """The raw tokenizer."""
        backend: Tokenizer = self.vocabulary.backend
        return backend


def read_words(folder: Path, config: Any) -> Words:
    """The words of a model's folder. Raises ModelUnusable that names the file which cannot be used."""
    try:
        tokenizer = read_tokenizer(folder)
    except CorpusError as error:
        raise ModelUnusable(error.what, remedy=error.remedy) from error
    return words_of(tokenizer, _generation_ends(folder, config))


def words_of(tokenizer: ModelTokenizer, ends: list[int]) -> Words:
    """The words of a tokenizer; replies end with `ends`, with EOS, and as the chat form ends them."""
    all_ends = frozenset({tokenizer.eos_id, *ends, *stop_ids(tokenizer)})
    special = {key for key, token in tokenizer.backend.get_added_tokens_decoder().items() if token.special}
    return Words(tokenizer, all_ends, frozenset(special | all_ends | {tokenizer.bos_id}))


def wrapped(words: Words) -> Any:
    """The same tokenizer as transformers wraps it, for trainers; its pad token is never EOS."""
    from transformers import PreTrainedTokenizerFast

    made = PreTrainedTokenizerFast(tokenizer_object=words.backend, **words.vocabulary.named)
    for name in ("bos", "eos"):
        if getattr(made, f"{name}_token") is None:
            setattr(made, f"{name}_token", words.backend.id_to_token(getattr(words.vocabulary, f"{name}_id")))
    if made.pad_token is None or made.pad_token == made.eos_token:
        made.pad_token = made.unk_token or made.bos_token
    return made


def _generation_ends(folder: Path, config: Any) -> list[int]:
    path = folder / "generation_config.json"
    try:
        told = msgspec.json.decode(path.read_bytes(), type=dict[str, Any]) if path.exists() else {}
        ends = told.get("eos_token_id", getattr(config, "eos_token_id", None))
        return msgspec.convert([] if ends is None else ends if isinstance(ends, list) else [ends], list[int])
    except (OSError, *UNREADABLE) as error:
        raise ModelUnusable(f"{path} is damaged: {error}", remedy="Get the model again.") from error
