"""Closed blocks of Markdown as lines of segments. Imported late: Pygments loads slowly.

What Markdown decodes is cleaned again. HTML is text; links are shown with their address and cannot be
followed. Knows nothing of widgets.
"""

from __future__ import annotations

import io
from functools import cache
from typing import Any

from markdown_it import MarkdownIt
from rich import markdown
from rich.console import Console, ConsoleOptions, RenderResult
from rich.segment import Segment
from rich.syntax import Syntax
from rich.theme import Theme

from tui import render
from tui.look import Look

HIGHLIGHT_LIMIT = 20_000
"""Characters of a code block that are highlighted; a longer one is shown plain."""


def draw(block: str, width: int, look: Look) -> list[list[Segment]]:
    """A closed block as lines of segments, at most `width` cells wide."""
    console = _console(look)
    options = console.options.update(width=max(1, width), height=None)
    drawn = console.render_lines(Block(block, look), options, pad=False)
    lines = [[_safe(segment) for segment in line] for line in drawn]
    while lines and _blank(lines[-1]):
        lines.pop()
    while lines and _blank(lines[0]):
        lines.pop(0)
    return lines


class Heading(markdown.Heading):
    """Bold, at the left."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        self.text.justify = "left"
        yield self.text


class Code(markdown.CodeBlock):
    """On a ground of its own, wrapped, without a frame."""

    ground = "default"

    @classmethod
    def create(cls, markdown: Any, token: Any) -> Code:
        """As the parent does, with the block's ground."""
        element = cls((token.info or "").partition(" ")[0] or "text", markdown.code_theme)
        element.ground = markdown.ground
        return element

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        code = str(self.text).rstrip()
        lexer = self.lexer_name if len(code) <= HIGHLIGHT_LIMIT else "text"
        yield Syntax(code, lexer, theme=self.theme, word_wrap=True, padding=(0, 1), background_color=self.ground)


class Block(markdown.Markdown):
    """Markdown in which HTML is text and a line end stays a line end."""

    elements = {**markdown.Markdown.elements, "heading_open": Heading, "fence": Code, "code_block": Code}

    def __init__(self, text: str, look: Look) -> None:
        super().__init__("", code_theme=look.code, hyperlinks=False)
        self.ground = look.ground
        self.markup = text
        self.parsed = _parser().parse(text)
        for token in self.parsed:
            for child in token.children or ():
                child.type = "hardbreak" if child.type == "softbreak" else child.type


@cache
def _parser() -> MarkdownIt:
    return MarkdownIt("commonmark", {"html": False}).enable(["strikethrough", "table"])


@cache
def _console(look: Look) -> Console:
    styles = {
        "markdown.code": look.accent,
        "markdown.link": "underline",
        "markdown.link_url": look.muted,
        "markdown.block_quote": f"italic {look.muted}",
        "markdown.item.bullet": look.muted,
        "markdown.item.number": look.muted,
        "markdown.list": "none",
        "markdown.hr": look.muted,
        "markdown.table.border": look.muted,
        "markdown.table.header": "bold",
        **{f"markdown.h{level}": "bold" for level in range(1, 8)},
    }
    return Console(
        file=io.StringIO(),
        width=80,
        theme=Theme(styles),
        color_system="truecolor",
        force_terminal=True,
        legacy_windows=False,
        markup=False,
        emoji=False,
        highlight=False,
        _environ={},
    )


def _blank(line: list[Segment]) -> bool:
    return not "".join(segment.text for segment in line).strip() and not any(
        segment.style and segment.style.bgcolor for segment in line
    )


def _safe(segment: Segment) -> Segment:
    return Segment(render.clean(segment.text).replace("\n", " "), segment.style)
