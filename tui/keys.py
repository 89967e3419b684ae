"""The ids of all keys, so that a wrong one in the settings is said instead of having no effect."""

from __future__ import annotations

import difflib
import pkgutil
from collections.abc import Iterable, Iterator
from importlib import import_module

from textual.binding import Binding
from textual.dom import DOMNode

import tui.screens
import tui.widgets
from sessions.errors import SettingsError


def ids() -> set[str]:
    """Every id that a binding of this program has. Imports all screens."""
    for package in (tui.screens, tui.widgets):
        for module in pkgutil.iter_modules(package.__path__):
            import_module(f"{package.__name__}.{module.name}")
    return {
        binding.id
        for owner in _owners(DOMNode)
        for binding in owner.BINDINGS
        if isinstance(binding, Binding) and binding.id
    }


def check(changed: Iterable[str]) -> None:
    """Raises SettingsError for an id that no key has."""
    known = ids()
    for id in changed:
        if id not in known:
            near = difflib.get_close_matches(id, known, n=3)
            raise SettingsError(
                f"There is no key named {id!r:.60} to change.",
                data="The other keys work as they are set.",
                remedy=f"Did you mean {' or '.join(near)}?" if near else f"Names: {', '.join(sorted(known))}.",
            )


def _owners(root: type[DOMNode]) -> Iterator[type[DOMNode]]:
    for owner in root.__subclasses__():
        if owner.__module__.startswith("tui."):
            yield owner
        yield from _owners(owner)
