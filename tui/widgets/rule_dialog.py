"""The window that asks for the rule of a pinned test, with the reply at hand judged as one types."""

from __future__ import annotations

import asyncio

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.widgets import Input, Static

from corpora.errors import LlamaTuiError
from corpora.pinned import Rule
from sessions.pinning import parse_rule
from tui import render
from tui.widgets.dialogs import Dialog
from tui.widgets.safe_area import SafeInput

HINT = "The reply must: contains TEXT · not TEXT · regex RE. Case and whitespace of a TEXT do not count."
SHOWN = 4000
"""Characters of a prompt or a reply that are shown."""


class RuleDialog(Dialog[Rule]):
    """One line for the rule, prefilled with `typed`, below the prompt and the reply that it is tried on."""

    DEFAULT_CSS = """
    RuleDialog {
        & .context { height: auto; max-height: 10; }
        & .prompt { color: $text-muted; height: auto; }
        & .reply { height: auto; margin: 1 0 0 0; }
        & .judged { height: auto; color: $text-muted; margin: 1 0 0 0; }
    }
    """

    def __init__(self, title: str, prompt: str, typed: str, reply: str | None = None) -> None:
        super().__init__()
        self.title_text, self.prompt, self.typed, self.reply = title, prompt, typed, reply

    def compose(self) -> ComposeResult:
        """Show prompt and reply, the rule, and whether the reply passes."""
        with self.window(self.title_text):
            with VerticalScroll(classes="context", can_focus=False):
                yield Static(render.text(self.prompt[:SHOWN]), classes="prompt")
                if self.reply is not None:
                    yield Static(render.text(self.reply[:SHOWN]), classes="reply")
            yield Static(HINT, classes="body", markup=False)
            yield SafeInput(self.typed, compact=True, select_on_focus=False)
            yield Static("", classes="judged", markup=False)
            yield Static("", classes="error", markup=False)
            yield Static("enter saves · esc cancels", classes="keys", markup=False)

    def on_mount(self) -> None:
        """Focus the field."""
        self.query_one(Input).focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Judge the reply by the rule as it stands."""
        event.stop()
        self.query_one(".error").remove_class("-shown")
        self.run_worker(self._judge(event.value), group="judge", exclusive=True)

    async def _judge(self, typed: str) -> None:
        judged = self.query_one(".judged", Static)
        try:
            failure = await asyncio.to_thread(_failure, typed, self.reply)
        except LlamaTuiError:
            judged.update("")
            return
        if failure is not None:
            judged.update(render.text(f"✗ {failure}" if failure else "✓ This reply passes."))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Return the rule, where it works."""
        event.stop()
        try:
            rule = parse_rule(event.value)
        except LlamaTuiError as error:
            self.say_error(error)
        else:
            self.dismiss(rule)


def _failure(typed: str, reply: str | None) -> str | None:
    """Return why the reply fails, empty where it passes, None without a reply. Raises UsageError."""
    rule = parse_rule(typed)
    return None if reply is None else rule.failure(reply)
