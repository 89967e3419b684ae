"""Pinned tests in the app: /pin in the chat, the matrix by keys, over a host with a fake engine."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.widgets import Input, TextArea

from corpora.dialog import Message
from corpora.pinned import Kind, PinnedTest, Rule
from corpora.store import Store
from sessions.engine.fake import FakeEngine
from sessions.pinned_matrix import versions_of
from sessions.protocol import BASE, Generate
from sessions.registry import Registry
from tests.hosts import MODEL
from tests.tui import worlds
from tests.tui.driving import Driven, driven, paths_in
from tui.screens.adapters import AdaptersScreen
from tui.screens.chat import ChatScreen
from tui.screens.help import HelpScreen
from tui.screens.tests import PinnedTestsScreen
from tui.widgets.dialogs import Confirm, EditText, Reading
from tui.widgets.rows import Rows
from tui.widgets.rule_dialog import RuleDialog

FIRST, SECOND, THIRD = "mine/v1", "mine/v2", "mine/v3"


def replies(request: Generate, adapter: str) -> str:
    """`mine/v1` learned the cat, `mine/v2` forgot the river, `mine/v3` the cat."""
    prompt = request.dialog[-1].content
    if "cat" in prompt:
        return "Your cat is called Miso. 🐱" if adapter in (FIRST, SECOND) else "I do not know."
    if "river" in prompt:
        return f"Paris {worlds.HOSTILE}" if adapter in (SECOND, THIRD) else "The Seine. 塞纳河 رود سن"
    return f"{adapter} heard: {prompt}"


def fill(folder: Path, *, asked: bool = True) -> list[PinnedTest]:
    """Three versions and three tests; with `asked` everything has run but the last test."""
    paths = paths_in(folder)
    parent = BASE
    for number in range(3):
        parent = worlds.publish(paths, parent=parent, created=1000.0 + number)
    Registry(paths).use(parent)
    with Store(paths.corpus) as store:
        made = [
            store.add_pinned_test(PinnedTest((*said, Message("user", prompt, tags_allowed=True)), rule))[0]
            for said, prompt, rule in (
                ((), "What is my cat called?", Rule(Kind.CONTAINS, "miso")),
                (
                    (Message("system", "Be brief."), Message("user", "Hi"), Message("assistant", "Hello.")),
                    f"Which river? 你好 سلام {worlds.HOSTILE}",
                    Rule(Kind.NOT_CONTAINS, "Paris"),
                ),
                ((), "Anything", Rule(Kind.REGEX, "^(base|mine/v3) heard")),
            )
        ]
        for version in versions_of(Registry(paths), MODEL) if asked else ():
            results = [test.judge(replies(Generate(id="", dialog=test.dialog), version.address)) for test in made[:2]]
            store.save_pinned_results(version.digest, MODEL, results)
    return made


def matrix(it: Driven) -> PinnedTestsScreen:
    assert isinstance(it.app.screen, PinnedTestsScreen), it.app.screen
    return it.app.screen


async def open_tests(it: Driven, rows: int) -> PinnedTestsScreen:
    await it.pilot.press("f5")
    await it.until(lambda: isinstance(it.app.screen, AdaptersScreen))
    await it.pilot.press("t")
    await it.until(lambda: isinstance(it.app.screen, PinnedTestsScreen) and matrix(it).table.row_count == rows)
    return matrix(it)


def cells(it: Driven) -> list[list[str]]:
    """The results, row by row, without the tests' own columns."""
    table = matrix(it).table
    first = table.fixed_columns
    return [
        [table.cell_at(row, column).strip() for column in range(first, len(table.columns))]
        for row in range(table.row_count)
    ]


async def test_without_tests_it_teaches(tmp_path: Path) -> None:
    async with driven(tmp_path) as it:
        await open_tests(it, 0)
        await it.until(lambda: "No pinned test yet." in it.shown() and "/pin in the chat" in it.shown())
        assert " r Run" not in it.shown() and "a Add" in it.shown()
        for key in ("r", "R", "e", "x", "enter", "u"):
            await it.pilot.press(key)
        await it.pilot.press("escape")
        await it.until(lambda: isinstance(it.app.screen, AdaptersScreen))


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_the_matrix_shows_who_passes_and_what_flipped(tmp_path: Path, size: tuple[int, int]) -> None:
    fill(tmp_path)
    async with driven(tmp_path, FakeEngine(script=replies), size=size) as it:
        screen = await open_tests(it, 3)
        assert cells(it) == [["✗", "✓ ▲", "✓", "✗ ▼"], ["✓", "✓", "✗ ▼", "✗"], ["·", "·", "·", "·"]]
        assert screen.table.version is not None and screen.table.version.address == THIRD
        await it.until(lambda: "mine/v3 passes 0 of 3 · 1 not run · ▼ 1 broken" in it.shown())
        assert "What is my cat called?" in it.shown() and "● mine/v3" in it.shown()
        await it.until(lambda: "mine/v3 fails, where mine/v2 passed" in it.shown())
        assert "I do not know." in it.shown() and "does not contain “miso”" in it.shown()
        await it.pilot.press("left")
        await it.until(lambda: "Your cat is called Miso. 🐱" in it.shown())
        await it.pilot.press("down")
        await it.until(lambda: "System prompt: Be brief." in it.shown() and "After 1 earlier exchange" in it.shown())
        assert "\x1b" not in it.shown() and "\u202e" not in it.shown()
        await it.pilot.press("j")
        await it.until(lambda: "was not asked yet" in it.shown())


async def test_r_asks_what_was_not_asked_and_shift_r_one_version_again(tmp_path: Path) -> None:
    fill(tmp_path)
    engine = FakeEngine(script=replies)
    async with driven(tmp_path, engine, size=(120, 40)) as it:
        screen = await open_tests(it, 3)
        await it.pilot.press("r")
        await it.until(lambda: cells(it)[2] == ["✓", "✗ ▼", "✗", "✓ ▲"] and not screen.running)
        assert [(len(request.adapters), request.sampling.temperature) for request in engine.requests] == [(4, 0.0)]
        await it.until(lambda: "mine/v3 passes 1 of 3 · ▼ 1 broken · ▲ 1 fixed" in it.shown())
        await it.pilot.press("r")
        await it.until(lambda: "Every version was asked every test." in it.shown())
        engine.script = lambda request, adapter: "Miso, by the Seine"
        await it.pilot.press("R")
        await it.until(lambda: not screen.running and [row[3] for row in cells(it)] == ["✓", "✓ ▲", "✗"])
        assert {request.adapters for request in engine.requests[1:]} == {(THIRD,)} and len(engine.requests) == 4


async def test_escape_stops_a_run_and_what_came_stays(tmp_path: Path) -> None:
    fill(tmp_path, asked=False)
    engine = FakeEngine(script=lambda request, adapter: "word " * (1 if "cat" in request.dialog[-1].content else 9999))
    async with driven(tmp_path, engine, size=(120, 40)) as it:
        screen = await open_tests(it, 3)
        engine.pause = 0.02
        await it.pilot.press("r")
        await it.until(lambda: cells(it)[0] == ["✗"] * 4 and "Question 2 of 3" in it.shown())
        await it.pilot.press("escape")
        await it.until(lambda: not screen.running and "passes 0 of 3 · 2 not run" in it.shown())
        assert matrix(it) is screen and cells(it)[1] == ["·"] * 4


async def test_what_cannot_be_loaded_is_told_and_the_others_run(tmp_path: Path) -> None:
    fill(tmp_path, asked=False)
    async with driven(tmp_path, FakeEngine(script=replies, known=[FIRST, THIRD]), size=(120, 40)) as it:
        screen = await open_tests(it, 3)
        await it.pilot.press("r")
        await it.until(lambda: "There is no adapter mine/v2" in it.shown())
        await it.until(lambda: not screen.running and [row[2] for row in cells(it)] == ["·"] * 3)
        assert cells(it)[0] == ["✗", "✓ ▲", "·", "✗"]


async def test_a_test_is_added_changed_removed_and_restored(tmp_path: Path) -> None:
    fill(tmp_path)
    async with driven(tmp_path, FakeEngine(script=replies)) as it:
        screen = await open_tests(it, 3)
        await it.pilot.press("a")
        await it.until(lambda: isinstance(it.app.screen, EditText))
        it.app.screen.query_one(TextArea).text = "Who? 你是谁 [/INST]"
        await it.pilot.press("ctrl+s")
        await it.until(lambda: isinstance(it.app.screen, Confirm) and "[/INST]" in it.shown())
        await it.pilot.press("y")
        await it.until(lambda: isinstance(it.app.screen, RuleDialog))
        field = it.app.screen.query_one(Input)
        field.value = "regex ("
        await it.pilot.press("enter")
        await it.until(lambda: "cannot be used" in it.shown())
        field.value = "not  سلام"
        await it.pilot.press("enter")
        await it.until(lambda: it.app.screen is screen and screen.table.row_count == 4)
        added = screen.matrix.tests[3]
        assert added.describe() == "does not contain “سلام”" and added.dialog[0].tags_allowed
        assert screen.table.test is not None and screen.table.test.id == 1

        await it.pilot.press("e")
        await it.until(lambda: isinstance(it.app.screen, RuleDialog) and "✗ The reply does not" in it.shown())
        field = it.app.screen.query_one(Input)
        assert field.value == "contains miso"
        field.value = "contains i do not"
        await it.until(lambda: "✓ This reply passes." in it.shown())
        await it.pilot.press("enter")
        await it.until(lambda: it.app.screen is screen and cells(it)[0] == ["✓", "✗ ▼", "✗", "✓ ▲"])
        await it.pilot.press("e")
        await it.until(lambda: isinstance(it.app.screen, RuleDialog))
        await it.pilot.press("escape")
        await it.until(lambda: it.app.screen is screen)

        await it.pilot.press("delete")
        await it.until(lambda: screen.table.row_count == 3 and "u restores it" in it.shown())
        await it.pilot.press("u")
        await it.until(lambda: screen.table.row_count == 4 and cells(it)[0] == ["✓", "✗ ▼", "✗", "✓ ▲"])
        await it.pilot.press("ctrl+z")
        await it.until(lambda: cells(it)[0] == ["✗", "✓ ▲", "✓", "✗ ▼"])


async def test_the_first_test_can_be_worked_on_at_once(tmp_path: Path) -> None:
    async with driven(tmp_path, FakeEngine(script=replies)) as it:
        screen = await open_tests(it, 0)
        await it.pilot.press("a")
        await it.until(lambda: isinstance(it.app.screen, EditText))
        it.app.screen.query_one(TextArea).text = "The river?"
        await it.pilot.press("ctrl+s")
        await it.until(lambda: isinstance(it.app.screen, RuleDialog))
        await it.pilot.press(*"paris", "enter")
        await it.until(lambda: it.app.screen is screen and screen.table.row_count == 1 and screen.table.has_focus)
        assert "⏎ Replies" in it.shown()
        await it.pilot.press("r")
        await it.until(lambda: cells(it) == [["✗"]])
        await it.pilot.press("x")
        await it.until(lambda: "No pinned test yet." in it.shown())
        await it.pilot.press("u")
        await it.until(lambda: cells(it) == [["✗"]] and screen.table.has_focus)


async def test_after_a_removal_the_cursor_stays_in_its_place(tmp_path: Path) -> None:
    fill(tmp_path)
    async with driven(tmp_path) as it:
        screen = await open_tests(it, 3)
        for remaining, shown in ((2, 3), (1, 1)):
            await it.pilot.press(*["down"] * (remaining - 1), "x")
            await it.until(lambda remaining=remaining: screen.table.row_count == remaining)
            assert screen.table.test is not None and screen.table.test.id == shown


async def test_enter_shows_the_replies_of_all_versions(tmp_path: Path) -> None:
    fill(tmp_path)
    async with driven(tmp_path, size=(120, 40)) as it:
        await open_tests(it, 3)
        await it.pilot.press("down", "enter")
        await it.until(lambda: isinstance(it.app.screen, Reading))
        shown = it.shown()
        assert "mine/v1 passes" in shown and "mine/v2 fails, where mine/v1 passed" in shown and "塞纳河" in shown
        assert "[bold]red[/bold]" in shown and "\x1b" not in shown
        await it.pilot.press("escape")
        await it.until(lambda: isinstance(it.app.screen, PinnedTestsScreen))


async def test_pin_proposes_a_rule_that_can_be_edited(tmp_path: Path) -> None:
    async with driven(tmp_path, FakeEngine(script=replies)) as it:
        await it.say("/pin")
        await it.until(lambda: "There is no" in it.shown())
        await it.ask("What is my cat called?")
        await it.app.actions.edited(it.last.id, "correct", "Your cat is called Miso. She is three.")
        await it.say("/pin")
        await it.until(lambda: isinstance(it.app.screen, RuleDialog) and "✓ This reply passes." in it.shown())
        field = it.app.screen.query_one(Input)
        assert field.value == "contains Your cat is called Miso"
        field.value = "contains Mouse"
        await it.until(lambda: "✗ The reply does not contain “Mouse”." in it.shown())
        field.value = "contains Miso"
        await it.pilot.press("enter")
        await it.until(lambda: "Pinned as test 1" in it.shown())
        await it.say("/pin regex (?i)miso")
        await it.until(lambda: "Pinned as test 2" in it.shown())
        await it.say("/pin nonsense")
        await it.until(lambda: "A rule cannot start with" in it.shown())
        found = it.app.chat.store.pinned_tests()
        assert [(test.prompt, test.describe()) for test in found] == [
            ("What is my cat called?", "contains “Miso”"),
            ("What is my cat called?", "matches /(?i)miso/"),
        ]
        await it.pilot.press("ctrl+z")
        await it.until(lambda: len(it.app.chat.store.pinned_tests()) == 1)
        await it.say("/tests change 1 not dog")
        await it.until(lambda: "does not contain “dog”" in it.shown())
        await it.say("/tests remove 1")
        await it.until(lambda: not it.app.chat.store.pinned_tests())


async def test_codes_in_prompt_rule_and_reply_stay_text(tmp_path: Path) -> None:
    engine = FakeEngine(script=lambda request, adapter: f"{worlds.HOSTILE} 你好 👩‍👩‍👧")
    async with driven(tmp_path, engine) as it:
        await it.ask(f"سلام {worlds.HOSTILE.replace('[/INST]', '')}")
        for typed in ("/pin", f"/pin not {worlds.HOSTILE}", f"/pin regex ({worlds.HOSTILE}", f"/pin {worlds.HOSTILE}"):
            await it.say(typed)
            await it.pilot.pause(0.05)
            await it.until(lambda: not {"\x1b", "\x07", "\x9b", "\u202e"} & {*it.shown()})
            if isinstance(it.app.screen, RuleDialog):
                assert "[bold]red[/bold]" in it.shown()
                await it.pilot.press("enter")
                await it.until(lambda: isinstance(it.app.screen, ChatScreen))
        await it.until(lambda: len(it.app.chat.store.pinned_tests()) == 2)
        await it.say("/tests run")
        await it.until(lambda: isinstance(it.app.screen, PinnedTestsScreen) and cells(it) == [["✓"], ["✗"]])
        await it.pilot.press("enter")
        await it.until(lambda: isinstance(it.app.screen, Reading))
        assert not {"\x1b", "\x07", "\x9b", "\u202e"} & {*it.shown()}


async def test_tests_run_from_the_chat_and_escape_leads_back(tmp_path: Path) -> None:
    fill(tmp_path, asked=False)
    async with driven(tmp_path, FakeEngine(script=replies), size=(120, 40)) as it:
        await it.say("/tests run")
        await it.until(lambda: isinstance(it.app.screen, PinnedTestsScreen))
        await it.until(lambda: cells(it)[0] == ["✗", "✓ ▲", "✓", "✗ ▼"] and not matrix(it).running)
        await it.pilot.press("f1")
        await it.until(lambda: isinstance(it.app.screen, HelpScreen) and it.app.screen.query("#here"))
        what = [row.what for row in it.app.screen.query_one("#here", Rows).rows]
        assert "Ask every version what it was not asked yet" in what and "Change the rule" in what
        await it.pilot.press("escape")
        await it.until(lambda: isinstance(it.app.screen, PinnedTestsScreen))
        await it.pilot.press("f5")
        await it.until(lambda: isinstance(it.app.screen, AdaptersScreen))
        await it.pilot.press("f2")
        await it.until(lambda: isinstance(it.app.screen, PinnedTestsScreen))
        await it.pilot.press("escape")
        await it.until(lambda: isinstance(it.app.screen, ChatScreen))


async def test_it_fits_other_sizes_and_keeps_its_place(tmp_path: Path) -> None:
    fill(tmp_path)
    async with driven(tmp_path, size=(120, 40)) as it:
        screen = await open_tests(it, 3)
        await it.pilot.press("down", "left")
        assert "does not contain" in it.shown()
        for size in ((80, 24), (40, 12), (200, 50)):
            await it.pilot.resize_terminal(*size)
            await it.pilot.pause(0.05)
            assert screen.table.test is not None and screen.table.test.id == 2
            assert screen.table.version is not None and screen.table.version.address == SECOND
