"""Pinned tests: a matrix of tests and versions, what flipped, the replies; add, change, remove and run tests.

Workers ask store, registry and host; handlers change widgets. Independent of how a reply is judged.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import aclosing
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import DataTable, Static

from corpora.dialog import Message
from corpora.pinned import PinnedResult, PinnedTest, Rule
from corpora.store import Store
from sessions.pinned_matrix import Answered, Asking, Matrix, Skipped, Version, ask, read_matrix
from sessions.pinning import typed_rule
from tui import render
from tui.messages import AdapterInUseChanged, AdaptersChanged, CorpusChanged, RunEnded, StoreOpened
from tui.screens.background import background
from tui.screens.mode import ModeScreen
from tui.widgets.dialogs import Confirm, EditText, Reading
from tui.widgets.keys_bar import KeysBar
from tui.widgets.modebar import ModeBar
from tui.widgets.pinned_table import PinnedTable, cell_in_words, reply_in_words, summary_of
from tui.widgets.rule_dialog import RuleDialog

TEACH = """No pinned test yet.

A pinned test is a prompt with a rule for the reply: that it contains a text, does not contain it, or matches a
regular expression. Every new version is asked when it is published, and this screen shows which versions pass
and what flipped from one version to the next.

/pin in the chat pins the last prompt with its reply; a adds a test here."""


class PinnedTestsScreen(ModeScreen):
    """Opened over another screen; escape goes back to it. With `run`, asks at once what was not asked yet."""

    CSS_PATH = "tests.tcss"
    AUTO_FOCUS = "PinnedTable"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Back", id="tests.back"),
        Binding("r", "run", "Run", tooltip="Ask every version what it was not asked yet", id="tests.run"),
        Binding("R", "run_again", "Run again", tooltip="Ask the version under the cursor again", id="tests.again"),
        Binding("a", "add", "Add", id="tests.add"),
        Binding("e", "edit", "Rule", tooltip="Change the rule", id="tests.edit"),
        Binding("x", "remove", "Remove", id="tests.remove"),
        Binding("delete", "remove", show=False),
        Binding("u", "undo", "Undo", tooltip="Take the last action back", id="tests.undo"),
        Binding("ctrl+z", "undo", show=False),
    ]

    def __init__(self, *, run: bool = False) -> None:
        super().__init__()
        self.matrix = Matrix()
        self.running = False
        self._run_first = run

    def compose(self) -> ComposeResult:
        """Show the bar of the current mode, the matrix, the keys."""
        yield ModeBar(self.llama.current_mode)
        yield from self.body()
        yield KeysBar()

    def body(self) -> ComposeResult:
        """Show the summary, the matrix, and the cell under the cursor in full."""
        yield Static("", id="tests-summary", markup=False)
        yield PinnedTable(id="matrix")
        with VerticalScroll(id="test", can_focus=False):
            yield Static("", id="test-detail", markup=False)

    @property
    def store(self) -> Store:
        """Return the corpus."""
        return self.llama.workspace.store

    @property
    def table(self) -> PinnedTable:
        """Return the matrix."""
        return self.query_one(PinnedTable)

    # hearing and looking

    def on_screen_resume(self) -> None:
        """Read again: tests and versions change in other terminals too."""
        self.look()

    def on_store_opened(self, message: StoreOpened) -> None:
        """Read the tests."""
        self.look()

    def on_adapters_changed(self, message: AdaptersChanged) -> None:
        """Read again: a version came, went or was renamed."""
        self.look()

    def on_adapter_in_use_changed(self, message: AdapterInUseChanged) -> None:
        """Mark the version that answers in the chat."""
        self.look()

    def on_run_ended(self, message: RunEnded) -> None:
        """Read again: a run asks the tests when it publishes."""
        self.look()

    def on_corpus_changed(self, message: CorpusChanged) -> None:
        """Read again: a test may have been restored."""
        if not message.ids:
            self.look()

    @background("look")
    async def look(self) -> None:
        """Read tests, versions and results."""
        if not self.llama.opened.is_set():
            return
        await self._read()
        if self._run_first:
            self._run_first = False
            self.action_run()

    async def _read(self) -> None:
        registry, model = self.llama.workspace.registry, self.llama.client.model
        self.matrix = await asyncio.to_thread(read_matrix, self.store, registry, model)
        self.table.show(self.matrix, self.llama.adapter)
        self._show_detail()
        if not self.running:
            self._summarize()
        self.refresh_bindings()

    def on_data_table_cell_highlighted(self, event: DataTable.CellHighlighted) -> None:
        """Show the reply under the cursor."""
        self._show_detail()

    def on_data_table_cell_selected(self, event: DataTable.CellSelected) -> None:
        """Show the replies to this test."""
        self.action_replies()

    def _show_detail(self) -> None:
        test = self.table.test
        content = Content(TEACH) if test is None else cell_in_words(self.matrix, test, self.table.version)
        self.query_one("#test-detail", Static).update(content)
        self.set_class(not self.matrix.tests, "-empty")
        if self.matrix.tests and self.focused is None:
            self.table.focus()

    def _summarize(self) -> None:
        self._say(summary_of(self.matrix) if self.matrix.tests else Content(""))

    def _say(self, words: Content) -> None:
        self.query_one("#tests-summary", Static).update(words)

    # doing

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Offer only adding and leaving where there is no test."""
        if action in ("run", "run_again", "replies", "edit", "remove"):
            return bool(self.matrix.tests)
        return True

    def action_leave(self) -> None:
        """Stop the run; else go back to the screen below."""
        if self.running:
            self.workers.cancel_group(self, "run")
        else:
            self.app.pop_screen()

    def action_run(self) -> None:
        """Ask what was not asked yet, the base and the newest versions first."""
        if self.running:
            return
        missing = self.matrix.missing()
        if missing:
            self._ask(missing)
        elif self.matrix.tests:
            self.llama.notify("Every version was asked every test. R asks the one under the cursor again.")

    def action_run_again(self) -> None:
        """Ask the version under the cursor every test."""
        version = self.table.version
        if version is None:
            self.llama.notify("Move to the column of a version first (→).", severity="warning")
        elif not self.running:
            self._ask([(test, version) for test in self.matrix.tests])

    @background("run")
    async def _ask(self, wanted: list[tuple[PinnedTest, Version]]) -> None:
        self.running = True
        try:
            async with aclosing(ask(self.llama.client, self.store, wanted)) as steps:
                async for step in steps:
                    match step:
                        case Asking():
                            self._say(_progress(step))
                        case Answered(test=test, results=results):
                            self._answered(test, results)
                        case Skipped(error=error):
                            self.llama.report(error)
        finally:
            self.running = False
            if self.is_attached:
                self._summarize()

    def _answered(self, test: PinnedTest, results: Mapping[str, PinnedResult]) -> None:
        if test in self.matrix.tests:  # else it was changed or removed meanwhile
            self.matrix = self.matrix.merged(test, results)
            self.table.update_test(self.matrix, test)
            self._show_detail()

    def action_replies(self) -> None:
        """Show the replies of all versions to the test under the cursor, the newest first."""
        if (test := self.table.test) is None:
            return
        matrix = self.matrix
        run = [version for version in reversed(matrix.versions) if matrix.result(test, version) is not None]
        replies = [Content("\n").join(reply_in_words(matrix, test, version)) for version in run]
        parts = [cell_in_words(matrix, test, None), *replies]
        self.app.push_screen(
            Reading(f"Test {test.id}", parts if run else [*parts, Content("No version was asked yet.")])
        )

    @background("change")
    async def action_add(self) -> None:
        """Ask for a prompt, then for the rule."""
        prompt = await self.app.push_screen_wait(
            EditText("Prompt of the new test", "", context="What every version is asked.")
        )
        if not prompt:
            return
        tags = self.llama.client.tags_in(prompt)
        if tags and not await self._allowed(tags):
            return
        rule = await self.app.push_screen_wait(RuleDialog("Rule for the reply", prompt, "contains "))
        if rule is not None:
            test = PinnedTest((Message("user", prompt, tags_allowed=bool(tags)),), rule)
            saved, new = await asyncio.to_thread(self.store.add_pinned_test, test)
            await self._read()
            self.llama.notify(f"Test {saved.id} is pinned. r runs it." if new else f"That is test {saved.id} already.")

    async def _allowed(self, tags: list[str]) -> bool:
        question = f"The prompt contains {' and '.join(tags)}, which Llama 2 reads as the end or start of a turn."
        answer = await self.app.push_screen_wait(Confirm("Pin it all the same?", question, yes="Pin", no="Go back"))
        return answer is True

    @background("change")
    async def action_edit(self) -> None:
        """Change the rule of the test; stored replies are judged by it at once."""
        test = self.table.test
        if test is None:
            return
        version = self.table.version or self.matrix.versions[-1]
        result = self.matrix.result(test, version)
        reply = None if result is None else result.reply
        asked = RuleDialog(f"Rule of test {test.id}", test.prompt, typed_rule(test.rule), reply)
        rule: Rule | None = await self.app.push_screen_wait(asked)
        if rule is not None and rule != test.rule:
            await asyncio.to_thread(self.store.change_pinned_test, test.id, rule)
            await self._read()

    @background("change")
    async def action_remove(self) -> None:
        """Remove the test; undo restores it with its results."""
        if (test := self.table.test) is not None:
            await asyncio.to_thread(self.store.remove_pinned_tests, [test.id])
            await self._read()
            self.llama.notify(f"Test {test.id} is removed. u restores it.", timeout=3)

    @background("change")
    async def action_undo(self) -> None:
        """Take the last action back, whichever screen it came from."""
        undone = await asyncio.to_thread(self.store.undo)
        self.llama.notify(f"Taken back: {undone}" if undone else "There is nothing to take back.", timeout=3)
        await self.llama.chat.refresh()
        self.llama.tell(CorpusChanged())


def _progress(step: Asking) -> Content:
    versions = ", ".join(render.line(version.address, 30) for version in step.versions)
    return Content.assemble(
        (f"Question {step.number} of {step.total} ", "bold $text-accent"),
        render.text(f"{versions}: {render.line(step.test.prompt, 60)}  "),
        ("esc stops", "dim"),
    )
