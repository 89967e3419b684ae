"""tokenizer.json of a GGUF file, from its metadata: byte-level BPE (`gpt2`) and SentencePiece BPE (`llama`).

Torch-free. Knows nothing of weights or of chat.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import BPE

from sessions.errors import ModelUnusable

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA_3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
QWEN_2 = LLAMA_3.replace(r"\p{N}{1,3}", r"\p{N}")
TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
DIGITS = (r"\p{N}", GPT2)
DEFAULT = (r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]")
SPLITS: Mapping[str, tuple[str, ...]] = {
    "default": DEFAULT,
    "gpt-2": (GPT2,),
    "smollm": DIGITS,
    "starcoder": DIGITS,
    "refact": DIGITS,
    "command-r": DIGITS,
    "llama-bpe": (LLAMA_3,),
    "llama3": (LLAMA_3,),
    "llama-v3": (LLAMA_3,),
    "qwen2": (QWEN_2,),
    "tekken": (TEKKEN,),
}
"""How text is split before merging, by `tokenizer.ggml.pre`: each expression splits the pieces of the one before it."""
WHOLE_WORDS_FIRST = ("llama-bpe", "llama3", "llama-v3", "tekken")
"""Pre-tokenizers of vocabularies with `ignore_merges`: a piece that is a token is not merged."""

PLACEHOLDERS = 2
"""With so few different scores, the file was made from a tokenizer.json and its own merges are used."""


def tokenizer_of(path: Path, metadata: Mapping[str, Any]) -> Tokenizer:
    """Return the tokenizer that a file's metadata describes.

    Raises ModelUnusable for one of another kind, and any error of Python for damaged metadata.
    """
    kind, pre = metadata.get("tokenizer.ggml.model"), metadata.get("tokenizer.ggml.pre", "default")
    if kind == "llama":
        made = _sentence_piece(metadata)
    elif kind != "gpt2":
        raise _unsupported(path, f"tokenizer {kind!r:.40}", "gpt2 and llama")
    elif pre not in SPLITS:
        raise _unsupported(path, f"pre-tokenizer {pre!r:.40}", ", ".join(SPLITS))
    else:
        made = _byte_level(metadata, pre)
    _add_special(made, metadata)
    return made


def _byte_level(metadata: Mapping[str, Any], pre: str) -> Tokenizer:
    merges = [_pair(merge) for merge in metadata["tokenizer.ggml.merges"]]
    made = Tokenizer(BPE(_vocabulary(metadata), merges, ignore_merges=pre in WHOLE_WORDS_FIRST))
    splits = [pre_tokenizers.Split(Regex(each), "isolated") for each in SPLITS[pre]]
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [*splits, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    made.decoder = decoders.ByteLevel()
    return made


def _pair(merge: str) -> tuple[str, str]:
    left, _, right = merge.partition(" ")
    return left, right


def _sentence_piece(metadata: Mapping[str, Any]) -> Tokenizer:
    unknown = metadata["tokenizer.ggml.tokens"][metadata.get("tokenizer.ggml.unknown_token_id", 0)]
    made = Tokenizer(
        BPE(_vocabulary(metadata), _merges(metadata), unk_token=unknown, fuse_unk=True, byte_fallback=True)
    )
    end = []
    if metadata.get("tokenizer.ggml.add_space_prefix", True):
        made.pre_tokenizer = pre_tokenizers.Metaspace("▁", "first", split=False)
        end = [decoders.Strip(" ", 1, 0)]
    else:
        made.normalizer = normalizers.Replace(" ", "▁")
    made.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *end])
    return made


def _merges(metadata: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return every pair of tokens that forms a third, in SentencePiece's order: by the third's score.

    Of pairs with equal scores (runs of spaces) SentencePiece merges the leftmost; ordered by the longest left part,
    the merges have the same result and equal those in Llama 2's tokenizer.json.
    """
    tokens, scores = metadata["tokenizer.ggml.tokens"], metadata.get("tokenizer.ggml.scores") or [0.0]
    if len(set(scores)) <= PLACEHOLDERS and "tokenizer.ggml.merges" in metadata:
        return [_pair(merge) for merge in metadata["tokenizer.ggml.merges"]]
    joined = [index for index, kind in enumerate(_kinds(metadata)) if kind in (NORMAL, USER_DEFINED, UNUSED)]
    known = {tokens[index] for index in joined}
    found = [
        (scores[index], len(left), len(right), left, right)
        for index in joined
        for left, right in _cuts(tokens[index])
        if left in known and right in known
    ]
    found.sort(key=lambda pair: pair[:3], reverse=True)
    return [(left, right) for *_, left, right in found]


def _cuts(text: str) -> Iterator[tuple[str, str]]:
    return ((text[:cut], text[cut:]) for cut in range(1, len(text)))


def _vocabulary(metadata: Mapping[str, Any]) -> dict[str, int]:
    return {token: index for index, token in enumerate(metadata["tokenizer.ggml.tokens"])}


def _kinds(metadata: Mapping[str, Any]) -> Sequence[int]:
    found = metadata.get("tokenizer.ggml.token_type")
    return found if found else [NORMAL] * len(metadata["tokenizer.ggml.tokens"])


def _add_special(made: Tokenizer, metadata: Mapping[str, Any]) -> None:
    """Add control tokens as special ones, and user-defined tokens as ones that are matched whole in any text."""
    pairs = list(zip(metadata["tokenizer.ggml.tokens"], _kinds(metadata), strict=False))
    special = [token for token, kind in pairs if kind in (CONTROL, UNKNOWN)]
    made.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in special])
    made.add_tokens([AddedToken(token, normalized=False) for token, kind in pairs if kind == USER_DEFINED])


def _unsupported(path: Path, what: str, known: str) -> ModelUnusable:
    return ModelUnusable(
        f"{path} has the {what}, which is not supported.",
        data="Nothing was loaded.",
        remedy=f"Supported are {known}; or get the model as a folder with safetensors and tokenizer.json.",
    )
