"""The last line of every main screen: the keys that work now, in the order in which they are declared."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

SCREENS = "mode."
HELP = "help"
GAP = 2


class KeysBar(Widget):
    """One line: the focused widget's and the screen's keys, then those of all screens; whole entries only.

    What does not fit is left out; the last entry says where all keys stand.
    """

    DEFAULT_CSS = "KeysBar { height: 1; background: $surface; padding: 0 1; dock: bottom; }"

    def compose(self) -> ComposeResult:
        """One line."""
        yield Static("", markup=False)

    def on_mount(self) -> None:
        """Follow the focus."""
        self.screen.bindings_updated_signal.subscribe(self, lambda _: self.show())
        self.call_after_refresh(self.show)

    def show(self) -> None:
        """Write the keys anew."""
        if self.is_mounted and self.screen.is_mounted:
            self.query_one(Static).update(Content(" " * GAP).join(self._fitting()))

    def on_resize(self) -> None:
        """Another number of entries fits."""
        self.show()

    def _fitting(self) -> list[Content]:
        last = _part(self._help_key(), "all keys")
        room = self.content_size.width - last.cell_length
        fitting: list[Content] = []
        for part in self._parts():
            room -= part.cell_length + GAP
            if room < 0:
                break
            fitting.append(part)
        return [*fitting, last]

    def _help_key(self) -> str:
        known = (active.binding for active in self.screen.active_bindings.values())
        return next((self.app.get_key_display(binding) for binding in known if binding.id == HELP), "f1")

    def _parts(self) -> list[Content]:
        found: dict[str, tuple[bool, str, str]] = {}
        screens: list[str] = []
        for key, (node, binding, enabled, _) in self.screen.active_bindings.items():
            shown_key = self.app.get_key_display(binding)
            if (binding.id or "").startswith(SCREENS):
                screens.append(shown_key)
            elif binding.id != HELP and binding.show and enabled and binding.description not in found:
                found[binding.description] = (node is self.app, shown_key, key)
        order = [description for description in dict.fromkeys(self._declared()) if description in found]
        rest = [description for description in found if description not in order]
        parts = [_part(found[description][1], description) for description in [*order, *rest]]
        return [*parts, *([_part(f"{min(screens)}–{max(screens)}", "Screens")] if screens else [])]

    def _declared(self) -> list[str]:
        nodes = [self.screen.focused, self.screen] if self.screen.focused else [self.screen]
        return [
            binding.description
            for node in nodes
            for bindings in node._bindings.key_to_bindings.values()
            for binding in bindings
        ]


def _part(key: str, description: str) -> Content:
    return Content.assemble((key, "$text-accent"), f" {description}")
