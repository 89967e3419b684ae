"""One exchange whole: the dialog above it, prompt, reply, the original where corrected, and what is known of it.

Is given values; knows nothing of the store.
"""

from __future__ import annotations

import difflib
import re
import time
from dataclasses import dataclass

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from corpora.dialog import Exchange, Status
from tui import render

STATUS_STYLE = {
    Status.PENDING: "$text-warning",
    Status.KEPT: "$text-success",
    Status.REJECTED: "$text-error",
    Status.DEFERRED: "$primary",
}
LONGEST_DIFF = 4000
EMPTY = """No exchange here yet.

Everything you say in the chat (F1 there tells how) is stored at once and shows up here.
[b]ctrl+k[/b] in the chat keeps a reply, [b]ctrl+e[/b] corrects it.
[b]I[/b] imports a file: messages, Alpaca, ShareGPT and more; [b]i[/b] works the pending ones one by one."""


@dataclass(frozen=True, slots=True)
class Shown:
    """An exchange with the dialog above it (this one last) and the versions that have seen it."""

    exchange: Exchange
    path: tuple[Exchange, ...]
    trained_in: tuple[str, ...]


class ExchangeDetail(VerticalScroll, can_focus=True):
    """A column of blocks; those with nothing to say are not there."""

    DEFAULT_CSS = """
    ExchangeDetail {
        padding: 0 1;
        scrollbar-size-vertical: 1;
        & > Static { height: auto; margin-bottom: 1; }
        & > .system, & > .above { border-left: outer $panel; padding-left: 1; color: $text-muted; }
        & > .prompt { border-left: outer $primary; padding-left: 1; }
        & > .reply { border-left: outer $success; padding-left: 1; }
        & > .original { border-left: outer $error; padding-left: 1; color: $text-muted; }
        & > .note { border-left: outer $warning; padding-left: 1; }
        & > .tokens { border-left: outer $accent; padding-left: 1; }
        & > .hidden { display: none; }
    }
    """
    BINDINGS = [
        Binding("j", "scroll_down", "Down", show=False),
        Binding("k", "scroll_up", "Up", show=False),
        Binding("g", "scroll_home", "Top", show=False),
        Binding("G", "scroll_end", "End", show=False),
    ]
    BLOCKS = ("facts", "system", "above", "prompt", "reply", "original", "note", "tokens", "empty")

    def compose(self) -> ComposeResult:
        """One Static for each block; texts of others are given as Content, never as markup."""
        for name in self.BLOCKS:
            yield Static("", classes=f"{name} hidden", markup=False)

    def show(self, shown: Shown | None) -> None:
        """Show an exchange, or what to do where there is none."""
        blocks = dict.fromkeys(self.BLOCKS, Content(""))
        if shown is None:
            blocks["empty"] = Content.from_markup(EMPTY)
        else:
            blocks |= _blocks(shown)
        for name, content in blocks.items():
            self._put(name, content)
        self.scroll_home(animate=False)

    def show_tokens(self, content: Content | None) -> None:
        """Show (or take away) the ids as the model will see them."""
        self._put("tokens", content or Content(""))
        if content is not None:
            self.query_one(".tokens").scroll_visible(animate=False)

    def _put(self, name: str, content: Content) -> None:
        block = self.query_one(f".{name}", Static)
        block.set_class(not content.plain, "hidden")
        block.update(content)


def _blocks(shown: Shown) -> dict[str, Content]:
    exchange = shown.exchange
    above = [f"{each.prompt}\n→ {each.reply}" for each in shown.path if each.id != exchange.id]
    return {
        "facts": _facts(exchange, shown.trained_in),
        "system": _titled("System", exchange.system) if exchange.system else Content(""),
        "above": _titled("Before", "\n\n".join(above)) if above else Content(""),
        "prompt": _titled("Prompt", exchange.prompt),
        "reply": _reply(exchange),
        "original": _titled("Original", exchange.original) if exchange.original is not None else Content(""),
        "note": _titled("Note", exchange.note) if exchange.note else Content(""),
    }


def _titled(title: str, text: str) -> Content:
    return Content.assemble((f"{title}\n", "bold dim"), render.text(text))


def _reply(exchange: Exchange) -> Content:
    title = "Reply, corrected" if exchange.corrected else "Reply"
    if exchange.original is None or len(exchange.original) + len(exchange.reply) > LONGEST_DIFF:
        return _titled(title, exchange.reply or "(empty)")
    return Content.assemble((f"{title}\n", "bold dim"), changes(exchange.original, exchange.reply))


def changes(before: str, after: str) -> Content:
    """The new text, with the words that were not in the old one marked."""
    old, new = (re.findall(r"\s+|\w+|[^\w\s]", render.clean(text)) for text in (before, after))
    parts: list[Content] = []
    for kind, _, _, start, end in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        text = "".join(new[start:end])
        parts.append(Content.styled(text, "$text-success underline") if kind != "equal" else Content(text))
    return Content("").join(parts)


def _facts(exchange: Exchange, trained_in: tuple[str, ...]) -> Content:
    status = Content.styled(exchange.status.value, f"bold {STATUS_STYLE[exchange.status]}")
    written = time.strftime("%Y-%m-%d %H:%M", time.localtime(exchange.created))
    facts = [f"#{exchange.id}", exchange.adapter if exchange.source == "chat" else exchange.source, written]
    if exchange.tokens:
        facts.append(f"{exchange.tokens} tokens")
    if exchange.rating:
        facts.append("★" * exchange.rating)
    parts = [status, Content.styled(" · ".join(["", *(render.line(fact, 60) for fact in facts)]), "dim")]
    if exchange.tags:
        parts.append(Content.styled("  " + render.line(" ".join(f"#{tag}" for tag in exchange.tags)), "$text-accent"))
    if trained_in:
        parts.append(Content.styled("  learned by " + render.line(", ".join(trained_in), 80), "$text-primary"))
    return Content("").join(parts)
