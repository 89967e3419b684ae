"""Groups of kept replies, by source, tag, date and chat, each switched on or off; the answer is a `Selection`."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from corpora.errors import LlamaTuiError
from corpora.selection import GROUPINGS, OWN, By, Chosen, GroupCount, Selection, choose
from corpora.store import Store
from tui import render
from tui.widgets.dialogs import Dialog

KINDS: dict[By, str] = {"source": "Source", "tag": "Tag", "date": "Date", "chat": "Chat"}
ON, OFF = "●", "○"
KEYS = "space on/off · a all · ←→ kind · enter applies · esc cancels"
COUNTING = "Counting…"


@dataclass(frozen=True, slots=True)
class Counted:
    """A selection applied, its groups of one kind, and the titles of chats."""

    chosen: Chosen
    groups: tuple[GroupCount, ...]
    titles: dict[int, str]


class GroupPanel(Dialog[Selection]):
    """Counts again after every switch."""

    DEFAULT_CSS = """
    GroupPanel {
        & > .window { height: 90%; max-height: 30; }
        & .kinds, & .total { height: 1; }
        & OptionList {
            height: 1fr; border: none; padding: 0; margin: 1 0; background: $surface; scrollbar-size-vertical: 1;
        }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "switch", "On or off"),
        Binding("a", "all", "All on or off"),
        Binding("right,tab", "kind(1)", "Next kind", priority=True),
        Binding("left,shift+tab", "kind(-1)", "Kind before", priority=True),
        Binding("enter,ctrl+s", "apply", "Apply", priority=True),
    ]

    def __init__(self, store: Store, selection: Selection) -> None:
        super().__init__()
        self.store = store
        self.selection = selection
        self.by: By = "source"
        self.groups: tuple[GroupCount, ...] = ()
        self.switched = False

    def compose(self) -> ComposeResult:
        """Kinds, groups, the total."""
        with self.window("Groups of kept replies"):
            yield Static("", classes="kinds", markup=False)
            yield OptionList(compact=True, markup=False)
            yield Static(COUNTING, classes="total", markup=False)
            yield Static("", classes="error", markup=False)
            yield Static(KEYS, classes="keys", markup=False)

    def on_mount(self) -> None:
        """Count for the first time."""
        self.query_one(OptionList).focus()
        self._count()

    def action_kind(self, step: int) -> None:
        """Show groups of another kind."""
        self.by = GROUPINGS[(GROUPINGS.index(self.by) + step) % len(GROUPINGS)]
        self.query_one(OptionList).highlighted = 0
        self._count()

    def action_switch(self) -> None:
        """Switch the group under the cursor."""
        at = self.query_one(OptionList).highlighted
        if at is not None and at < len(self.groups):
            self._switch((self.groups[at],), not self.selection.is_on(self.groups[at].group))

    def action_all(self) -> None:
        """Switch all groups of this kind off; on where none is on."""
        self._switch(self.groups, not any(self.selection.is_on(each.group) for each in self.groups))

    def action_apply(self) -> None:
        """Answer, where anything was switched."""
        self.dismiss(self.selection if self.switched else None)

    def _switch(self, groups: tuple[GroupCount, ...], on: bool) -> None:
        for each in groups:
            self.selection = self.selection.switched(each.group, on)
        self.switched = True
        self._count()

    def _count(self) -> None:
        self._read(self.selection, self.by)

    @work(exclusive=True)
    async def _read(self, selection: Selection, by: By) -> None:
        try:
            found = await asyncio.to_thread(_counted, self.store, selection, by)
        except LlamaTuiError as error:
            self.say_error(error)
            return
        self.groups = found.groups
        # The files that are on by default are known now.
        self.selection = found.chosen.selection
        self._draw(found)

    def _draw(self, found: Counted) -> None:
        kinds = [(f" {name} ", "bold reverse" if by == self.by else "dim") for by, name in KINDS.items()]
        self.query_one(".kinds", Static).update(Content.assemble(*kinds))
        lines = self.query_one(OptionList)
        at = lines.highlighted
        width = max(20, lines.content_size.width - 2)
        lines.set_options([Option(_line(each, self.selection, found.titles, width)) for each in found.groups])
        if found.groups:
            lines.highlighted = min(at or 0, len(found.groups) - 1)
        total = f"{len(found.chosen.wanted):,} of {len(found.chosen.replies):,} kept replies are selected"
        self.query_one(".total", Static).update(Content(total))


def _counted(store: Store, selection: Selection, by: By) -> Counted:
    chosen = choose(store, selection)
    groups = chosen.groups(by)
    titles = store.titles([int(each.group.value) for each in groups]) if by == "chat" else {}
    return Counted(chosen, groups, titles)


def _line(found: GroupCount, selection: Selection, titles: dict[int, str], width: int) -> Content:
    """Mark, name and counts, the counts flush right."""
    on = selection.is_on(found.group)
    mark = Content.styled(f"{ON} ", "$text-success") if on else Content.styled(f"{OFF} ", "dim")
    counts = Content.styled(f"  {found.selected:,} of {found.matching:,}", "dim")
    name = render.text(render.line(_name(found, titles), 200), "" if on else "dim")
    return mark + name.truncate(max(4, width - 2 - counts.cell_length), ellipsis=True, pad=True) + counts


def _name(found: GroupCount, titles: dict[int, str]) -> str:
    value = found.group.value
    match found.group.by:
        case "source":
            return "chats and corrections" if value == OWN else value
        case "tag":
            return f"#{value}" if value else "without a tag"
        case "chat":
            return titles.get(int(value), "") or f"chat {value}"
    return value
