"""`compare`: prompts answered by two versions from one batch, side by side. Saves nothing."""

from __future__ import annotations

import sys
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from corpora.dialog import Message
from corpora.llama2 import render
from sessions.client import Client
from sessions.comparing import IN_TURN, Comparison
from sessions.errors import UNREADABLE, UsageError
from sessions.protocol import BASE, ColumnEnded
from tui.output_columns import streamed
from tui.verbs.call import Call, given_text, naming_the_flag, piped_text

LARGEST = 64 << 20
"""Bytes of a file of prompts."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One column."""

    adapter: str
    reply: str
    finish: str
    tokens: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Compared:
    """One prompt and its two replies, in the order of `-a` and `-b`."""

    prompt: str
    replies: tuple[Reply, ...]


@dataclass(frozen=True, slots=True)
class Comparisons:
    """What `compare --json` prints."""

    model: str
    a: str
    b: str
    comparisons: tuple[Compared, ...]


def compare(call: Call) -> Coroutine[Any, Any, int]:
    """Answer the prompts given, those of a file, or stdin's."""
    return _compare(call, _prompts(call))


async def _compare(call: Call, prompts: list[str]) -> int:
    pair = _pair(call)
    call.sampling()  # refuses what makes no sense before a model is needed
    done: list[Compared] = []
    async with call.client() as client:
        await call.ready(client)
        for number, prompt in enumerate(prompts, 1):
            if len(prompts) > 1:
                call.output.say(f"{number}/{len(prompts)}  {prompt}", "cyan")
            comparison = await _one(call, client, prompt, pair)
            if comparison.in_turn and not done:
                call.output.note(f"({IN_TURN})")
            done.append(Compared(prompt, tuple(_reply(comparison, column) for column in range(len(pair)))))
    if call.output.json:
        call.output.document(Comparisons(call.model, *pair, tuple(done)))
    return 0


def _pair(call: Call) -> tuple[str, str]:
    registry = call.workspace.registry
    first = registry.resolve(call.given.first)
    offered = None if call.given.second else call.workspace.offer(call.model)
    second = registry.resolve(call.given.second) if call.given.second else offered.address if offered else call.adapter
    if first == second:
        raise UsageError(
            f"Both sides would be {first}.",
            data="Nothing was asked.",
            remedy="Name the adapter with `-b NAME`; `llama-tui adapters list` shows them."
            if first == BASE
            else "Name two different ones with -a and -b.",
        )
    return first, second


async def _one(call: Call, client: Client, prompt: str, pair: tuple[str, str]) -> Comparison:
    allowed = call.given.allow_tags
    system = [Message("system", call.system, tags_allowed=allowed)] if call.system else []
    dialog = (*system, Message("user", prompt, tags_allowed=allowed))
    with naming_the_flag():
        if any(client.tags_in(said.content) for said in dialog):
            render(dialog)  # refuses tags before anything is sent
    comparison = Comparison(dialog, pair)
    await streamed(call.output, pair, comparison.ask(client, call.sampling()))
    return comparison


def _reply(comparison: Comparison, column: int) -> Reply:
    ended = comparison.ended[column] or ColumnEnded(finish="stopped")  # type: ignore[arg-type]
    text = comparison.replies[column].strip()
    return Reply(comparison.columns[column], text, str(ended.finish), ended.tokens, round(ended.seconds, 4))


def _prompts(call: Call) -> list[str]:
    typed = [given_text(prompt) for prompt in call.given.prompt if prompt != "-"]
    if call.given.prompts:
        typed += _read(Path(call.given.prompts)) if call.given.prompts != "-" else _split(piped_text("prompt"))
    elif "-" in call.given.prompt or (not typed and not sys.stdin.isatty()):
        typed.append(piped_text("prompt"))
    prompts = [prompt.strip() for prompt in typed if prompt.strip()]
    if not prompts:
        raise UsageError(
            "No prompt was given.", remedy="Write prompts after `compare`, or name a file: --prompts FILE."
        )
    return prompts


def _read(path: Path) -> list[str]:
    try:
        if path.stat().st_size > LARGEST:
            raise UsageError(f"{path} is larger than {LARGEST >> 20} MB.", remedy="Give a file of prompts.")
        return _split(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"{path} cannot be read: {error}.", data="Nothing was asked.", remedy="Give a text file in UTF-8."
        ) from error


def _split(text: str) -> list[str]:
    return [_prompt_of(line) for line in text.splitlines() if line.strip()]


def _prompt_of(line: str) -> str:
    """A line of text, or the `prompt` of a JSON object."""
    if not line.startswith("{"):
        return line
    try:
        return str(msgspec.json.decode(line, type=dict[str, Any])["prompt"])
    except (*UNREADABLE, KeyError):
        return line
