"""The command palette's entries: the registry's commands, the screens, the settings."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from textual.command import DiscoveryHit, Hit, Hits, Provider

from tui import commands
from tui.widgets.modebar import TITLES

if TYPE_CHECKING:
    from tui.app import LlamaTuiApp


class Palette(Provider):
    """Finds commands by name and by what they do."""

    async def discover(self) -> Hits:
        """Everything, before a word is typed."""
        for name, about, run in self._all():
            yield DiscoveryHit(name, run, help=about)

    async def search(self, query: str) -> Hits:
        """What matches the words typed."""
        matcher = self.matcher(query)
        for name, about, run in self._all():
            if (score := max(matcher.match(name), matcher.match(about))) > 0:
                yield Hit(score, matcher.highlight(name), run, help=about)

    def _all(self) -> Iterator[tuple[str, str, Any]]:
        app = cast("LlamaTuiApp", self.app)
        for command in commands.COMMANDS:
            key = app.workspace.settings.keys.get(command.name, command.key)
            about = f"{command.help}  ({key})" if key else command.help
            yield command.name.capitalize(), about, partial(app.do, command.name)
        for mode, title in TITLES.items():
            yield f"Go to {title}", "", partial(app.action_mode, mode)
        yield "Settings", "All settings, with what they mean  (f8)", app.action_settings
        yield "Theme", "Light, dark and others", app.search_themes
