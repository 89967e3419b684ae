"""The demo model's tokenizer, of Llama 2's make: BPE with byte fallback, the same first 259 ids, the same blanks.

Knows the tokenizers library and the texts; nothing of models.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, models, pre_tokenizers, trainers

SIZE = 2560
BLANK = "\u2581"
SPECIAL = ("<unk>", "<s>", "</s>")
CHAT_TEMPLATE = (
    "{% if messages[0]['role'] == 'system' %}{% set system = messages[0]['content'] | trim %}"
    "{% set rest = messages[1:] %}{% else %}{% set system = none %}{% set rest = messages %}{% endif %}"
    "{% for message in rest %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('A dialog goes: an optional system prompt, then user and assistant in turn.') }}{% endif %}"
    "{% if message['role'] == 'user' %}{{ bos_token + ' [INST] ' }}"
    "{% if loop.first and system is not none %}{{ '<<SYS>>\\n' + messages[0]['content'] + '\\n<</SYS>>\\n\\n' }}"
    "{{ message['content'].rstrip() }}{% else %}{{ message['content'] | trim }}{% endif %}{{ ' [/INST]' }}"
    "{% else %}{{ ' ' + message['content'] | trim + ' ' + eos_token }}{% endif %}{% endfor %}"
)


def build(texts: Iterable[str], folder: Path) -> Tokenizer:
    """Learn the merges from texts and write the tokenizer's files into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    document = _document(_learned(texts))
    (folder / "tokenizer.json").write_text(json.dumps(document, ensure_ascii=False, indent=1), encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(_settings(), indent=2) + "\n", encoding="utf-8")
    return Tokenizer.from_file(str(folder / "tokenizer.json"))


def _learned(texts: Iterable[str]) -> dict[str, Any]:
    """Merges that never cross a blank, a mark or a digit, so that a reply is cut alike alone and in its dialog."""
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Metaspace(replacement=BLANK, prepend_scheme="always"),
            pre_tokenizers.Split(pattern=_marks(), behavior="isolated"),
            pre_tokenizers.Digits(individual_digits=True),
        ]
    )
    alphabet = [chr(code) for code in range(33, 127)] + [BLANK]
    trainer = trainers.BpeTrainer(
        vocab_size=SIZE - 259, initial_alphabet=alphabet, min_frequency=2, show_progress=False
    )
    learner.train_from_iterator((text.replace("\n", " ") for text in texts), trainer)
    model: dict[str, Any] = json.loads(learner.to_str())["model"]
    return model


def _marks() -> Any:
    from tokenizers import Regex

    return Regex(r"[!-/:-@\[-`{-~]")


def _document(learned: dict[str, Any]) -> dict[str, Any]:
    names = [*SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256))]
    names += sorted(learned["vocab"], key=learned["vocab"].__getitem__)
    added = [
        {"id": at, "content": text, "single_word": False, "lstrip": False, "rstrip": False}
        | {"normalized": False, "special": True}
        for at, text in enumerate(SPECIAL)
    ]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": {"type": "Metaspace", "replacement": BLANK, "prepend_scheme": "first", "split": False},
        "post_processor": _bos_before(),
        "decoder": _decoder(),
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": "<unk>",
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": True,
            "ignore_merges": False,
            "vocab": {name: at for at, name in enumerate(names)},
            "merges": learned["merges"],
        },
    }


def _bos_before() -> dict[str, Any]:
    def part(kind: str, name: str, at: int) -> dict[str, Any]:
        return {kind: {"id": name, "type_id": at}}

    first = [part("SpecialToken", "<s>", 0), part("Sequence", "A", 0)]
    second = [part("SpecialToken", "<s>", 1), part("Sequence", "B", 1)]
    special = {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}
    return {"type": "TemplateProcessing", "single": first, "pair": first + second, "special_tokens": special}


def _decoder() -> dict[str, Any]:
    steps: list[dict[str, Any]] = [
        {"type": "Replace", "pattern": {"String": BLANK}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
        {"type": "Strip", "content": " ", "start": 1, "stop": 0},
    ]
    return {"type": "Sequence", "decoders": steps}


def _settings() -> dict[str, Any]:
    """`PreTrainedTokenizerFast` takes tokenizer.json as it is; a Llama class would build another out of it."""
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "add_bos_token": True,
        "add_eos_token": False,
        "clean_up_tokenization_spaces": False,
        "model_max_length": 2048,
        "chat_template": CHAT_TEMPLATE,
    }
