"""The gate for text that is not ours, and the drawing of replies behind it."""

from __future__ import annotations

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from tui import render
from tui.drawing import draw
from tui.look import Look
from tui.markdown import Blocks, Tail, wrapped

HOSTILE = [
    "\x1b]52;c;aGk=\x07",
    "\x1b[2J",
    "\x9b31m",
    "\x90q\x9c",
    "a\x00b",
    "\x7f",
    "\r",
    "\u202eabc",
    "\u2066x\u2069",
    "\ud800",
    "\u2028",
    "&#27;[31m",
    "&#8238;",
    "&#x9b;",
    "[x](http://a/\x1b[31m)",
    "`\x1b`",
    "```\x1b\n\x9b\n```",
    "| \x1b |\n|---|\n| \x9b |",
]
SAFE = {"\n", "\t"}
anything = st.text(st.characters(), max_size=200)


def dangerous(text: str) -> list[str]:
    """Characters that a terminal could act on."""
    marks = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
    return [c for c in text if (unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") and c not in SAFE) or c in marks]


@given(anything)
def test_nothing_dangerous_is_left(text: str) -> None:
    assert not dangerous(render.clean(text))


@given(anything.filter(lambda text: "\n" not in text))
def test_an_editor_shows_one_harmless_character_for_each(text: str) -> None:
    assert len(render.pictured(text)) == len(text)
    assert not dangerous(render.pictured(text))


@given(anything)
def test_cleaning_twice_changes_nothing(text: str) -> None:
    assert render.clean(render.clean(text)) == render.clean(text)


def test_what_people_write_stays() -> None:
    for text in ("می‌خواهم", "👩‍💻🇮🇷", "你好", "a\tb\nc", "[/INST] [bold]x[/bold] <<SYS>>", "e\u0301"):
        assert render.clean(text) == text
    assert render.clean("a\r\nb") == "a\nb"
    assert render.clean("\x1b\x07\x7f\x9b\u202e") == "␛␇␡⟨9B⟩⟨RLO⟩"


@given(anything, st.data())
def test_a_stream_is_cleaned_as_the_whole(text: str, data: st.DataObject) -> None:
    text = text.encode("utf-8", "replace").decode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=5)))
    stream = render.Stream()
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert "".join(stream.feed(piece) for piece in pieces) + stream.flush() == render.clean(text)


def test_halves_of_a_character_are_held() -> None:
    stream = render.Stream()
    assert stream.feed("a\ud83d") == "a"
    assert stream.feed("\ude00b") == "😀b"
    assert stream.feed("x\r") == "x"
    assert stream.feed("\ny") == "\ny"
    assert stream.feed("\r") + stream.flush() == "␍"


@given(anything)
def test_text_and_cells_are_never_markup(text: str) -> None:
    assert render.text(text).plain == render.clean(text).replace("\r", "")
    assert "\n" not in render.cell(text).plain
    assert not dangerous(render.cell(text).plain)


def test_a_line_is_cut_with_an_ellipsis() -> None:
    assert render.line("a  b\nc", 80) == "a b c"
    assert render.line("abcdef", 4) == "abc…"


@given(st.text(st.sampled_from("ab \n`-*1.>#|你\x1b[&#27;"), max_size=200), st.integers(1, 40))
def test_no_drawing_is_dangerous(text: str, width: int) -> None:
    for line in draw(render.clean(text), width, Look()):
        assert not dangerous("".join(segment.text for segment in line))


def test_hostile_markdown_is_drawn_harmless() -> None:
    for text in HOSTILE:
        for shown in (draw(render.clean(text), 30, Look()), draw(text.encode("utf-8", "replace").decode(), 30, Look())):
            for line in shown:
                assert not dangerous("".join(segment.text for segment in line)), text
                assert not any(segment.style and segment.style.link for segment in line)


def test_tags_and_html_are_shown_as_they_are() -> None:
    drawn = draw("[/INST] <<SYS>> <b>x</b> [bold]y[/bold]\nnext", 60, Look())
    assert ["".join(s.text for s in line).rstrip() for line in drawn] == [
        "[/INST] <<SYS>> <b>x</b> [bold]y[/bold]",
        "next",
    ]


SAMPLE = """# Title
text

- one
- two

  more

  ```py
  x

  y
  ```
- three

after

```
a

b
```
end"""


@given(st.lists(st.integers(1, 9), min_size=1, max_size=80))
def test_blocks_do_not_depend_on_how_text_comes(sizes: list[int]) -> None:
    whole, pieces = Blocks(), Blocks()
    expected = whole.feed(SAMPLE) + whole.close()
    found, place = [], 0
    for size in sizes:
        found += pieces.feed(SAMPLE[place : place + size])
        place += size
    found += pieces.feed(SAMPLE[place:]) + pieces.close()
    assert found == expected


def test_blocks_are_what_markdown_calls_blocks() -> None:
    blocks = Blocks()
    found = [block.strip() for block in blocks.feed(SAMPLE) + blocks.close()]
    assert [block.splitlines()[0] for block in found] == ["# Title", "- one", "after", "```", "end"]


@given(st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=200), st.integers(1, 30), st.integers(1, 7))
def test_a_growing_tail_is_wrapped_as_the_whole(text: str, width: int, step: int) -> None:
    tail = Tail(width)
    for place in range(0, len(text), step):
        tail.feed(text[place : place + step])
    assert "".join(tail.rows).replace(" ", "") == "".join(wrapped(text, width)).replace(" ", "")
