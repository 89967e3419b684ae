"""A chat as a file: Markdown to read, or `messages` JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from corpora.dialog import Exchange
from corpora.errors import UsageError
from sessions.paths import write_atomic


def write_chat(name: str, branch: Sequence[Exchange]) -> Path:
    """Write a branch; `.json` and `.jsonl` are `messages`, all else Markdown. Refuses to replace a file."""
    path = Path(name).expanduser()
    if path.exists():
        raise UsageError(f"{path} is there already.", data="It was left as it is.", remedy="Choose another name.")
    text = _messages(branch) if path.suffix in (".json", ".jsonl") else _markdown(branch)
    try:
        write_atomic(path, text.encode("utf-8", errors="replace"))
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}.", data="The chat stays stored.") from error
    return path.absolute()


def _messages(branch: Sequence[Exchange]) -> str:
    said = [{"role": "system", "content": branch[0].system}] if branch[0].system else []
    for exchange in branch:
        said.append({"role": "user", "content": exchange.prompt})
        said.append({"role": "assistant", "content": exchange.reply})
    return json.dumps({"messages": said}, ensure_ascii=False) + "\n"


def _markdown(branch: Sequence[Exchange]) -> str:
    parts = [f"> {branch[0].system}"] if branch[0].system else []
    for exchange in branch:
        parts += [f"**You**\n\n{exchange.prompt}", f"**{exchange.adapter}**\n\n{exchange.reply}"]
    return "\n\n".join(parts) + "\n"
