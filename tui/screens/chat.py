"""The conversation: prompt, replies as they come, verdicts. What the commands do stands in `tui/actions.py`.

Its parts: `chat_parts` (widgets), `chat_replying` (a reply on its way), `chat_editing` (texts being typed).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual.binding import Binding, BindingType
from textual.widgets import Static, TextArea

from sessions.protocol import BASE
from tui import commands, render
from tui.glance import anchors_share, run_in_words
from tui.messages import (
    AdapterInUseChanged,
    AnchorsPrepared,
    CorpusChanged,
    HostLost,
    ModelLoading,
    ModelReady,
    OfferChanged,
    RunEnded,
    RunEventHappened,
    VersionRefused,
)
from tui.screens.chat_editing import Editing
from tui.screens.chat_replying import Replying

if TYPE_CHECKING:
    from sessions.lineage import Lineage

IN_FOOTER = {"keep": "Keep", "correct": "Correct", "reject": "Reject", "retry": "Retry", "new": "New"}


def _bindings() -> list[BindingType]:
    found: list[BindingType] = []
    for command in commands.COMMANDS:
        if command.key and command.name not in ("help", "quit"):
            label, shown = IN_FOOTER.get(command.name, command.name), command.name in IN_FOOTER
            action, first = f"do('{command.name}')", command.key != "escape"
            found.append(Binding(command.key, action, label, show=shown, priority=first, id=command.name))
    return found


def _checked(found: Lineage) -> str:
    """What the gate counted, where it ran."""
    return f"{found.gate.summary}. " if found.gate is not None and found.gate.summary else ""


class ChatScreen(Replying, Editing):
    """Chat with the model; keep, correct or reject what it says."""

    MODE: ClassVar[str] = "chat"
    CSS_PATH = "chat.tcss"
    AUTO_FOCUS = "#prompt"
    BINDINGS: ClassVar[list[BindingType]] = [
        *_bindings(),
        Binding("ctrl+up", "select(-1)", "Previous exchange", show=False, priority=True, id="select.previous"),
        Binding("ctrl+down", "select(1)", "Next exchange", show=False, priority=True, id="select.next"),
        Binding("ctrl+t", "send_anyway", "Send with tags", show=False, priority=True, id="send.anyway"),
        Binding("f7", "external", "Your editor", show=False, priority=True, id="editor.external"),
        Binding("f9", "copy", "Copy reply", show=False, priority=True, id="copy"),
        Binding("pageup", "page(-1)", "Up", show=False, priority=True, id="scroll.up"),
        Binding("pagedown", "page(1)", "Down", show=False, priority=True, id="scroll.down"),
    ]

    def on_mount(self) -> None:
        """Commands act here, whatever screen is shown."""
        self.llama.chat_screen = self

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keys of an open editor are the editor's; a text that can be undone is undone first."""
        if action in ("do", "page", "select") and isinstance(self.focused, TextArea):
            if self.focused is not self.prompt:
                return parameters == ("stop",)
            if parameters == ("undo",) and self.prompt.text:
                return False
            if parameters == ("reject",) and self.prompt.selected_text:
                return False
        return not (action == "send_anyway" and not self._refused)

    def action_do(self, name: str) -> None:
        """Run a command of the registry."""
        self.llama.do(name)

    def action_select(self, step: int) -> None:
        """Select the exchange before or after."""
        self.conversation.select(step)

    def action_page(self, step: int) -> None:
        """Scroll by a page."""
        if step < 0:
            self.conversation.scroll_page_up(animate=False)
        else:
            self.conversation.scroll_page_down(animate=False)

    def action_version(self, step: int) -> None:
        """Show the version before or after."""
        self.llama.attempt(self.llama.actions.version, step)

    def action_copy(self) -> None:
        """Copy the reply."""
        self.llama.attempt(self.llama.actions.copy, "")

    def action_external(self) -> None:
        """Edit in the person's own editor."""
        self.llama.attempt(self.llama.actions.external)

    def action_send_anyway(self) -> None:
        """Send a prompt with tags in it, this once."""
        text = self._refused
        self.clear_refusal()
        self.llama.attempt(self.send, text, tags_allowed=True)

    # what comes from elsewhere

    def on_model_loading(self, message: ModelLoading) -> None:
        """The model is being loaded; one may type already."""
        share = f" {message.progress.fraction:.0%}" if message.progress.fraction is not None else ""
        self.status.state = f"◌ {message.progress.stage}{share}"
        if self.live is not None and not self._tokens:
            self.live.wait_for(self._loading())

    def on_model_ready(self, message: ModelReady) -> None:
        """The model can answer."""
        self.say_idle()
        self.status.context = message.model.context
        if self.live is not None and not self._tokens:
            self.live.wait_for("")

    def on_anchors_prepared(self, message: AnchorsPrepared) -> None:
        """Show how many anchors are recorded."""
        self.status.anchors = anchors_share(message.state)

    def on_host_lost(self, message: HostLost) -> None:
        """The host has ended; a reply under way ends with an error of its own."""
        self.status.anchors = ""
        self.status.state = f"✗ {message.error.what}"
        if self.live is None:
            self.llama.report(message.error)

    def on_run_event_happened(self, message: RunEventHappened) -> None:
        """A run goes on while one chats."""
        parked = "chat is parked meanwhile · " if self.llama.client.parked else ""
        self.status.state = parked + run_in_words(self.llama.bridge.active)

    def on_run_ended(self, message: RunEnded) -> None:
        """A run has ended."""
        self.say_idle()
        self.count()

    def on_offer_changed(self, message: OfferChanged) -> None:
        """A new version is there; it is used when the person says so."""
        found = message.offered
        self.say_version(f"{found.address} is ready. {_checked(found)}ctrl+g uses it" if found else "")

    def on_version_refused(self, message: VersionRefused) -> None:
        """A new version is there that broke something."""
        made = message.published
        self.say_version(f"{made.adapter} failed the gate and is not offered: {made.worse}  f5 shows it")

    def on_adapter_in_use_changed(self, message: AdapterInUseChanged) -> None:
        """What was said of the version before no longer holds."""
        if message.adapter != BASE:
            self.on_offer_changed(OfferChanged(self.llama.answering.offered))

    def say_version(self, words: str) -> None:
        """A line on a version that can, or cannot, be used: it stays until there is another one."""
        line = self.query_one("#offer", Static)
        line.update(render.text(render.line(words)))
        line.display = bool(words)

    def on_corpus_changed(self, message: CorpusChanged) -> None:
        """Count again; what was changed elsewhere is shown as it is now."""
        self.count()
        shown = {view.exchange.id for view in self.conversation.views}
        if not message.ids or shown & set(message.ids):
            self.llama.attempt(self._refresh)

    async def _refresh(self) -> None:
        if not self._replying:
            await self.llama.chat.refresh()
            for exchange in self.llama.chat.branch:
                self.conversation.replace(exchange)
