"""`dataset_info.json`, by which LLaMA-Factory finds a data file and its columns. Knows no rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from corpora.errors import CorpusError
from corpora.files import written_whole

_MESSAGES = {
    "role_tag": "role",
    "content_tag": "content",
    "user_tag": "user",
    "assistant_tag": "assistant",
    "system_tag": "system",
}
_ENTRIES: dict[str, dict[str, Any]] = {
    "alpaca": {
        "columns": {
            "prompt": "instruction",
            "query": "input",
            "response": "output",
            "system": "system",
            "history": "history",
        }
    },
    "sharegpt": {"formatting": "sharegpt", "columns": {"messages": "conversations"}},
    "messages": {"formatting": "sharegpt", "columns": {"messages": "messages"}, "tags": _MESSAGES},
    "parquet": {"formatting": "sharegpt", "columns": {"messages": "messages"}, "tags": _MESSAGES},
}
DESCRIBED = tuple(_ENTRIES)


def describe(path: Path, format: str) -> Path:
    """Add an export to `dataset_info.json` beside it, under its name without suffixes; what else stands there
    stays. Raises CorpusError for a format that LLaMA-Factory does not read."""
    if format not in _ENTRIES:
        raise CorpusError(f"LLaMA-Factory reads no {format} file.", remedy=f"Export as one of {', '.join(DESCRIBED)}.")
    target = path.with_name("dataset_info.json")
    known = _known(target)
    known[path.name.split(".")[0]] = {"file_name": path.name, **_ENTRIES[format]}
    with written_whole(target) as file:
        file.write(json.dumps(known, ensure_ascii=False, indent=2).encode() + b"\n")
    return target


def _known(target: Path) -> dict[str, Any]:
    if not target.exists():
        return {}
    try:
        found = json.loads(target.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CorpusError(
            f"{target} cannot be read: {error}.", data="It was left as it is.", remedy="Mend it or move it aside."
        ) from error
    if not isinstance(found, dict):
        raise CorpusError(f"{target} is not an object.", data="It was left as it is.", remedy="Move it aside.")
    return found
