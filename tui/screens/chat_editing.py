"""Texts that are being typed: an editor in an exchange, and drafts that survive a crash."""

from __future__ import annotations

import asyncio

from textual import work
from textual.widgets import TextArea

from corpora.dialog import Exchange
from tui.messages import StoreOpened
from tui.prompts import Draft, History, load_draft, save_draft
from tui.screens.chat_parts import ChatParts
from tui.widgets.inline_editor import InlineEditor
from tui.widgets.welcome import Welcome

DRAFT_AFTER = 0.4
"""Seconds after the last key until a draft is on disk."""


class Editing(ChatParts):
    """Opens and closes the editor in an exchange; keeps drafts."""

    async def on_store_opened(self, message: StoreOpened) -> None:
        """What was typed before is there again."""
        paths = self.llama.workspace.paths
        past, draft = await asyncio.to_thread(lambda: (History(paths.history), load_draft(paths)))
        self.prompt.past = past
        if draft.prompt and not self.prompt.text:
            self.prompt.put(draft.prompt)
        self.query_one(Welcome).say(self.llama.client.model)
        await self.show_branch()
        if draft.editing:
            self.llama.attempt(self._reopen, draft)

    async def _reopen(self, draft: Draft) -> None:
        await self.llama.chat.select(draft.editing)
        await self.show_branch()
        if (view := self.conversation.view(draft.editing)) is not None:
            await self.open_editor(view.exchange, draft.what, draft.text)

    async def open_editor(self, exchange: Exchange, what: str, text: str) -> None:
        """Edit a reply or a prompt where it stands."""
        view = self.conversation.view(exchange.id)
        if view is None:
            await self.conversation.show(self.llama.chat.branch)
            view = self.conversation.view(exchange.id)
        await self.query(InlineEditor).remove()
        if view is not None:
            view.add_class("-editing")
            editor = InlineEditor(exchange.id, what, text)
            await view.mount(editor)
            editor.call_after_refresh(editor.scroll_visible, animate=False)

    async def on_inline_editor_saved(self, message: InlineEditor.Saved) -> None:
        """The text is done."""
        await self._close_editor()
        self.llama.attempt(self.llama.actions.edited, message.exchange_id, message.what, message.text)

    async def on_inline_editor_left(self, message: InlineEditor.Left) -> None:
        """Nothing changes."""
        await self._close_editor()

    async def _close_editor(self) -> None:
        for view in self.conversation.views:
            view.remove_class("-editing")
        await self.query(InlineEditor).remove()
        self.prompt.focus()
        self._draft_changed()

    def on_text_area_changed(self, event: TextArea.Changed) -> None:
        """What is being typed is on disk soon."""
        self._draft_changed()

    def _draft_changed(self) -> None:
        if self.prompt.past is not None:
            self._save_draft()

    @work(group="draft", exclusive=True)
    async def _save_draft(self) -> None:
        await asyncio.sleep(DRAFT_AFTER)
        try:
            await asyncio.to_thread(save_draft, self.llama.workspace.paths, self.draft())
        except OSError as error:
            self.llama.report(error)

    def draft(self) -> Draft:
        """What is being typed."""
        editor = self.editor
        if editor is None:
            return Draft(self.prompt.text)
        return Draft(self.prompt.text, editor.exchange_id, editor.what, editor.text)
