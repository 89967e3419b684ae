"""What every front end opens first: paths, settings, store and registry of one data home.

The headless core under the screens, the line REPL and the verbs. Knows nothing of screens or torch; each
part is imported when it is first asked for, so that the first frame waits for none.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from sessions import settings
from sessions.paths import Paths, private_folder
from sessions.protocol import BASE
from sessions.settings import Settings

if TYPE_CHECKING:
    from corpora.store import Store
    from sessions.client import Client
    from sessions.registry import Registry


@dataclass
class Workspace:
    """One data home; the store is opened when it is first asked for."""

    paths: Paths
    settings: Settings

    @classmethod
    def open(cls, home: str | None = None) -> Workspace:
        """Find the home and read its settings. Raises SettingsError."""
        paths = Paths.find(home)
        private_folder(paths.home)
        return cls(paths, settings.load(paths.config))

    @cached_property
    def store(self) -> Store:
        """The corpus. Raises StoreError."""
        from corpora.store import Store

        return Store(self.paths.corpus)

    @cached_property
    def registry(self) -> Registry:
        """The adapters."""
        from sessions.registry import Registry

        return Registry(self.paths)

    def change(self, **changes: Any) -> Settings:
        """Save some settings for good. Raises SettingsError; then nothing changes."""
        self.settings = settings.save(self.paths.config, **changes)
        return self.settings

    def model(self, asked: str | None = None) -> str:
        """The model to open: asked for, configured, or what this machine has."""
        from sessions import models

        return models.absolute(asked or models.default_model(self.settings))

    def adapter(self, asked: str | None, model: str) -> str:
        """The adapter to chat with: asked for, or the version in use of the configured name, or `base`.

        One that was made for another model is not taken unasked. Raises AdapterNotFound for one that was
        asked for and is not there.
        """
        if asked:
            return self.registry.resolve(asked)
        current = self.registry.current(self.settings.adapter) if self.settings.use_adapter else BASE
        return current if current == BASE or self.registry.lineage(current).base_model in ("", model) else BASE

    def client(self, model: str | None = None) -> Client:
        """A client of this home's host; nothing is started before `connect` or a first command."""
        from sessions.client import Client

        return Client(self.paths, self.model(model))

    def close(self) -> None:
        """Close the store if it was opened."""
        if "store" in self.__dict__:
            self.store.close()
