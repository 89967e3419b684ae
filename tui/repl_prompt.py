"""The line REPL on a terminal: one prompt with history, completion and a toolbar; replies scroll above it.

Knows nothing of chats or commands.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import subprocess
import sys
import tempfile
import termios
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from prompt_toolkit import PromptSession
from prompt_toolkit.application import run_in_terminal
from prompt_toolkit.completion import Completer
from prompt_toolkit.filters import Condition
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.history import FileHistory, InMemoryHistory
from prompt_toolkit.input import Input
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.output import Output as Screen

from corpora.errors import UsageError
from sessions.paths import private_folder, private_open
from tui.output import Output
from tui.render import line as one_line


class Prompter:
    """A `Surface` on a terminal."""

    attended = True

    def __init__(
        self,
        output: Output,
        history: Path,
        completer: Completer,
        toolbar: Callable[[], str],
        *,
        editor: str = "",
        input: Input | None = None,
        screen: Screen | None = None,
    ) -> None:
        self._output = output
        self._toolbar = toolbar
        self._editor = editor or os.environ.get("VISUAL") or os.environ.get("EDITOR") or ""
        self._told: list[Callable[[], None]] = []
        self._armed = False
        self._real = input is None
        self._before: list[Any] | None = None
        common = {"input": input, "output": screen, "multiline": True}
        self._session: PromptSession[str] = PromptSession(
            history=FileHistory(str(_private(history))),
            completer=completer,
            complete_while_typing=Condition(self._typing_a_command),
            bottom_toolbar=self._bar,
            prompt_continuation="… ",
            enable_open_in_editor=True,
            enable_suspend=True,
            key_bindings=_keys(editing=False),
            **common,  # type: ignore[arg-type]
        )
        # Without an answer about the cursor's place there is no toolbar; that needs no warning.
        self._session.app.renderer.cpr_not_supported_callback = None
        self._editing: PromptSession[str] = PromptSession(
            history=InMemoryHistory(),
            key_bindings=_keys(editing=True),
            bottom_toolbar=[("", "Enter: done · Ctrl+J: new line · Ctrl+C: leave it as it was")],
            prompt_continuation="… ",
            enable_open_in_editor=True,
            **common,  # type: ignore[arg-type]
        )

    async def line(self) -> str | None:
        """The next input. At an empty prompt Ctrl+C asks for a second one, which raises KeyboardInterrupt."""
        self._tell()
        while True:
            try:
                text = await self._session.prompt_async("> ", handle_sigint=False)
            except EOFError:
                return None
            except KeyboardInterrupt:
                if self._armed:
                    raise
                self.arm()
                self._output.note("(Ctrl+C again, or Ctrl+D, leaves; what was said is saved.)")
                continue
            self._armed = False
            return text

    def arm(self) -> None:
        """The next Ctrl+C leaves."""
        self._armed = True

    async def edit(self, hint: str, text: str) -> str:
        """In the person's editor, where one is set; else here."""
        if self._editor and self._real:
            return await self._edited(text)
        try:
            return await self._editing.prompt_async("✎ ", default=text, handle_sigint=False)
        except (EOFError, KeyboardInterrupt):
            return text

    async def ask(self, question: str) -> bool:
        """Yes or no, on a line of its own."""
        self._output.note(f"{question} [y/N]")
        try:
            answer = await self._editing.prompt_async("? ", handle_sigint=False)
        except (EOFError, KeyboardInterrupt):
            return False
        return answer.strip().lower().startswith("y")

    async def announce(self, tell: Callable[[], None]) -> None:
        """Above the prompt, if one is shown; else before the next one."""
        if self._session.app.is_running:
            await run_in_terminal(tell)
        else:
            self._told.append(tell)

    def refresh(self) -> None:
        """Paint the toolbar again."""
        if self._session.app.is_running:
            self._session.app.invalidate()

    def leave(self) -> None:
        """End the prompt that is shown, as Ctrl+C does."""
        for session in (self._session, self._editing):
            if session.app.is_running:
                session.app.exit(exception=KeyboardInterrupt)

    def _tell(self) -> None:
        told, self._told = self._told, []
        for tell in told:
            tell()

    def _typing_a_command(self) -> bool:
        return self._session.default_buffer.text.startswith("/")

    def _bar(self) -> StyleAndTextTuples:
        return [("", one_line(self._toolbar(), 400))]

    async def _edited(self, text: str) -> str:
        """Ctrl+C is the editor's while it runs; what it meant for us happens after."""
        editing = asyncio.create_task(asyncio.to_thread(self._in_editor, text))
        try:
            return await asyncio.shield(editing)
        except asyncio.CancelledError:
            await asyncio.gather(editing, return_exceptions=True)
            raise

    def _in_editor(self, text: str) -> str:
        words = shlex.split(self._editor)
        with tempfile.TemporaryDirectory(prefix="llama-tui-") as folder:
            file = Path(folder) / "text.md"
            file.write_text(text, "utf-8", errors="replace")
            try:
                with self._as_before():
                    code = subprocess.run([*words, str(file)], check=False).returncode
            except OSError as error:
                raise UsageError(f"{words[0]} cannot be run: {error.strerror}.", data="Nothing was changed.") from error
            if code != 0:
                raise UsageError(f"{words[0]} ended with {code}.", data="Nothing was changed.")
            return file.read_text("utf-8", errors="replace").removesuffix("\n")

    @contextlib.contextmanager
    def quiet(self) -> Iterator[None]:
        """Keys pressed while a reply is printed do not spoil it: they wait, as they are, for the next prompt."""
        if not self._real or not sys.stdin.isatty():
            yield
            return
        self._before = termios.tcgetattr(sys.stdin)
        after = termios.tcgetattr(sys.stdin)
        after[0] &= ~termios.ICRNL
        after[3] &= ~(termios.ECHO | termios.ICANON)
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, after)
        try:
            yield
        finally:
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, self._before)

    @contextlib.contextmanager
    def _as_before(self) -> Iterator[None]:
        """The terminal as other programs expect it."""
        if self._before is None:
            yield
            return
        now = termios.tcgetattr(sys.stdin)
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, self._before)
        try:
            yield
        finally:
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, now)


def _private(history: Path) -> Path:
    """The history's file, made for its owner alone."""
    private_folder(history.parent)
    os.close(private_open(str(history), os.O_WRONLY | os.O_CREAT | os.O_APPEND))
    return history


def _keys(*, editing: bool) -> KeyBindings:
    keys = KeyBindings()

    @keys.add("enter")
    def _send(event: KeyPressEvent) -> None:
        """Send, unless a backslash at the end asks for one more line."""
        buffer = event.current_buffer
        if buffer.document.text_before_cursor.endswith("\\") and not buffer.document.text_after_cursor:
            buffer.delete_before_cursor()
            buffer.insert_text("\n")
        else:
            buffer.validate_and_handle()

    @keys.add("escape", "enter")
    @keys.add("c-j")
    def _new_line(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    @keys.add("c-c")
    def _cancel(event: KeyPressEvent) -> None:
        """Throw away what was typed; at an empty prompt, or in an editor, leave."""
        if event.current_buffer.text and not editing:
            event.current_buffer.reset()
        else:
            event.app.exit(exception=KeyboardInterrupt)

    return keys
