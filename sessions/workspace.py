"""What every front end opens first: paths, settings, store and registry of one data home.

The headless core under the screens, the line REPL and the verbs. Imports no torch; each part is imported when it
is first asked for, so that the first frame waits for none.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import msgspec

from sessions import settings
from sessions.errors import AdapterDamaged, LlamaTuiError, UsageError
from sessions.paths import Paths, private_folder
from sessions.protocol import BASE
from sessions.settings import Settings

if TYPE_CHECKING:
    from corpora.store import Store
    from sessions.client import Client
    from sessions.lineage import Lineage
    from sessions.registry import Registry


@dataclass(frozen=True, slots=True)
class Answering:
    """What a new chat answers with: `base` or `NAME/vN`.

    `problem` says what is wrong with the accepted version where the base answers instead, `note` why another
    model does not use it.
    """

    adapter: str = BASE
    problem: LlamaTuiError | None = None
    note: str = ""


@dataclass
class Workspace:
    """One data home; the store is opened when it is first asked for."""

    paths: Paths
    settings: Settings

    @classmethod
    def open(cls, home: str | None = None) -> Workspace:
        """Find the home, upgrade one that an older program wrote, read its settings. Raises SettingsError, OSError."""
        paths = Paths.find(home)
        private_folder(paths.home)
        if paths.config.exists() or paths.adapters.is_dir():
            from sessions.upgrading import upgrade

            upgrade(paths)
        return cls(paths, settings.load(paths.config))

    @cached_property
    def store(self) -> Store:
        """The corpus, its records connected with the versions that are here. Raises StoreError."""
        from corpora.store import Store

        store = Store(self.paths.corpus)
        known = self.registry.identities()
        store.version_names.identify(known.recorded())
        store.version_names.update(known.addresses(), known.addresses(removed=True))
        return store

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

    def client(self, model: str | None = None) -> Client:
        """A client of this home's host; nothing is started before `connect` or a first command."""
        from sessions.client import Client

        return Client(self.paths, self.model(model))

    # which version answers

    def answering(self, asked: str | None, model: str) -> Answering:
        """What to start a chat with: what was asked for, else the accepted version of the configured adapter.

        A new version that passed the gate is accepted first where `auto_use` says so. One that was made for another
        model is not taken unasked. Raises AdapterNotFound for one that was asked for and is not there.
        """
        if asked:
            return Answering(self.registry.resolve(asked))
        if not self.settings.use_adapter:
            return Answering()
        if (unasked := self.to_use_unasked(model)) is not None:
            self.accept(unasked.address)
        accepted = self.registry.acceptance.identity(self.settings.adapter)
        return Answering() if accepted == BASE else self._accepted(accepted, model)

    def _accepted(self, accepted: str, model: str) -> Answering:
        """The accepted version of the configured adapter, where it is whole and made for the model."""
        name = self.settings.adapter
        if (address := self.registry.current(name)) == BASE:
            return Answering(problem=_lost(name, accepted))
        try:
            made_for = self.registry.stored(address).base_model
        except LlamaTuiError as error:
            return Answering(problem=error)
        if made_for not in ("", model):
            return Answering(note=f"{address} was made for {made_for}; {model} answers without an adapter.")
        return Answering(address)

    def accept(self, adapter: str, *, force: bool = False) -> str:
        """Make `NAME/vN` or `base` what chats answer with from now on; returns it.

        The configured adapter becomes that of the version. Raises GateFailed for a version that failed the gate,
        without `force`; AdapterNotFound, AdapterDamaged.
        """
        if adapter == BASE:
            self.registry.acceptance.use_base(self.settings.adapter)
            return BASE
        address = self.registry.use(adapter, force=force)
        name = address.partition("/")[0]
        if name != self.settings.adapter:
            self.change(adapter=name)
        return address

    def offer(self, model: str) -> Lineage | None:
        """The newest version that waits to be accepted and was made for a model."""
        offered = (self.registry.acceptance.offered(name) for name in self.registry.names())
        fitting = [each for each in offered if each is not None and each.base_model in ("", model)]
        return max(fitting, key=lambda each: each.created, default=None)

    def to_use_unasked(self, model: str) -> Lineage | None:
        """The offered version, where it passed the gate and the person set `auto_use` to that."""
        offered = self.offer(model) if self.settings.auto_use == "passed" else None
        return offered if offered is not None and offered.checked == "passed" else None

    def rename(self, name: str, new: str) -> None:
        """Rename an adapter with all its versions; the setting that names it follows.

        Raises UsageError while a run trains it, or where the new name is taken.
        """
        self._refuse_in_training(name)
        self.registry.rename(name, new)
        if self.settings.adapter == name:
            self.change(adapter=new)

    def remove(self, adapter: str) -> None:
        """Remove a version, or a name with all versions. Raises UsageError while a run trains it, AdapterError."""
        self._refuse_in_training(adapter)
        self.registry.remove(adapter)

    def look_again(self) -> bool:
        """Take over which adapter is configured and what versions are called; True where records have other names."""
        fresh = settings.load(self.paths.config)
        self.settings = msgspec.structs.replace(self.settings, adapter=fresh.adapter)
        return self.name_versions()

    def name_versions(self) -> bool:
        """Let records show the names that versions have now; True where some have changed. Raises StoreError."""
        known = self.registry.identities()
        return self.store.version_names.update(known.addresses(), known.addresses(removed=True))

    def close(self) -> None:
        """Close the store if it was opened."""
        if "store" in self.__dict__:
            self.store.close()

    def _refuse_in_training(self, adapter: str) -> None:
        """The worker writes into the folder of the name, and reads the version that it continues."""
        from sessions.training import runs

        for state in runs.states(self.paths):
            if state.created is None or not state.alive:
                continue
            parent, name = state.created.parent, state.created.adapter
            if adapter in (name, parent, parent.partition("/")[0]):
                raise UsageError(
                    f"A run is training {name} from {parent}.",
                    data="Nothing was changed.",
                    remedy=f"Wait for it, or stop it: `llama-tui runs stop {state.id}`.",
                )


def _lost(name: str, identity: str) -> AdapterDamaged:
    return AdapterDamaged(
        f"The version of {name} that you accepted ({identity[:12]}) is no longer there, or its lineage is damaged.",
        data="The base answers; nothing was changed.",
        remedy="`llama-tui adapters list` shows what is there; use another version, or train or import it again.",
    )
