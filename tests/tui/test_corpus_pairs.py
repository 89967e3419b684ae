"""Preference pairs on their screen, by keys, on a real store."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from textual.widgets import Input, Select, TextArea

from corpora.dialog import Message, Preference, Status
from corpora.store import Store
from tests.tui import worlds
from tests.tui.driving import Driven, driven, paths_in
from tests.tui.test_corpus import current, open_corpus, store
from tui.screens.corpus import CorpusScreen
from tui.screens.pairs import PairsScreen
from tui.widgets.dialogs import EditText
from tui.widgets.file_dialogs import ExportDialog
from tui.widgets.paged_table import PAGE


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Four pairs, the newest first: a vote, a correction, a file's, a correction."""
    worlds.fill_corpus(paths_in(tmp_path), 20)
    worlds.enrich(paths_in(tmp_path))
    return tmp_path


def pairs(it: Driven) -> PairsScreen:
    assert isinstance(it.app.screen, PairsScreen)
    return it.app.screen


def pair(it: Driven) -> Preference:
    found = pairs(it).table.current
    assert found is not None
    return found


async def open_pairs(it: Driven, count: int = 4) -> PairsScreen:
    await it.pilot.press("f3", "6")
    await it.until(lambda: isinstance(it.app.screen, PairsScreen) and pairs(it).table.count == count)
    await it.pilot.pause(0.1)
    return pairs(it)


async def test_the_way_back_from_a_whole_pair_stands_at_the_foot(home: Path) -> None:
    async with driven(home, size=(80, 24)) as it:
        await open_pairs(it)
        await it.pilot.press("enter")
        await it.until(lambda: pairs(it).has_class("-zoomed") and "esc Back" in it.shown())
        await it.pilot.press("escape")
        await it.until(lambda: not pairs(it).has_class("-zoomed") and "esc Back" not in it.shown())


async def test_pairs_are_browsed_with_their_dialog_and_origin(home: Path) -> None:
    async with driven(home, size=(120, 40)) as it:
        await open_pairs(it)
        await it.until(lambda: "vote for mine/v2" in it.shown() and "over base" in it.shown())
        await it.pilot.press("j")
        await it.until(lambda: "Corrected: 你好，终端。" in it.shown())
        assert f"a correction of exchange #{pair(it).exchange_id}" in " ".join(it.shown().split())
        await it.pilot.press("j")
        await it.until(lambda: "Before" in it.shown() and "→ Hello." in it.shown() and "Be brief." in it.shown())
        assert pair(it).source == "dpo.jsonl" and not any(code in it.shown() for code in "\x1b\x9b\x07\u202e")
        assert "[/INST] [bold]red[/bold]" in it.shown()
        await it.pilot.press("enter")
        await it.until(lambda: "Chosen" in it.shown() and "Prompt     Chosen" not in it.shown())
        line = next(line for line in it.shown().splitlines() if "Chosen" in line)
        assert "Rejected" in line
        await it.pilot.press("escape", "escape")
        await it.until(lambda: isinstance(it.app.screen, CorpusScreen))


async def test_search_and_sources(home: Path) -> None:
    async with driven(home) as it:
        screen = await open_pairs(it)
        await it.pilot.press("slash", *"brief", "enter")
        await it.until(lambda: screen.table.count == 1 and pair(it).source == "dpo.jsonl")
        await it.pilot.press("escape")
        await it.until(lambda: screen.table.count == 4)
        for source, count in (("correction", 2), ("dpo.jsonl", 1), ("vote", 1), ("", 4)):
            await it.pilot.press("f")
            wanted = (source,) if source else ()
            await it.until(lambda c=count, w=wanted: screen.table.count == c and screen.filters.where.sources == w)
        screen.filters.field.value = "tag:x"
        await it.until(lambda: "Pairs have no tag" in it.shown())
        screen.filters.field.value = "nowhere"
        await it.until(lambda: screen.table.count == 0 and "Nothing matches." in it.shown())


async def test_both_replies_are_edited_swapped_removed_and_taken_back(home: Path) -> None:
    async with driven(home) as it:
        screen = await open_pairs(it)
        before = store(it).preferences()
        for key, field in (("c", "chosen"), ("r", "rejected")):
            await it.pilot.press(key)
            await it.until(lambda: isinstance(it.app.screen, EditText))
            it.app.screen.query_one(TextArea).text = f"{field}: 更好 می‌خواهم"
            await it.pilot.press("ctrl+s")
            await it.until(
                lambda f=field: isinstance(it.app.screen, PairsScreen) and getattr(pair(it), f) == f"{f}: 更好 می‌خواهم"
            )
        await it.pilot.press("w")
        await it.until(lambda: pair(it).chosen == "rejected: 更好 می‌خواهم")
        await it.pilot.press("space", "space", "x")
        await it.until(lambda: screen.table.count == 2 and not screen.table.selected)
        await it.pilot.press("x")
        await it.until(lambda: screen.table.count == 1)
        await it.pilot.press(*"uuuuu")
        await it.until(lambda: store(it).preferences() == before)
        await it.until(lambda: screen.table.count == 4)


async def test_what_cannot_be_saved_is_said_and_stays_in_the_editor(home: Path) -> None:
    async with driven(home) as it:
        await open_pairs(it)
        before = pair(it)
        await it.pilot.press("c")
        await it.until(lambda: isinstance(it.app.screen, EditText))
        it.app.screen.query_one(TextArea).text = before.rejected
        await it.pilot.press("ctrl+s")
        await it.until(lambda: isinstance(it.app.screen, EditText) and "would be the same" in it.shown())
        area = it.app.screen.query_one(TextArea)
        assert area.text == before.rejected and store(it).preferences()[0] == before
        area.text = "better"
        await it.pilot.press("ctrl+s")
        await it.until(lambda: isinstance(it.app.screen, PairsScreen) and pair(it).chosen == "better")


async def test_a_pair_like_another_is_refused_at_a_swap(tmp_path: Path) -> None:
    worlds.fill_corpus(paths_in(tmp_path), 3)
    asked = (Message("user", "q"),)
    with Store(paths_in(tmp_path).corpus) as db:
        assert isinstance(db, Store)
        db.add_preferences([Preference(asked, "a", "b", "f"), Preference(asked, "b", "a", "f")])
    async with driven(tmp_path) as it:
        await open_pairs(it, 3)
        await it.pilot.press("w")
        await it.until(lambda: "the same as pair" in it.shown())
        assert [each.chosen for each in store(it).preferences()[:2]] == ["b", "a"]


async def test_from_a_pair_to_its_exchange_and_to_a_tab(home: Path) -> None:
    async with driven(home) as it:
        await open_pairs(it)
        await it.pilot.press("e")
        await it.until(lambda: "This pair comes from a vote" in it.shown())
        await it.pilot.press("j")
        wanted = pair(it).exchange_id
        await it.pilot.press("e")
        await it.until(lambda: isinstance(it.app.screen, CorpusScreen) and current(it).id == wanted)
        await it.pilot.press("6")
        await it.until(lambda: isinstance(it.app.screen, PairsScreen))
        await it.pilot.press("3")
        await it.until(lambda: isinstance(it.app.screen, CorpusScreen))
        await it.until(lambda: it.app.screen.filters.status is Status.KEPT)  # type: ignore[attr-defined]


async def test_a_correction_is_a_pair_at_once(tmp_path: Path) -> None:
    worlds.fill_corpus(paths_in(tmp_path), 4)
    async with driven(tmp_path) as it:
        await open_corpus(it, 7)
        await it.pilot.press("c")
        await it.until(lambda: isinstance(it.app.screen, EditText))
        it.app.screen.query_one(TextArea).text = "A better one."
        await it.pilot.press("ctrl+s")
        await it.until(lambda: isinstance(it.app.screen, CorpusScreen) and "pairs 2" in it.shown())
        await it.pilot.press("6")
        await it.until(lambda: isinstance(it.app.screen, PairsScreen) and pairs(it).table.count == 2)
        assert pair(it).chosen == "A better one."


async def test_what_is_shown_is_exported_for_dpo(home: Path, tmp_path: Path) -> None:
    out = tmp_path / "dpo.jsonl"
    async with driven(home) as it:
        screen = await open_pairs(it)
        screen.filters.field.value = "source:vote"
        await it.until(lambda: screen.table.count == 1)
        screen.table.focus()
        await it.pilot.press("E")
        await it.until(lambda: isinstance(it.app.screen, ExportDialog))
        it.app.screen.query_one("#path", Input).value = str(out)
        it.app.screen.query_one("#rows", Select).value = "what the filter shows"
        await it.pilot.press("enter")
        await it.until(lambda: out.exists() and "1 rows written" in " ".join(it.shown().split()))
    (row,) = map(json.loads, out.read_text().splitlines())
    assert row["chosen"] == [{"role": "assistant", "content": "I am right."}] and row["prompt"][-1]["role"] == "user"


async def test_no_pair_yet_teaches_and_no_key_fails(tmp_path: Path) -> None:
    async with driven(tmp_path) as it:
        await open_pairs(it, 0)
        await it.until(lambda: "No preference pair here yet" in it.shown())
        for key in ("c", "r", "w", "x", "e", "u", "f", "a", "space", "j", "z", "z", "enter"):
            await it.pilot.press(key)
        for width, height in ((40, 12), (20, 5), (200, 60), (80, 24)):
            await it.pilot.resize_terminal(width, height)
        assert isinstance(it.app.screen, PairsScreen)


async def test_pages_of_pairs_come_as_they_are_scrolled_to(tmp_path: Path) -> None:
    worlds.fill_corpus(paths_in(tmp_path), 1)
    asked = (Message("user", "q"),)
    with Store(paths_in(tmp_path).corpus) as db:
        assert isinstance(db, Store)
        db.add_preferences(Preference(asked, f"good {n}", f"bad {n}", "f") for n in range(999))
    async with driven(tmp_path) as it:
        screen = await open_pairs(it, 1000)
        await it.pilot.press("G")
        await it.until(lambda: screen.table.current is not None and pair(it).source == "correction")
        assert len(screen.table._pages) * PAGE < 1000
