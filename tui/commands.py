"""The one registry of what can be done: name → help → action. Feeds palette, keys and slash commands.

A front end implements `Actions`; a line that starts with `/` is parsed here and calls one of its methods.
"""

from __future__ import annotations

import difflib
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Protocol

from corpora.errors import UsageError


class Actions(Protocol):
    """What every front end can do; each method takes the rest of the line as typed."""

    def keep(self, rest: str) -> Awaitable[None]: ...
    def correct(self, rest: str) -> Awaitable[None]: ...
    def reject(self, rest: str) -> Awaitable[None]: ...
    def defer(self, rest: str) -> Awaitable[None]: ...
    def rate(self, rest: str) -> Awaitable[None]: ...
    def undo(self, rest: str) -> Awaitable[None]: ...
    def retry(self, rest: str) -> Awaitable[None]: ...
    def edit(self, rest: str) -> Awaitable[None]: ...
    def stop(self, rest: str) -> Awaitable[None]: ...
    def new(self, rest: str) -> Awaitable[None]: ...
    def history(self, rest: str) -> Awaitable[None]: ...
    def system(self, rest: str) -> Awaitable[None]: ...
    def set(self, rest: str) -> Awaitable[None]: ...
    def read(self, rest: str) -> Awaitable[None]: ...
    def save(self, rest: str) -> Awaitable[None]: ...
    def train(self, rest: str) -> Awaitable[None]: ...
    def runs(self, rest: str) -> Awaitable[None]: ...
    def adapter(self, rest: str) -> Awaitable[None]: ...
    def compare(self, rest: str) -> Awaitable[None]: ...
    def vote(self, rest: str) -> Awaitable[None]: ...
    def pin(self, rest: str) -> Awaitable[None]: ...
    def tests(self, rest: str) -> Awaitable[None]: ...
    def corpus(self, rest: str) -> Awaitable[None]: ...
    def status(self, rest: str) -> Awaitable[None]: ...
    def help(self, rest: str) -> Awaitable[None]: ...
    def quit(self, rest: str) -> Awaitable[None]: ...


@dataclass(frozen=True, slots=True)
class Command:
    """`name` is the slash command, the palette's entry and the method of `Actions`; `usage` its arguments.

    `key` is the app's default key for it (its binding's id is the name, so that users can remap it);
    `paths` says that the argument is a file, for completion.
    """

    name: str
    help: str
    usage: str = ""
    key: str = ""
    paths: bool = False
    aliases: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()


COMMANDS: tuple[Command, ...] = (
    Command("keep", "Keep the last exchange for training", key="ctrl+k"),
    Command("correct", "Rewrite the last reply and keep it; the original stays", "[TEXT]", key="ctrl+e"),
    Command("reject", "Reject the last reply", key="ctrl+x"),
    Command("defer", "Put the last exchange aside for later"),
    Command(
        "rate",
        "Give the last exchange 1 to 5 stars; 0 takes them away",
        "0 … 5",
        choices=("1", "2", "3", "4", "5", "0"),
    ),
    Command("undo", "Take back the last keep, correction, rejection or edit", key="ctrl+z"),
    Command("retry", "Ask for another version of the last reply", key="ctrl+r"),
    Command("edit", "Change the last prompt and ask again; the old branch stays", "[TEXT]", key="ctrl+y"),
    Command("stop", "Stop the reply; what has come is kept", key="escape"),
    Command("new", "Start a new chat", key="ctrl+n"),
    Command("history", "List earlier chats, or go on with one", "[NUMBER | WORDS]", key="ctrl+o"),
    Command("system", "Show, set or clear the system prompt", "[TEXT | clear]", choices=("clear",)),
    Command(
        "set",
        "Show or set how replies are drawn",
        "[NAME VALUE]",
        choices=(
            "temperature",
            "top_p",
            "top_k",
            "repetition_penalty",
            "max_new_tokens",
            "seed",
            "stop",
            "strength",
        ),
    ),
    Command("read", "Send the text of a file as a prompt", "FILE", paths=True),
    Command("save", "Write this chat to a file", "FILE", paths=True),
    Command("train", "Train the adapter on kept replies", "[QUERY] [sample=N] [key=value …]", aliases=("learn",)),
    Command("runs", "List runs, or stop one", "[stop | cancel | resume]", choices=("stop", "cancel", "resume")),
    Command(
        "adapter", "Show adapters, or accept one: base, NAME/vN, rollback", "[NAME/vN]", choices=("base", "rollback")
    ),
    Command("compare", "Answer a prompt with the base and the adapter, side by side", "[PROMPT]"),
    Command("vote", "Vote on the last comparison", "left | right | tie | bad", choices=("left", "right", "tie", "bad")),
    Command(
        "pin",
        "Pin the last prompt as a test: what every version must reply, or must not",
        "[contains TEXT | not TEXT | regex RE]",
        choices=("contains", "not", "regex"),
    ),
    Command(
        "tests",
        "Show which versions pass the pinned tests; run, remove or change tests",
        "[run | remove N | change N RULE]",
        choices=("run", "remove", "change"),
    ),
    Command("corpus", "Count what is kept; import or export a file", "[import FILE | export FILE]", paths=True),
    Command("status", "Show model, adapter, memory, context and runs"),
    Command("help", "Explain the commands", "[COMMAND]", key="f1", aliases=("?",)),
    Command("quit", "Leave; a run goes on", key="ctrl+q", aliases=("exit", "q")),
)

_BY_NAME = {name: command for command in COMMANDS for name in (command.name, *command.aliases)}


def is_command(line: str) -> bool:
    """True for `/word …`; a path such as `/etc/hosts` or `//` text is not one."""
    word = line[1:].split(maxsplit=1)[0] if line.startswith("/") and line[1:].strip() else ""
    return bool(word) and "/" not in word


def find(name: str) -> Command:
    """A command by its name, an alias, or an unambiguous beginning. Raises UsageError with the nearest."""
    if name in _BY_NAME:
        return _BY_NAME[name]
    starts = {command.name for known, command in _BY_NAME.items() if known.startswith(name)}
    if len(starts) == 1:
        return _BY_NAME[starts.pop()]
    near = sorted(starts) or difflib.get_close_matches(name, _BY_NAME, n=3)
    raise UsageError(
        f"There is no command /{name}.",
        remedy=f"Did you mean {' or '.join(f'/{known}' for known in near)}?" if near else "/help lists them all.",
    )


async def dispatch(line: str, actions: Actions) -> None:
    """Run the command in a line that `is_command`. Raises UsageError and what the action raises."""
    name, _, rest = line[1:].strip().partition(" ")
    command = find(name)
    await getattr(actions, command.name)(rest.strip())


def complete(line: str) -> list[str]:
    """Whole lines that a partly typed command could become (paths are left to the front end)."""
    if not line.startswith("/"):
        return []
    name, blank, rest = line[1:].partition(" ")
    if not blank:
        return [f"/{command.name}" for command in COMMANDS if command.name.startswith(name)]
    command = _BY_NAME.get(name)
    return [f"/{name} {choice}" for choice in (command.choices if command else ()) if choice.startswith(rest)]
