"""Every command of the registry, as the line REPL does it, and what happens to one line of input.

Knows nothing of where lines come from.
"""

from __future__ import annotations

from tui import commands
from tui.repl_chat import ChatActions
from tui.repl_learn import LearnActions
from tui.repl_tests import PinActions

KEYS = (
    ("Enter", "send"),
    ("Esc Enter, Ctrl+J, or \\ at the end", "start a new line"),
    ("Tab", "complete commands, names and paths"),
    ("↑ ↓, Ctrl+R", "earlier prompts"),
    ("Ctrl+X Ctrl+E", "write the prompt in $EDITOR"),
    ("Ctrl+C", "stop the reply; at an empty prompt twice: leave"),
    ("Ctrl+D", "leave"),
)


class ReplActions(ChatActions, LearnActions, PinActions):
    """`tui.commands.Actions` for the line REPL."""

    async def take(self, line: str) -> None:
        """Do a command, or send a prompt. Raises LlamaTuiError."""
        if not line.strip():
            return
        if commands.is_command(line.strip()):
            await commands.dispatch(line.strip(), self)
        else:
            await self.send(line.strip())

    async def help(self, rest: str) -> None:
        """Explain one command, or list all."""
        if rest:
            command = commands.find(rest.removeprefix("/"))
            self.output.say(f"/{command.name} {command.usage}".rstrip(), "bold")
            self.output.say(f"{command.help}.")
            for name, words in (("Also", command.aliases), ("One of", command.choices)):
                if words:
                    self.output.say(f"{name}: {', '.join(words)}")
            return
        rows = [(f"/{each.name} {each.usage}".rstrip(), each.help) for each in commands.COMMANDS]
        self.output.table(("COMMAND", ""), rows, wrapped=("",))
        if self.session.surface.attended:
            self.output.table(("KEY", ""), KEYS, wrapped=("",))

    async def quit(self, rest: str) -> None:
        """Leave after this line."""
        self.session.leaving = True
