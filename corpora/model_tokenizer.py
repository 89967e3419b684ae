"""A model's tokenizer, read from its folder: tokenizer.json, the names of its special tokens, its chat template.

Needs neither transformers nor torch. What the template means is known to corpora/templates.py.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from corpora.errors import CorpusError
from corpora.tokens import FastVocabulary

NAMED = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
_HUB = re.compile(r"models--(.+?)--(.+)")


class ModelTokenizer(FastVocabulary):
    """A `Vocabulary` with its special tokens by name, its chat template, and the name and kind of its model.

    `name` is the model's own (its folder's, or the hub's), `kind` its `model_type`; both may be empty.
    """

    def __init__(
        self, backend: Any, named: Mapping[str, str], *, chat_template: str = "", name: str = "", kind: str = ""
    ) -> None:
        """Raise CorpusError where no token ends a text."""
        bos, eos = (
            backend.token_to_id(named.get(f"{end}_token", text)) for end, text in (("bos", "<s>"), ("eos", "</s>"))
        )
        if eos is None:
            raise CorpusError("The tokenizer has no end-of-text token.", remedy="Name it in tokenizer_config.json.")
        # Models without a BOS of their own were trained on texts separated by EOS.
        super().__init__(backend, eos if bos is None else bos, eos)
        self.named = dict(named)
        self.chat_template = chat_template
        self.name = name
        self.kind = kind

    def decode(self, ids: list[int], *, skip_special_tokens: bool = True) -> str:
        """Return the text of ids."""
        return str(self.backend.decode(ids, skip_special_tokens=skip_special_tokens))


def read_tokenizer(folder: Path) -> ModelTokenizer:
    """Return the tokenizer of a model's folder. Raises CorpusError that names the file which cannot be used."""
    from tokenizers import Tokenizer

    path = folder / "tokenizer.json"
    try:
        backend = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing narrower
        raise _unusable(path, error) from error
    config = _object(folder / "tokenizer_config.json")
    model = _object(folder / "config.json")
    named = _embedded(_named({**_object(folder / "special_tokens_map.json"), **config}), backend, model)
    template, kind = _template(folder, config), str(model.get("model_type") or "")
    try:
        return ModelTokenizer(backend, named, chat_template=template, name=_name(folder), kind=kind)
    except CorpusError as error:
        raise CorpusError(f"{path} cannot be used: {error.what}", remedy=error.remedy) from error


def _name(folder: Path) -> str:
    """`owner/name` of a folder in the hub's cache, else the folder's own name."""
    parts = folder.absolute().parts
    found = next((match for part in reversed(parts) if (match := _HUB.fullmatch(part))), None)
    return f"{found[1]}/{found[2]}" if found else folder.absolute().name


def _named(files: Mapping[str, Any]) -> dict[str, str]:
    """Special tokens by name; a file gives each as text or as an object with its content."""
    texts = {key: value.get("content") if isinstance(value, dict) else value for key, value in files.items()}
    return {key: text for key in NAMED if isinstance(text := texts.get(key), str)}


def _embedded(named: dict[str, str], backend: Any, model: Mapping[str, Any]) -> dict[str, str]:
    """The tokens that the model has an embedding for: copies of Llama 2 name a padding token that it has not."""
    size = model.get("vocab_size")
    if not isinstance(size, int):
        return named
    return {key: text for key, text in named.items() if (backend.token_to_id(text) or 0) < size}


def _template(folder: Path, config: Mapping[str, Any]) -> str:
    """The chat template: a file of its own comes before the config's; of several the one named `default`."""
    file = folder / "chat_template.jinja"
    if file.is_file():
        try:
            return file.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise _unusable(file, error) from error
    found = config.get("chat_template") or _object(folder / "chat_template.json").get("chat_template")
    if isinstance(found, list):
        found = {each.get("name"): each.get("template") for each in found if isinstance(each, dict)}
    if isinstance(found, dict):
        found = found.get("default") or next(iter(found.values()), "")
    return found if isinstance(found, str) else ""


def _object(path: Path) -> dict[str, Any]:
    """A JSON object in a file; empty where there is no file."""
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise _unusable(path, error) from error
    return found if isinstance(found, dict) else {}


def _unusable(path: Path, error: Exception) -> CorpusError:
    why = f"{path} cannot be read" if isinstance(error, OSError) else f"{path} is damaged"
    return CorpusError(f"{why}: {str(error)[:300]}", remedy="Get the model again.")
