"""One exchange whole: the dialog above it, prompt, reply, the original where corrected, and what is known of it.

Is given values; knows nothing of the store.
"""

from __future__ import annotations

from dataclasses import dataclass

from textual.app import ComposeResult
from textual.content import Content

from corpora.dialog import Exchange, Status
from corpora.store import Correction
from tui import render
from tui.stars import stars
from tui.token_cells import Cell
from tui.widgets.detail import Detail, changes, titled, written
from tui.widgets.token_grid import TokenGrid

STATUS_STYLE = {
    Status.PENDING: "$text-warning",
    Status.KEPT: "$text-success",
    Status.REJECTED: "$text-error",
    Status.DEFERRED: "$primary",
}
EMPTY = """No exchange here yet.

Everything you say in the chat (F1 there tells how) is stored at once and shows up here.
[b]ctrl+k[/b] in the chat keeps a reply, [b]ctrl+e[/b] corrects it.
[b]I[/b] imports a file: messages, Alpaca, ShareGPT and more; [b]i[/b] works the pending ones one by one."""

NOTHING = "Nothing matches. [b]esc[/b] shows everything again, [b]f[/b] changes the filters."


@dataclass(frozen=True, slots=True)
class Shown:
    """An exchange with the dialog above it (this one last), the versions that have seen it, and earlier replies."""

    exchange: Exchange
    path: tuple[Exchange, ...]
    trained_in: tuple[str, ...]
    earlier: tuple[Correction, ...] = ()


@dataclass(frozen=True, slots=True)
class Tokens:
    """What the model sees of an exchange: what there is to say of it, and each token."""

    head: Content
    cells: tuple[Cell, ...] = ()

    @property
    def plain(self) -> str:
        """All of it as text."""
        return "".join((self.head.plain, "\n", *(cell.text for cell in self.cells)))


class ExchangeDetail(Detail):
    """The dialog above, prompt, reply, the original where corrected, a note, the ids."""

    DEFAULT_CSS = "ExchangeDetail .tokens { margin-bottom: 0; }"
    BLOCKS = ("facts", "system", "above", "prompt", "reply", "original", "earlier", "note", "tokens", "empty")

    def compose(self) -> ComposeResult:
        """The blocks, and the tokens as the last of them."""
        yield from super().compose()
        yield TokenGrid()

    def show(self, shown: Shown | None, *, filtered: bool = False) -> None:
        """Show an exchange, or what to do where there is none: none at all, or none that is `filtered`."""
        self.query_one(TokenGrid).show(())
        if shown is None:
            self.put_all({"empty": Content.from_markup(NOTHING if filtered else EMPTY)})
        else:
            self.put_all(_blocks(shown))

    def show_tokens(self, tokens: Tokens | None) -> None:
        """Show (or take away) the ids as the model will see them."""
        self.put("tokens", tokens.head if tokens else Content(""))
        self.query_one(TokenGrid).show(tokens.cells if tokens else ())
        if tokens is not None:
            self.call_after_refresh(self._scroll_to_tokens)

    def _scroll_to_tokens(self) -> None:
        """After the layout: what was hidden has no place before."""
        self.query_one(".tokens").scroll_visible(animate=False, top=True, immediate=True)


def _blocks(shown: Shown) -> dict[str, Content]:
    exchange = shown.exchange
    above = [f"{each.prompt}\n→ {each.reply}" for each in shown.path if each.id != exchange.id]
    return {
        "facts": _facts(exchange, shown.trained_in),
        "system": titled("System", exchange.system) if exchange.system else Content(""),
        "above": titled("Before", "\n\n".join(above)) if above else Content(""),
        "prompt": titled("Prompt", exchange.prompt),
        "reply": _reply(exchange),
        "original": titled("Original", exchange.original) if exchange.original is not None else Content(""),
        "earlier": _earlier(shown.earlier),
        "note": titled("Note", exchange.note) if exchange.note else Content(""),
    }


def _reply(exchange: Exchange) -> Content:
    if exchange.original is None:
        return titled("Reply", exchange.reply or "(empty)")
    return titled("Reply, corrected", changes(exchange.original, exchange.reply))


def _earlier(corrections: tuple[Correction, ...]) -> Content:
    """Corrections that later ones replaced; the first reply of all is the original."""
    replaced = [f"until {written(each.created)}\n{each.reply}" for each in corrections[1:]]
    return titled("Corrected before", "\n\n".join(replaced)) if replaced else Content("")


def _facts(exchange: Exchange, trained_in: tuple[str, ...]) -> Content:
    status = Content.styled(exchange.status.value, f"bold {STATUS_STYLE[exchange.status]}")
    origin = exchange.adapter if exchange.source == "chat" else exchange.source
    facts = [f"#{exchange.id}", origin, written(exchange.created)]
    if exchange.tokens:
        facts.append(f"{exchange.tokens} tokens")
    if exchange.rating:
        facts.append(stars(exchange.rating))
    parts = [status, Content.styled(" · ".join(["", *(render.line(fact, 60) for fact in facts)]), "dim")]
    if exchange.tags:
        parts.append(Content.styled("  " + render.line(" ".join(f"#{tag}" for tag in exchange.tags)), "$text-accent"))
    if trained_in:
        parts.append(Content.styled("  learned by " + render.line(", ".join(trained_in), 80), "$text-primary"))
    return Content("").join(parts)
