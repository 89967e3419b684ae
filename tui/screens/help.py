"""F1: the keys of the screen it was pressed on, then keys and commands from the registry."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, cast

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.dom import DOMNode
from textual.screen import ModalScreen, Screen
from textual.widgets import Static

from tui import commands
from tui.widgets.rows import Row, Rows

if TYPE_CHECKING:
    from tui.app import LlamaTuiApp

LOOP = """\
Chat. When a reply is good, keep it; when it is nearly good, correct it. After some dozens, train: a new
version of your adapter is made beside the chat and offered when it is done. Compare it with the base, vote,
and keep it or roll back. Everything is stored at once, on this machine, in open formats."""
KEYS: tuple[tuple[str, str, str], ...] = (
    ("prompt.send", "enter", "Send; a line that ends with \\ goes on"),
    ("prompt.newline", "ctrl+j", "New line (shift+enter where the terminal knows it)"),
    ("", "↑ ↓", "Earlier prompts; lines of a longer one"),
    ("prompt.complete", "tab", "Complete a command or a path; else go to the conversation"),
    ("select.previous", "ctrl+up", "Select an earlier exchange: keep, correct, … act on it"),
    ("select.next", "ctrl+down", "Select a later one"),
    ("", "← →", "Versions of a reply, when the prompt is empty"),
    ("", "pgup pgdn", "Scroll"),
    ("copy", "f9", "Copy the reply"),
    ("editor.external", "f7", "Your own editor ($EDITOR) for the text being typed"),
    ("version.use", "ctrl+g", "Use the version that a run has made"),
    ("settings", "f8", "Settings"),
    ("interrupt", "ctrl+c", "Copy what is selected; stop the reply; twice: leave"),
    ("", "ctrl+p", "All commands by name"),
    ("mode.chat", "f2 … f6", "Chat, Corpus, Train, Adapters, Compare"),
)

KEY_CELLS, COMMAND_CELLS = 15, 37


class HelpScreen(ModalScreen[None]):
    """Explains; any command's name as `about` stands first, then the keys of the screen `here`."""

    CSS_PATH = "help.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,f1", "app.pop_screen", "Close", priority=True),
        Binding("j", "scroll(1)", show=False),
        Binding("k", "scroll(-1)", show=False),
    ]

    def __init__(self, about: str = "", here: list[Row] | None = None) -> None:
        super().__init__()
        self.here = here or []
        self.about = about.removeprefix("/")

    def compose(self) -> ComposeResult:
        """The loop, the keys, the commands."""
        changed = cast("LlamaTuiApp", self.app).workspace.settings.keys
        known = [_command(command, changed) for command in commands.COMMANDS]
        told = {row.what for row in self.here}
        with VerticalScroll(id="help"):
            if self.about:
                yield Rows([_command(commands.find(self.about), changed)], COMMAND_CELLS, classes="about")
            if self.here:
                yield Static("On this screen", classes="title", markup=False)
                yield Rows(self.here, KEY_CELLS, id="here")
            yield Static(LOOP.replace("\n", " "), classes="loop", markup=False)
            yield Static("Keys", classes="title", markup=False)
            yield Rows([Row(changed.get(id, key), what) for id, key, what in KEYS if what not in told], KEY_CELLS)
            yield Static("Commands", classes="title", markup=False)
            yield Rows(known, COMMAND_CELLS, bold=True)
            yield Static(
                'Any key can be changed: keys = { keep = "ctrl+k" } in config.toml, by the names above.',
                classes="note",
                markup=False,
            )

    def action_scroll(self, step: int) -> None:
        """By a line."""
        self.query_one("#help").scroll_relative(y=step, animate=False)


def keys_of(screen: Screen[object]) -> list[Row]:
    """The keys that work on a screen now, those of the footer first and hidden ones too; one row for each use."""
    found: dict[str, list[str]] = {}
    for node, binding, _, _ in sorted(screen.active_bindings.values(), key=lambda active: not active.binding.show):
        what = _explained(binding)
        if node is not screen.app and what and _ours(node, binding):
            key = screen.app.get_key_display(binding)
            if key not in found.setdefault(what, []):
                found[what].append(key)
    return [Row(" ".join(keys), what) for what, keys in found.items()]


def _explained(binding: Binding) -> str:
    long = {id: what for id, _, what in KEYS if id} | {known.name: known.help for known in commands.COMMANDS}
    return long.get(binding.id or "", binding.tooltip or binding.description)


def _ours(node: DOMNode, binding: Binding) -> bool:
    # Those of the toolkit (to move in a text or a list) are what everybody knows, and many.
    owners = [owner for owner in type(node).__mro__ if owner.__module__.startswith("tui.")]
    declared = [known for owner in owners for known in owner.__dict__.get("BINDINGS", ()) if isinstance(known, Binding)]
    return any((known.action, known.description) == (binding.action, binding.description) for known in declared)


def _command(command: commands.Command, changed: dict[str, str]) -> Row:
    usage = f"/{command.name} {command.usage}".rstrip()
    return Row(usage, command.help, changed.get(command.name, command.key))
