"""Adapters: versions with parents, metrics and votes; use, roll back, compare, rename, remove, import, export.

Workers ask registry and host, handlers change widgets.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, TypeVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.widgets import DataTable, Static

from sessions.errors import AdapterError
from sessions.protocol import BASE
from sessions.registry import checked_adapter
from sessions.workspace import Workspace
from tui import render
from tui.messages import AdapterInUseChanged, AdaptersChanged, CorpusChanged, StoreOpened
from tui.screens.background import background
from tui.screens.mode import ModeScreen
from tui.widgets.charts import bar
from tui.widgets.dialogs import AskLine, Confirm
from tui.widgets.version_tree import Shelf, VersionTree, count_votes, detail_of

Result = TypeVar("Result")
NARROW = 100
STRONGEST, STEP = 1.5, 0.1
DIAL = 30
TEACH = """No adapter yet.

Keep or correct some replies in the chat (F2), then train on them (F4): the first version appears here,
and every further run makes the next one. It answers in the chat once you accept it with u.
i imports a PEFT folder."""


class AdaptersScreen(ModeScreen):
    """The tree of versions, the one under the cursor in full, and the strength of the one in use."""

    MODE: ClassVar[str] = "adapters"
    CSS_PATH = "adapters.tcss"
    AUTO_FOCUS = "VersionTree"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("u", "use", "Use", id="adapters.use"),
        Binding("r", "rollback", "Roll back", id="adapters.rollback"),
        Binding("space", "mark", "Mark", id="adapters.mark"),
        Binding("c", "compare", "Compare", id="adapters.compare"),
        Binding("minus", "strength(-1)", "Weaker", key_display="-", id="adapters.weaker"),
        Binding("plus", "strength(1)", "Stronger", key_display="+", id="adapters.stronger"),
        Binding("equals_sign", "strength(1)", show=False),
        Binding("t", "app.do('tests')", "Tests", tooltip="Pinned tests by version", id="adapters.tests"),
        Binding("e", "rename", "Rename", id="adapters.rename"),
        Binding("x", "remove", "Remove", id="adapters.remove"),
        Binding("delete", "remove", show=False),
        Binding("i", "import", "Import", id="adapters.import"),
        Binding("o", "export", "Export", id="adapters.export"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.shelf = Shelf()

    def body(self) -> ComposeResult:
        """Tree and detail; the dial below."""
        with Horizontal(id="adapter-panes"):
            yield VersionTree(id="versions")
            with VerticalScroll(id="version", can_focus=False):
                yield Static("", id="version-detail", markup=False)
        yield Static("", id="strength", markup=False)

    @property
    def tree_table(self) -> VersionTree:
        """The versions."""
        return self.query_one(VersionTree)

    # hearing and looking

    def on_screen_resume(self) -> None:
        """Versions come, go and are rolled back in other terminals too."""
        self.look()

    def on_store_opened(self, message: StoreOpened) -> None:
        """Votes can be read now."""
        self.look()

    def on_adapters_changed(self, message: AdaptersChanged) -> None:
        """A version came, went or became current."""
        self.look()

    def on_adapter_in_use_changed(self, message: AdapterInUseChanged) -> None:
        """Another version answers."""
        self.look()

    def on_corpus_changed(self, message: CorpusChanged) -> None:
        """A vote may have been cast."""
        if not message.ids:
            self.look()

    @background("look")
    async def look(self) -> None:
        """Read registry and votes."""
        in_use, opened = self.llama.adapter, self.llama.opened.is_set()
        self.shelf = await asyncio.to_thread(_read, self.llama.workspace, in_use, opened)
        self.tree_table.show(self.shelf)
        self._show_detail()
        self._show_strength()

    def on_data_table_row_highlighted(self, event: DataTable.RowHighlighted) -> None:
        """Show the version under the cursor in full."""
        self._show_detail()
        self.refresh_bindings()

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        """Enter uses it."""
        self.action_use()

    def on_resize(self) -> None:
        """Below each other where there is no room beside."""
        self.set_class(self.size.width < NARROW, "-narrow")

    def _show_detail(self) -> None:
        empty = not self.shelf.branches and not self.shelf.damaged
        content = Content(TEACH) if empty else detail_of(self.shelf, self.tree_table.chosen)
        self.query_one("#version-detail", Static).update(content)

    def _show_strength(self) -> None:
        adapter = self.llama.adapter
        if adapter == BASE or not self.llama.opened.is_set():
            line = Content.styled(
                "The base answers in the chat; an adapter in use has a strength from 0 to 1.5.", "dim"
            )
        else:
            strength = self.llama.chat.strength
            meaning = "as the base" if strength == 0 else "as trained" if strength == 1 else ""
            line = Content.assemble(
                f"{render.line(adapter, 40)} at strength ",
                (f"{strength:.1f} ", "bold"),
                (bar(strength / STRONGEST, DIAL), "$primary on $background"),
                (f" {meaning}", "dim"),
            )
        self.query_one("#strength", Static).update(line)

    # doing

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Only what the row under the cursor allows is in the footer."""
        if action in ("rollback", "rename", "remove", "export") and self.is_mounted:
            return self.tree_table.chosen not in (None, BASE)
        if action == "strength":
            return self.llama.adapter != BASE
        return True

    @background("use")
    async def action_use(self) -> None:
        """Load, probe and answer with this version from now on; the base is never reloaded."""
        if (chosen := self.tree_table.chosen) is not None:
            await self.llama.answering.accept(chosen)

    @background("use")
    async def action_rollback(self) -> None:
        """Back to the version that was accepted before the current one of this name."""
        name = self._chosen_name()
        if name is not None:
            await self.llama.answering.roll_back(name)

    def action_mark(self) -> None:
        """Mark for a comparison."""
        self.tree_table.toggle()

    async def action_compare(self) -> None:
        """The two marked ones; one against what is in use, or its parent."""
        from tui.screens.compare import compare_on

        left, right = self._pair()
        if left == right:
            self.llama.notify("Mark two versions with space, or go to another one than the base.", severity="warning")
            return
        await compare_on(self.llama, left, right)

    def _pair(self) -> tuple[str, str]:
        marked, chosen = self.tree_table.marked, self.tree_table.chosen or BASE
        if len(marked) == 2:
            return marked[0], marked[1]
        right = marked[0] if marked else chosen
        lineage = self.shelf.lineage(right)
        others = [chosen, self.llama.adapter, lineage.parent if lineage else BASE, BASE]
        there = {BASE, *(each.lineage.address for each in self.shelf.branches)} - {right}
        return next((other for other in others if other in there), right), right

    async def action_strength(self, by: int) -> None:
        """Scale the effect of the adapter in use; 0 is the base, 1 as it was trained."""
        self.llama.set_strength(round(min(STRONGEST, max(0.0, self.llama.chat.strength + by * STEP)), 1))
        self._show_strength()

    @background("change")
    async def action_rename(self) -> None:
        """Another name for all versions."""
        name = self._chosen_name()
        if name is None:
            return
        hint = f"All versions of {name} get this name. Letters, digits, dots, underscores and dashes."
        new = await self.app.push_screen_wait(AskLine(f"Rename {name}", name, hint=hint, check=checked_adapter))
        if not new or new == name:
            return
        await asyncio.to_thread(self.llama.workspace.rename, name, new)
        await self.llama.answering.follow()

    @background("change")
    async def action_remove(self) -> None:
        """Remove one version, after a question; the one in use is refused."""
        chosen = self.tree_table.chosen
        if chosen is None or chosen == BASE:
            return
        if chosen == self.llama.adapter:
            self.llama.report(_in_use(chosen))
            return
        question = f"{chosen} is removed from the disk. The replies that it was trained on stay in the corpus."
        answer = await self.app.push_screen_wait(Confirm("Remove a version?", question, yes="Remove", no="Keep it"))
        if answer is True:
            await asyncio.to_thread(self.llama.workspace.remove, chosen)
            await self.llama.answering.follow()

    @background("change")
    async def action_import(self) -> None:
        """Copy a PEFT folder in as the next version of a name."""
        hint = "A PEFT folder: adapter_config.json and adapter_model.safetensors. tab completes the path."
        folder = await self.app.push_screen_wait(AskLine("Import an adapter", hint=hint, folder=True))
        if not folder:
            return
        path = _path(folder)
        hint = "Its name here. A name that is there already gets a new version."
        name = await self.app.push_screen_wait(AskLine("Name", _proposed(path), hint=hint, check=checked_adapter))
        if name:
            made = await self._changed(lambda: self.llama.workspace.registry.import_folder(path, name))
            self.llama.notify(f"{made} is imported. u uses it.")

    @background("change")
    async def action_export(self) -> None:
        """Copy a version out as a PEFT folder."""
        chosen = self.tree_table.chosen
        if chosen is None or chosen == BASE:
            return
        proposed = str(self.llama.workspace.paths.exports / chosen.replace("/", "-"))
        hint = "A new or empty folder. PEFT's from_pretrained opens it."
        typed = await self.app.push_screen_wait(AskLine(f"Export {chosen}", proposed, hint=hint, folder=True))
        if typed:
            target = _path(typed)
            await asyncio.to_thread(self.llama.workspace.registry.export, chosen, target)
            self.llama.notify(f"Written to {target}.")

    async def _changed(self, change: Callable[[], Result]) -> Result:
        """Change the registry in a thread, then tell the screens."""
        result = await asyncio.to_thread(change)
        self.llama.tell(AdaptersChanged())
        return result

    def _chosen_name(self) -> str | None:
        chosen = self.tree_table.chosen
        return None if chosen in (None, BASE) else str(chosen).partition("/")[0]


def _read(workspace: Workspace, in_use: str, opened: bool) -> Shelf:
    registry = workspace.registry
    damaged = [error for name in registry.names() for error in registry.damaged(name)]
    votes = count_votes(workspace.store.verdicts()) if opened else {}
    return Shelf(registry.tree(), damaged, votes, in_use)


def _path(typed: str) -> Path:
    return Path(typed).expanduser()


def _proposed(folder: Path) -> str:
    kept = "".join(each if each.isascii() and (each.isalnum() or each in "._-") else "-" for each in folder.name)
    return kept.strip(".-")[:64] or "imported"


def _in_use(adapter: str) -> AdapterError:
    return AdapterError(
        f"{adapter} answers in the chat.",
        data="Nothing was removed.",
        remedy="Use another version first (u), or roll back (r).",
    )
