"""Completion in the line REPL: commands, their choices, adapters, recipe fields, paths.

Knows nothing of what commands do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from prompt_toolkit.completion import CompleteEvent, Completer, Completion, PathCompleter
from prompt_toolkit.document import Document

from corpora import queries
from sessions.errors import LlamaTuiError
from sessions.registry import Registry
from sessions.training import recipe as recipes
from tui import commands


class CommandCompleter(Completer):
    """Completes a line that starts with `/`; prompts are left alone."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._paths = PathCompleter(expanduser=True)
        self._arguments: dict[str, Callable[[str], Iterable[tuple[str, str]]]] = {
            "adapter": self._adapters,
            "train": self._fields,
            "help": self._commands,
        }

    def get_completions(self, document: Document, event: CompleteEvent) -> Iterable[Completion]:
        """What could come next."""
        line = document.text_before_cursor
        if not line.startswith("/") or "\n" in line:
            return
        name, blank, rest = line[1:].partition(" ")
        if not blank:
            yield from self._offer(name, self._commands(""))
            return
        try:
            command = commands.find(name)
        except LlamaTuiError:
            return
        yield from self._argument(command, rest, event)

    def _argument(self, command: commands.Command, rest: str, event: CompleteEvent) -> Iterable[Completion]:
        word = rest.rpartition(" ")[2]
        if " " not in rest:
            yield from self._offer(word, ((choice, "") for choice in command.choices))
        if command.name in self._arguments:
            yield from self._offer(word, self._arguments[command.name](rest))
        if command.name == "corpus" and " " not in rest:
            yield from self._offer(word, (("import", "bring a file in"), ("export", "write what is kept")))
        elif command.paths:
            path = rest.partition(" ")[2] if command.name == "corpus" else rest
            yield from self._paths.get_completions(Document(path, len(path)), event)

    def _offer(self, word: str, found: Iterable[tuple[str, str]]) -> Iterable[Completion]:
        for text, about in found:
            if text.startswith(word):
                yield Completion(text, -len(word), display_meta=about)

    def _commands(self, _: str) -> Iterable[tuple[str, str]]:
        return ((command.name, command.help) for command in commands.COMMANDS)

    def _adapters(self, _: str) -> Iterable[tuple[str, str]]:
        try:
            return [(name, "") for name in self._registry.names()] + [
                (lineage.address, f"from {lineage.parent}") for lineage in self._registry.all()
            ]
        except (LlamaTuiError, OSError):
            return []

    def _fields(self, _: str) -> Iterable[tuple[str, str]]:
        """Words of a query, then settings."""
        yield from ((f"{key}:", about) for key, about in queries.KEYS.items())
        yield "sample=", "at most so many replies"
        yield "imported=yes", "imported replies too"
        yield from ((f"{name}=", about.split("\n")[0]) for name, about in recipes.documentation().items())
