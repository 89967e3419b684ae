"""What a verb is given: its arguments, its output, and the data home, opened when first asked for.

Knows nothing of any single verb.
"""

from __future__ import annotations

import contextlib
import sys
from argparse import Namespace
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

from corpora.errors import TagsInContent
from sessions import models
from sessions.client import Client
from sessions.errors import AdapterNotFound, UsageError
from sessions.paths import Paths
from sessions.protocol import AnyEvent, Loading, Sampling
from sessions.workspace import Workspace
from tui.output import Output
from tui.stop_texts import unescaped

SAMPLING = tuple(Sampling.__struct_fields__)


@dataclass
class Call:
    """One call of one verb."""

    given: Namespace
    output: Output

    @cached_property
    def workspace(self) -> Workspace:
        """The data home. Raises SettingsError."""
        return Workspace.open(self.given.home)

    @cached_property
    def model(self) -> str:
        """The model that is meant."""
        return self.workspace.model(self.given.model)

    @property
    def adapter(self) -> str:
        """`base` or `NAME/vN`: what `--adapter` names, else what chat uses. Raises AdapterNotFound."""
        return chosen_adapter(self.workspace, getattr(self.given, "adapter", None), self.model, self.output)

    @property
    def system(self) -> str | None:
        """The system prompt: `--system`, else the settings'; an empty one is none."""
        given = self.given.system
        return (given_text(given) if given is not None else self.workspace.settings.system) or None

    def sampling(self) -> Sampling:
        """The settings' sampling with what the flags change. Raises SettingsError."""
        given = {name: getattr(self.given, name, None) for name in SAMPLING}
        if given["stop"]:
            given["stop"] = tuple(unescaped(given_text(text)) for text in given["stop"])
        return changed_sampling(self.workspace.settings.sampling, given)

    def tell_of_newer(self) -> None:
        """Say that the corpus was opened for reading only, where it was."""
        if "workspace" in self.__dict__ and "store" in self.workspace.__dict__ and self.workspace.store.newer:
            self.output.note(f"{self.workspace.store.newer.what} {self.workspace.store.newer.remedy}", "yellow")

    def close(self) -> None:
        """Close what was opened."""
        if "workspace" in self.__dict__:
            self.workspace.close()

    @contextlib.asynccontextmanager
    async def client(self, *, model: str | None = None, start: bool = True) -> AsyncIterator[Client]:
        """A client, left at the end. Raises ModelNotFound, ModelUnusable for a folder that cannot be opened."""
        if start:
            refuse_unusable(self.workspace.paths, model or self.model)
        client = Client(self.workspace.paths, model or self.model, start=start)
        try:
            yield client
        finally:
            await client.close()

    async def ready(self, client: Client) -> None:
        """Wait for the model with progress on stderr. Raises what the load failed with."""

        def tell(event: AnyEvent) -> None:
            if isinstance(event, Loading):
                self.output.progress(loading_text(client.model, event))

        client.listeners.append(tell)
        try:
            await client.until_ready()
            if client.loading is not None:
                tell(client.loading)
        finally:
            client.listeners.remove(tell)


Verb: TypeAlias = Callable[[Call], "int | Coroutine[Any, Any, int]"]
"""Returns the exit code, at once or as a coroutine that the command line runs."""


def chosen_adapter(workspace: Workspace, asked: str | None, model: str, output: Output) -> str:
    """The version asked for, else the accepted one; says why the base answers instead. Raises AdapterNotFound."""
    found = workspace.answering(asked, model)
    if found.problem is not None:
        output.problem(found.problem)
    elif found.note:
        output.note(found.note)
    return found.adapter


def refuse_unusable(paths: Paths, model: str) -> None:
    """Refuse at once what a host would only find out after seconds; a model that is loaded or not here yet passes."""
    if not paths.socket(model).exists():
        models.located(model)


def changed_sampling(before: Sampling, changes: dict[str, Any]) -> Sampling:
    """Sampling with those changes that are not None. Raises SettingsError."""
    now = {name: getattr(before, name) for name in SAMPLING}
    return Sampling(**{**now, **{name: value for name, value in changes.items() if value is not None}})


@contextlib.contextmanager
def naming_the_flag() -> Iterator[None]:
    """TagsInContent from within names the flag that lets the tags pass, where they can be let pass."""
    try:
        yield
    except TagsInContent as error:
        if "allow" in error.remedy:
            error.remedy = "Remove the tag, or add --allow-tags to send it as it is."
        raise


def loading_text(model: str, event: Loading) -> str:
    """The load's progress on one line."""
    share = "" if event.fraction is None else f" {event.fraction:.0%}"
    return f"{model}: {event.stage}{share}"


def given_text(value: str) -> str:
    """Text from the command line as proper Unicode; bytes that are none become U+FFFD."""
    return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def piped_text(what: str) -> str:
    """All of stdin. Raises UsageError where nobody piped anything in."""
    if sys.stdin is None or sys.stdin.isatty():
        raise UsageError(f"No {what} was given.", remedy="Write it after the verb, or pipe it in.")
    data = sys.stdin.buffer.read() if hasattr(sys.stdin, "buffer") else sys.stdin.read().encode()
    return data.decode("utf-8", "replace")


def known_name(call: Call, name: str) -> str:
    """A name with at least one version. Raises AdapterNotFound."""
    names = call.workspace.registry.names()
    if name not in names:
        raise AdapterNotFound(f"There is no adapter {name!r}.", remedy=f"There are: {', '.join(names) or 'none yet'}.")
    return name
