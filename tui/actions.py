"""What the registry's commands do in the app: keys, palette and slash commands all come here.

Everything acts on the chat's selected exchange, else the last. Errors are raised; the app reports them.
"""

from __future__ import annotations

import asyncio

from corpora.dialog import Exchange, Finish, Status
from corpora.errors import UsageError
from tui.messages import CorpusChanged, PromptHandedOver
from tui.prompts import prompt_file
from tui.run_actions import RunActions, sampling_with, told
from tui.stars import rating_of, stars

SAID = {Status.KEPT: "Kept", Status.REJECTED: "Rejected", Status.DEFERRED: "Put aside", Status.PENDING: "Reopened"}


class AppActions(RunActions):
    """`tui.commands.Actions` for the app."""

    # verdicts

    async def keep(self, rest: str) -> None:
        """Keep the exchange; again: take it back."""
        await self._verdict(Status.KEPT)

    async def reject(self, rest: str) -> None:
        """Reject the exchange."""
        await self._verdict(Status.REJECTED)

    async def defer(self, rest: str) -> None:
        """Put the exchange aside."""
        await self._verdict(Status.DEFERRED)

    async def rate(self, rest: str) -> None:
        """Stars for the exchange, typed or asked for."""
        from tui.widgets.rating import AskRating

        exchange = self.screen.target()
        if not rest:
            asked = await self.app.push_screen_wait(AskRating("this exchange", exchange.rating))
            if asked is None:
                return
            rest = str(asked)
        rating = rating_of(rest)
        await asyncio.to_thread(self.app.chat.store.rate, [exchange.id], rating)
        await self._show_again(exchange.id)
        self.app.tell(CorpusChanged((exchange.id,)))
        self.screen.say(f"{stars(rating) if rating else 'No rating'}. ctrl+z takes it back.")

    async def _verdict(self, status: Status) -> None:
        exchange = self.screen.target()
        if status is Status.KEPT and not exchange.reply.strip():
            raise UsageError("There is no reply to keep.", remedy="Correct it with ctrl+e, or try again with ctrl+r.")
        status = Status.PENDING if exchange.status is status else status
        await asyncio.to_thread(self.app.chat.store.set_status, [exchange.id], status)
        await self._show_again(exchange.id)
        cut = " It was cut at max_new_tokens; correct it if its end is missing." if _cut(exchange, status) else ""
        self.screen.say(f"{SAID[status]}. ctrl+z takes it back.{cut}")

    async def correct(self, rest: str) -> None:
        """Rewrite the reply, here or in the editor that opens."""
        exchange = self.screen.target()
        if rest:
            await self.edited(exchange.id, "correct", rest)
        else:
            await self.screen.open_editor(exchange, "correct", exchange.reply)

    async def edit(self, rest: str) -> None:
        """Another prompt in this place; the old branch stays."""
        exchange = self.screen.target()
        if rest:
            await self.edited(exchange.id, "edit", rest)
        else:
            await self.screen.open_editor(exchange, "edit", exchange.prompt)

    async def edited(self, exchange_id: int, what: str, text: str) -> None:
        """A text from the editor: a correction is stored, a prompt is asked."""
        text = text.strip()
        if not text:
            raise UsageError("An empty text is not saved.", data="Nothing has changed.")
        if what == "edit":
            self.screen.start(self.app.chat.edit(exchange_id, text), text)
            return
        await asyncio.to_thread(self.app.chat.store.correct, exchange_id, text)
        await self._show_again(exchange_id)
        self.screen.say("Corrected and kept; the original is kept beside it. ctrl+z takes it back.")

    async def undo(self, rest: str) -> None:
        """Take the last verdict, correction or edit back."""
        undone = await asyncio.to_thread(self.app.chat.store.undo)
        if undone is None:
            raise UsageError("There is nothing to take back.")
        await self.app.chat.refresh()
        await self.screen.show_branch()
        self.app.tell(CorpusChanged())
        self.screen.say(f"Taken back: {undone}.")

    async def _show_again(self, exchange_id: int) -> None:
        await self.app.chat.refresh()
        for exchange in self.app.chat.branch:
            if exchange.id == exchange_id:
                self.screen.changed(exchange)

    # replies

    async def retry(self, rest: str) -> None:
        """Another version of the reply."""
        target, chat = self.screen.target(), self.app.chat
        if chat.last is not None and target.id == chat.last.id:
            self.screen.start(chat.retry(), target.prompt)
        else:
            stream = chat.edit(target.id, target.prompt, tags_allowed=target.tags_allowed)
            self.screen.start(stream, target.prompt)

    async def version(self, step: int) -> None:
        """Show the version before or after: another reply, or another prompt at the same place."""
        target, chat = self.screen.target(), self.app.chat
        versions = await asyncio.to_thread(chat.store.siblings, target.id)
        place = next((i for i, known in enumerate(versions) if known.id == target.id), 0) + step
        if not chat.busy and 0 <= place < len(versions):
            shown = versions[place].id
            await chat.select(shown)
            await self.screen.show_branch()
            if chat.last is not None and chat.last.id != shown:
                self.screen.conversation.go_to(shown)

    async def stop(self, rest: str) -> None:
        """Stop the reply; where none is written, forget the selection and what was said, toasts too."""
        if self.app.chat.busy:
            await self.app.chat.stop()
            return
        self.app.clear_notifications()
        self.screen.clear_refusal()
        self.screen.say("")
        self.screen.conversation.clear_selection()
        self.screen.prompt.focus()

    async def copy(self, rest: str) -> None:
        """Copy the reply."""
        from tui.clipboard import copy

        reply = self.screen.target().reply
        self.screen.say(await copy(self.app, self.app.workspace.paths, reply))

    async def external(self) -> None:
        """The text being typed, in the person's own editor."""
        from tui.external import edit

        editor = self.screen.editor
        area = editor.area if editor is not None else self.screen.prompt
        text = edit(self.app, self.app.workspace.settings.editor, area.text)
        area.text = text
        area.move_cursor(area.document.end)
        area.focus()

    # chats

    async def new(self, rest: str) -> None:
        """A new chat, with the settings' system prompt."""
        self._idle()
        self.app.chat.new()
        self.app.chat.system = self.app.workspace.settings.system or None
        await self.screen.show_branch()
        self.screen.status.used = 0
        self.screen.say("")

    async def history(self, rest: str) -> None:
        """Choose an earlier chat."""
        from tui.screens.history import HistoryScreen

        await self.app.until_open()
        self._idle()
        chosen = await self.app.push_screen_wait(HistoryScreen(self.app.chat.store, rest))
        if chosen is not None:
            await self.app.chat.open(chosen)
            await self.screen.show_branch()

    async def system(self, rest: str) -> None:
        """Set or clear the system prompt of this chat."""
        from tui.widgets.dialogs import EditText

        if rest:
            text: str | None = "" if rest == "clear" else rest
        else:
            context = "What the model is told before everything else, in this chat. Empty: nothing."
            text = await self.app.push_screen_wait(
                EditText("System prompt", self.app.chat.system or "", context=context, may_be_empty=True)
            )
        if text is not None:
            self.app.chat.system = text or None
            self.screen.say("The system prompt is set, from the next reply on." if text else "No system prompt.")

    async def set(self, rest: str) -> None:
        """Show or set how replies are drawn."""
        name, _, value = rest.partition(" ")
        if not name:
            await self.app.show_settings()
        elif name == "strength":
            await self._set_strength(value)
        else:
            self.app.chat.sampling = sampling_with(self.app.chat.sampling, name, value)
            self.screen.say(f"{name}: {told(self.app.chat.sampling, name)}, from the next reply on.")

    async def _set_strength(self, value: str) -> None:
        try:
            strength = float(value)
        except ValueError:
            strength = -1.0
        if not 0 <= strength <= 1.5:
            raise UsageError(
                "strength is between 0 (the base) and 1.5.", data=f"It is still {self.app.chat.strength:g}."
            )
        self.app.set_strength(strength)
        self.screen.say(f"The adapter's strength is {strength:g} from the next reply on.")

    async def read(self, rest: str) -> None:
        """Send a file's text."""
        await self.screen.send(await asyncio.to_thread(prompt_file, rest))

    async def save(self, rest: str) -> None:
        """Write the chat to a file."""
        from tui.chat_file import write_chat

        if not rest:
            raise UsageError("Which file?", remedy="/save FILE.md, or FILE.json for messages.")
        self.screen.target()
        target = await asyncio.to_thread(write_chat, rest, self.app.chat.branch)
        self.screen.say(f"Written to {target}")

    # other screens

    async def compare(self, rest: str) -> None:
        """Compare, with a prompt or without."""
        await self.app.switch_mode("compare")
        if rest:
            self.app.tell(PromptHandedOver(rest))

    async def help(self, rest: str) -> None:
        """Keys and commands."""
        from tui.screens.help import HelpScreen, keys_of

        self.app.push_screen(HelpScreen(rest, keys_of(self.app.screen)))

    async def quit(self, rest: str) -> None:
        """Leave; a run goes on."""
        await self.app.leave()

    # pinned tests

    async def pin(self, rest: str) -> None:
        """Pin the reply's prompt as a test, with the rule typed or proposed in a window."""
        from sessions.pinning import parse_rule, pin, pinned_in_words, proposed_rule, typed_rule
        from tui.widgets.rule_dialog import RuleDialog

        exchange, chat = self.screen.target(), self.app.chat
        if rest:
            rule = parse_rule(rest)
        else:
            typed = typed_rule(proposed_rule(exchange.reply))
            asked = RuleDialog("Pin this reply as a test", exchange.prompt, typed, exchange.reply)
            chosen = await self.app.push_screen_wait(asked)
            if chosen is None:
                return
            rule = chosen
        made = await asyncio.to_thread(pin, chat.store, chat.branch, exchange, rule)
        self.screen.say(f"{pinned_in_words(made, exchange.reply)} /tests shows all.")

    async def tests(self, rest: str) -> None:
        """Show which versions pass the pinned tests; run, remove or change tests."""
        from sessions.pinning import edit_tests
        from tui.screens.tests import PinnedTestsScreen

        await self.app.until_open()
        if rest not in ("", "run"):
            self.screen.say(await asyncio.to_thread(edit_tests, self.app.chat.store, rest))
        elif not isinstance(self.app.screen, PinnedTestsScreen):
            await self.app.push_screen(PinnedTestsScreen(run=rest == "run"))

    # the status line

    async def kept_in_words(self) -> str:
        """How many exchanges are kept, for the status line."""
        stats = await asyncio.to_thread(self.app.chat.store.stats)
        kept = stats.by_status.get(Status.KEPT, 0)
        return f"{kept:,} kept" if kept else ""

    def _idle(self) -> None:
        if self.app.chat.busy:
            raise UsageError("A reply is still being written.", remedy="Stop it with Esc, or wait.")


def _cut(exchange: Exchange, status: Status) -> bool:
    return status is Status.KEPT and exchange.finish is Finish.LENGTH and not exchange.corrected
