"""The prompt: several lines, earlier prompts by ↑, slash commands completed by Tab."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from textual.binding import Binding
from textual.content import Content
from textual.message import Message
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from tui import commands, render
from tui.prompts import History
from tui.widgets.ordered import in_order
from tui.widgets.safe_area import SafeTextArea

PATHS_SHOWN = 50


class Completions(OptionList):
    """What a partly typed command could become; follows the prompt."""

    can_focus = False

    def offer(self, lines: list[str]) -> None:
        """Show these whole lines, or hide where there are none."""
        self.clear_options()
        self.add_options([Option(_described(line), id=str(place)) for place, line in enumerate(lines)])
        self.display = bool(lines)
        self.highlighted = 0 if lines else None


class Prompt(SafeTextArea):
    """Enter sends; Ctrl+J, Shift+Enter, or a backslash at the end of the line starts a new one."""

    BINDINGS = [
        Binding("enter", "send", "Send", show=False, priority=True, id="prompt.send"),
        Binding("ctrl+j,shift+enter", "newline", "New line", show=False, priority=True, id="prompt.newline"),
        Binding("up", "up", show=False, priority=True, id="prompt.up"),
        Binding("down", "down", show=False, priority=True, id="prompt.down"),
        Binding("tab", "complete", show=False, priority=True, id="prompt.complete"),
        Binding("left", "version(-1)", show=False, priority=True, id="prompt.left"),
        Binding("right", "version(1)", show=False, priority=True, id="prompt.right"),
    ]

    @dataclass
    class Sent(Message):
        """The person sends a prompt or a command."""

        text: str

    def __init__(self, completions: Completions, **options: str) -> None:
        super().__init__(
            placeholder="Ask something, or type / for commands",
            soft_wrap=True,
            compact=True,
            highlight_cursor_line=False,
            **options,  # type: ignore[arg-type]
        )
        self.past: History | None = None
        self.completions = completions
        self._lines: list[str] = []

    def put(self, text: str) -> None:
        """Another text, the cursor at its end."""
        self.text = text
        self.move_cursor(self.document.end)

    def on_text_area_changed(self) -> None:
        """Offer completions for a command."""
        self._lines = _lines(self.text) if "\n" not in self.text else []
        if self._lines == [self.text]:
            self._lines = []
        self.completions.offer(self._lines)

    # keys

    @in_order
    def action_send(self) -> None:
        """Send what stands here; a line that ends with a backslash goes on."""
        if self.text.endswith("\\") and self.cursor_at_end_of_text:
            self.action_delete_left()
            self.insert("\n")
            return
        if self._lines and not _complete_already(self.text):
            self.complete()
            return
        if text := self.text.strip():
            self.post_message(self.Sent(text))

    @in_order
    def action_newline(self) -> None:
        """Start a new line."""
        self.insert("\n")

    @in_order
    def action_complete(self) -> None:
        """Take the completion that is marked; without one, on to the next widget."""
        self.complete()

    def complete(self) -> None:
        """`action_complete`, at once."""
        if not self._lines:
            self.screen.focus_next()
            return
        chosen = self._lines[self.completions.highlighted or 0]
        self.put(chosen if chosen.endswith("/") else f"{chosen} ")

    @in_order
    async def action_up(self) -> None:
        """The completion above, the line above, or the prompt before."""
        if self._lines:
            self.completions.action_cursor_up()
        elif self.cursor_at_first_line and self.past is not None:
            if (text := self.past.earlier(self.text)) is not None:
                self.put(text)
        else:
            self.action_cursor_up()

    @in_order
    async def action_down(self) -> None:
        """The completion below, the line below, or the prompt after."""
        if self._lines:
            self.completions.action_cursor_down()
        elif self.cursor_at_last_line and self.past is not None:
            if (text := self.past.later()) is not None:
                self.put(text)
        else:
            self.action_cursor_down()

    @in_order
    async def action_version(self, step: int) -> None:
        """In an empty prompt, another version of the reply; else the cursor moves."""
        if not self.text:
            await self.run_action(f"screen.version({step})")
        elif step < 0:
            self.action_cursor_left()
        else:
            self.action_cursor_right()


def _lines(text: str) -> list[str]:
    if not text.startswith("/") or text == "/ ":
        return []
    name, blank, rest = text[1:].partition(" ")
    if blank and any(command.name == name and command.paths for command in commands.COMMANDS):
        verb, found = rest.rpartition(" ")[0], _paths(rest.rpartition(" ")[2])
        return [f"/{name} {verb + ' ' if verb else ''}{path}" for path in found]
    return commands.complete(text)


def _complete_already(text: str) -> bool:
    """True where Enter should run the line: a whole command, or a command with something behind it."""
    name, blank, _ = text[1:].partition(" ")
    known = {name for command in commands.COMMANDS for name in (command.name, *command.aliases)}
    return bool(blank) or name in known


def _paths(start: str) -> list[str]:
    """Paths that begin so, folders with a slash; at most fifty."""
    folder, slash, name = start.rpartition("/")
    where = Path(f"{folder}{slash}" or ".").expanduser()
    try:
        found = sorted(path for path in where.iterdir() if path.name.startswith(name))
    except OSError:
        return []
    shown = [path for path in found if name.startswith(".") or not path.name.startswith(".")]
    return [f"{folder}{slash}{path.name}{'/' if path.is_dir() else ''}" for path in shown[:PATHS_SHOWN]]


def _described(line: str) -> Content:
    name, blank, _ = line[1:].partition(" ")
    about = "" if blank else next((known.help for known in commands.COMMANDS if known.name == name), "")
    usage = "" if blank else next((known.usage for known in commands.COMMANDS if known.name == name), "")
    shown = render.text(f"{line} {usage}".ljust(28) if about else line)
    return shown + Content.styled(f" {about}", "dim")
