"""F1: keys and commands, built from the registry and the app's own bindings."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, cast

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from tui import commands, render

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


class HelpScreen(ModalScreen[None]):
    """Explains; any command's name as `about` stands first."""

    CSS_PATH = "help.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,f1", "app.pop_screen", "Close", priority=True),
        Binding("j", "scroll(1)", show=False),
        Binding("k", "scroll(-1)", show=False),
    ]

    def __init__(self, about: str = "") -> None:
        super().__init__()
        self.about = about.removeprefix("/")

    def compose(self) -> ComposeResult:
        """The loop, the keys, the commands."""
        changed = cast("LlamaTuiApp", self.app).workspace.settings.keys
        with VerticalScroll(id="help"):
            if self.about:
                yield Static(_command(commands.find(self.about), changed), classes="about", markup=False)
            yield Static(LOOP.replace("\n", " "), classes="loop", markup=False)
            yield Static("Keys", classes="title", markup=False)
            yield Static(_rows([(changed.get(id, key), what) for id, key, what in KEYS]), markup=False)
            yield Static("Commands", classes="title", markup=False)
            yield Static(Content("\n").join(_command(known, changed) for known in commands.COMMANDS), markup=False)
            yield Static(
                'Any key can be changed: keys = { keep = "ctrl+k" } in config.toml, by the names above.',
                classes="note",
                markup=False,
            )

    def action_scroll(self, step: int) -> None:
        """By a line."""
        self.query_one("#help").scroll_relative(y=step, animate=False)


def _rows(rows: list[tuple[str, str]]) -> Content:
    return Content("\n").join(
        Content.styled(render.line(key).ljust(14), "$text-accent") + Content(what) for key, what in rows
    )


def _command(command: commands.Command, changed: dict[str, str]) -> Content:
    key = changed.get(command.name, command.key)
    usage = f"/{command.name} {command.usage}".rstrip()
    about = Content(command.help) + Content.styled(f"  {render.line(key)}" if key else "", "$text-accent")
    return Content.styled(usage.ljust(36), "bold") + Content(" ") + about
