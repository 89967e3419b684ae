"""The import dialog by keys: Tab completes while there is something to complete, the arrows go from field to field."""

from __future__ import annotations

from pathlib import Path

from textual.widgets import Input, Select

from tests.tui.driving import Driven, driven
from tui.screens.corpus import CorpusScreen
from tui.widgets.file_dialogs import ImportDialog

OFFERED = "tab or → completes"


async def asked(it: Driven) -> Input:
    await it.pilot.press("f3")
    await it.until(lambda: isinstance(it.app.screen, CorpusScreen))
    await it.pilot.press("I")
    await it.until(lambda: isinstance(it.app.screen, ImportDialog) and it.app.focused is not None)
    return it.app.screen.query_one("#path", Input)


async def test_tab_completes_and_then_goes_on(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "rows.jsonl").touch()
    async with driven(tmp_path) as it:
        field = await asked(it)
        assert OFFERED not in it.shown()
        field.value = f"{tmp_path}/da"
        field.cursor_position = len(field.value)
        for completed in ("data/", "data/rows.jsonl"):
            await it.until(lambda: OFFERED in it.shown())
            await it.pilot.press("tab")
            assert field.value == f"{tmp_path}/{completed}" and field.has_focus
        await it.until(lambda: OFFERED not in it.shown())
        await it.pilot.press("tab")
        await it.until(lambda: it.app.focused is not None and it.app.focused.id == "format")
        assert field.value == f"{tmp_path}/data/rows.jsonl"


async def test_a_name_that_nothing_begins_with_goes_on(tmp_path: Path) -> None:
    async with driven(tmp_path) as it:
        field = await asked(it)
        await it.pilot.press(*"jane/rows")
        await it.pilot.press("tab")
        await it.until(lambda: it.app.focused is not None and it.app.focused.id == "format")
        assert field.value == "jane/rows"


async def test_arrows_go_past_a_closed_choice(tmp_path: Path) -> None:
    async with driven(tmp_path) as it:
        await asked(it)
        seen = []
        for _ in range(3):
            await it.pilot.press("down")
            assert it.app.focused is not None
            seen.append(it.app.focused.id)
        assert seen == ["format", "status", "dry"]
        await it.pilot.press("up", "up")
        assert it.app.focused is not None and it.app.focused.id == "format"
        choice = it.app.screen.query_one("#format", Select)
        assert not choice.expanded
        await it.pilot.press("space")
        await it.until(lambda: choice.expanded)
        await it.pilot.press("down", "enter")
        await it.until(lambda: not choice.expanded and choice.value == "messages")
        assert isinstance(it.app.screen, ImportDialog)
