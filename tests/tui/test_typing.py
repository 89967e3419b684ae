"""Keys that come faster than they are handled take effect in the order they were typed."""

from __future__ import annotations

from pathlib import Path

from textual import events
from textual.geometry import Region
from textual.widgets import Input

from tests.tui.driving import driven
from tui.app import LlamaTuiApp
from tui.widgets.inline_editor import InlineEditor


def type_at_once(app: LlamaTuiApp, *keys: str) -> None:
    """Hand all keys to the app before it can handle the first."""
    for key in keys:
        for one in [key] if len(key) == 1 or "+" in key or key in ("enter", "escape") else key:
            letter = one if len(one) == 1 else None
            name = {" ": "space", ".": "full_stop", "?": "question_mark"}.get(one, one)
            app.post_message(events.Key(name, letter))


async def test_a_prompt_typed_in_one_go_is_sent_whole(tmp_path: Path) -> None:
    async with driven(tmp_path) as driven_app:
        type_at_once(driven_app.app, "first line", "ctrl+j", "second line", "enter")
        await driven_app.until(lambda: driven_app.served.engine.requests)
        assert driven_app.served.engine.requests[0].dialog[-1].content == "first line\nsecond line"


async def test_a_correction_typed_in_one_go_is_saved_whole(tmp_path: Path) -> None:
    async with driven(tmp_path) as driven_app:
        await driven_app.ask("hello")
        await driven_app.pilot.press("ctrl+e")
        await driven_app.pilot.pause()
        type_at_once(driven_app.app, " and more of it", "ctrl+s")
        store = driven_app.app.workspace.store
        await driven_app.until(lambda: store.exchange(driven_app.app.chat.branch[-1].id).corrected)
        assert store.exchange(driven_app.app.chat.branch[-1].id).reply == "base heard: hello and more of it"


async def test_an_editor_that_is_taken_away_while_the_screen_is_painted_harms_nothing(tmp_path: Path) -> None:
    async with driven(tmp_path) as driven_app:
        await driven_app.ask("hello")
        await driven_app.pilot.press("ctrl+e")
        await driven_app.until(lambda: driven_app.chat.editor is not None)
        area = driven_app.chat.query_one(InlineEditor).area
        parent, area._parent = area._parent, None
        assert [strip.text for strip in area.render_lines(Region(0, 0, 5, 2))] == [" " * 5] * 2
        area._parent = parent


async def test_what_is_pasted_into_a_line_reaches_the_screen_clean(tmp_path: Path) -> None:
    async with driven(tmp_path) as driven_app:
        await driven_app.pilot.press("ctrl+o")
        await driven_app.until(lambda: isinstance(driven_app.app.focused, Input))
        driven_app.app.post_message(events.Paste("a\x1b]52;c;eA==\x07b"))
        line = driven_app.app.focused
        assert isinstance(line, Input)
        await driven_app.until(lambda: line.value)
        assert "\x1b" not in line.value and "\x07" not in line.value and line.value.startswith("a")


def test_the_text_of_an_editor_without_its_text_area() -> None:
    """A draft is saved on a timer, also while the editor is being mounted or removed."""
    assert InlineEditor(3, "correct", "as it was").text == "as it was"
