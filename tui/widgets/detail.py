"""One row of a table whole, as a column of blocks of text. Is given values; knows nothing of the store."""

from __future__ import annotations

import difflib
import re
import time
from collections.abc import Mapping
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from tui import render

LONGEST_DIFF = 4000


class Detail(VerticalScroll, can_focus=True):
    """Blocks with nothing to say are not there."""

    DEFAULT_CSS = """
    Detail {
        padding: 0 1;
        scrollbar-size-vertical: 1;
        & .block { height: auto; margin-bottom: 1; }
        & .system, & .above { border-left: outer $panel; padding-left: 1; color: $text-muted; }
        & .prompt { border-left: outer $primary; padding-left: 1; }
        & .reply, & .chosen { border-left: outer $success; padding-left: 1; }
        & .original, & .earlier, & .rejected { border-left: outer $error; padding-left: 1; }
        & .original, & .earlier { color: $text-muted; }
        & .note { border-left: outer $warning; padding-left: 1; }
        & .tokens { border-left: outer $accent; padding-left: 1; }
        & .hidden { display: none; }
    }
    """
    BINDINGS = [
        Binding("j", "scroll_down", "Down", show=False),
        Binding("k", "scroll_up", "Up", show=False),
        Binding("g", "scroll_home", "Top", show=False),
        Binding("G", "scroll_end", "End", show=False),
    ]
    BLOCKS: ClassVar[tuple[str, ...]] = ()

    def compose(self) -> ComposeResult:
        """One Static for each block; texts of others are given as Content, never as markup."""
        for name in self.BLOCKS:
            yield self.block(name)

    def block(self, name: str) -> Static:
        """An empty block."""
        return Static("", classes=f"{name} block hidden", markup=False)

    def put_all(self, blocks: Mapping[str, Content]) -> None:
        """Show these blocks and no others, from the top."""
        for name in self.BLOCKS:
            self.put(name, blocks.get(name, Content("")))
        self.scroll_home(animate=False)

    def put(self, name: str, content: Content) -> None:
        """Show one block; an empty one goes."""
        block = self.query_one(f".{name}", Static)
        block.set_class(not content.plain, "hidden")
        block.update(content)


def titled(title: str, text: str | Content) -> Content:
    """A text under its name."""
    return Content.assemble((f"{title}\n", "bold dim"), render.text(text) if isinstance(text, str) else text)


def changes(before: str, after: str) -> Content:
    """The new text, with the words that were not in the old one marked; long ones as they are."""
    if len(before) + len(after) > LONGEST_DIFF:
        return render.text(after)
    old, new = (re.findall(r"\s+|\w+|[^\w\s]", render.clean(text)) for text in (before, after))
    parts: list[Content] = []
    for kind, _, _, start, end in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        text = "".join(new[start:end])
        parts.append(Content.styled(text, "$text-success underline") if kind != "equal" else Content(text))
    return Content("").join(parts)


def written(created: float) -> str:
    """A time as it is shown: the person's own, to the minute."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(created))
