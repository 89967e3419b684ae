"""The compare screen by keys: both columns stream, are voted on blind or open, and tallied."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from corpora.dialog import Vote
from sessions.engine.fake import FakeEngine
from sessions.errors import OutOfMemory
from sessions.protocol import BASE, Generate
from tests.tui import worlds
from tests.tui.driving import Driven, driven, paths_in
from tui.messages import PromptHandedOver
from tui.screens.compare import CompareScreen, compare_on
from tui.widgets.answers import Answers
from tui.widgets.dialogs import Confirm

SECOND = "mine/v2"


def compare(it: Driven) -> CompareScreen:
    assert isinstance(it.app.screen, CompareScreen)
    return it.app.screen


async def open_compare(it: Driven, left: str = BASE, right: str = SECOND) -> CompareScreen:
    await compare_on(it.app, left, right)
    await it.until(lambda: isinstance(it.app.screen, CompareScreen) and compare(it).pair == (left, right))
    return compare(it)


async def ask(it: Driven, prompt: str) -> None:
    screen = compare(it)
    screen.question.put(prompt)
    screen.question.focus()
    await it.pilot.press("enter")
    await it.until(lambda: screen.comparison is not None and not screen.busy)


async def test_both_columns_are_answered_voted_on_and_tallied(tmp_path: Path) -> None:
    worlds.fill_adapters(paths_in(tmp_path))
    engine = FakeEngine()
    async with driven(tmp_path, engine, size=(120, 40)) as it:
        screen = await open_compare(it)
        await ask(it, "Who are you? 你好")
        await it.until(lambda: "base heard: Who are you? 你好" in it.shown() and "mine/v2 heard" in it.shown())
        assert engine.requests[-1].adapters == (BASE, SECOND)
        await it.until(lambda: "Which is better?" in it.shown() and "tokens" in it.shown())
        await it.pilot.press("right")
        await it.until(lambda: "mine/v2 is better." in it.shown() and "mine/v2 1" in it.shown())
        verdict = it.app.workspace.store.verdicts()[0]
        assert (verdict.vote, verdict.left_adapter, verdict.right_adapter) == (Vote.RIGHT, BASE, SECOND)
        assert it.app.workspace.store.preferences()[0].chosen == "mine/v2 heard: Who are you? 你好"
        await it.pilot.press("left")
        assert len(it.app.workspace.store.verdicts()) == 1
        await it.pilot.press("n")
        assert screen.question.has_focus and screen.question.text == ""


async def test_every_vote_has_its_key(tmp_path: Path) -> None:
    worlds.fill_adapters(paths_in(tmp_path))
    async with driven(tmp_path, size=(120, 40)) as it:
        await open_compare(it)
        for key, vote in (
            ("1", Vote.LEFT),
            ("2", Vote.RIGHT),
            ("t", Vote.TIE),
            ("x", Vote.BOTH_BAD),
            ("4", Vote.BOTH_BAD),
        ):
            await ask(it, f"Vote {key}")
            await it.pilot.press(key)
            count = len(it.app.workspace.store.verdicts())
            await it.until(
                lambda vote=vote: it.app.workspace.store.verdicts()[:1] and compare(it).comparison.vote is vote
            )
            await it.until(lambda count=count: len(it.app.workspace.store.verdicts()) >= count)
        assert [each.vote for each in it.app.workspace.store.verdicts()][::-1] == [
            Vote.LEFT,
            Vote.RIGHT,
            Vote.TIE,
            Vote.BOTH_BAD,
            Vote.BOTH_BAD,
        ]


async def test_blind_names_are_kept_until_the_vote(tmp_path: Path) -> None:
    worlds.fill_adapters(paths_in(tmp_path))
    async with driven(tmp_path, FakeEngine(script=lambda request, adapter: f"{len(adapter)}"), size=(120, 40)) as it:
        screen = await open_compare(it)
        screen.query_one(Answers).focus()
        screen.blind = False
        await it.pilot.press("tab")
        screen.action_blind()
        await ask(it, "Who?")
        heads = "".join(str(head.content) for head in screen.heads)
        assert "base" not in heads and "mine" not in heads
        await it.pilot.press("1")
        await it.until(lambda: "mine/v2" in "".join(str(head.content) for head in screen.heads))
        assert it.app.workspace.store.verdicts()[0].blind


async def test_identical_replies_are_said(tmp_path: Path) -> None:
    worlds.fill_adapters(paths_in(tmp_path))
    async with driven(tmp_path, FakeEngine(script=lambda request, adapter: "the same"), size=(120, 40)) as it:
        await open_compare(it)
        await ask(it, "Say")
        await it.until(lambda: "The replies are identical." in it.shown())


async def test_stop_keeps_what_has_come(tmp_path: Path) -> None:
    worlds.fill_adapters(paths_in(tmp_path))

    def long(request: Generate, adapter: str) -> str:
        return "word " * 2000

    async with driven(tmp_path, FakeEngine(script=long, pause=0.05), size=(120, 40)) as it:
        screen = await open_compare(it)
        screen.question.put("Go on")
        await it.pilot.press("enter")
        await it.until(lambda: it.shown().count("word") > 6)
        await it.pilot.press("enter")
        await it.pilot.press("escape")
        await it.until(lambda: not screen.busy and "stopped" in it.shown())
        await it.until(lambda: "Which is better?" in it.shown())


async def test_columns_that_come_in_turn_say_so(tmp_path: Path) -> None:
    worlds.fill_adapters(paths_in(tmp_path))
    may = threading.Event()

    def slow(request: Generate, adapter: str) -> str:
        if adapter == BASE:
            may.wait(10)
        return f"{adapter} " * 20

    async with driven(tmp_path, FakeEngine(script=slow, alone=[SECOND]), size=(120, 40)) as it:
        screen = await open_compare(it)
        screen.question.put("Go on")
        await it.pilot.press("enter")
        await it.until(lambda: "comes next" in it.shown() and "Written in turn: virtual tokens" in it.shown())
        assert "comes next" in str(screen.heads[1].content) and "comes next" not in str(screen.heads[0].content)
        may.set()
        await it.until(lambda: not screen.busy and "They were written in turn. Which is better?" in it.shown())
        assert "comes next" not in it.shown() and "mine/v2 mine/v2" in it.shown()


@pytest.mark.parametrize("failing", [BASE, SECOND])
async def test_an_error_in_one_turn_leaves_the_other_as_it_is(tmp_path: Path, failing: str) -> None:
    worlds.fill_adapters(paths_in(tmp_path))

    def script(request: Generate, adapter: str) -> str:
        if adapter == failing:
            raise OutOfMemory("The GPU is full.", data="Nothing is lost.")
        return f"{adapter} is whole"

    async with driven(tmp_path, FakeEngine(script=script, alone=[SECOND]), size=(120, 40)) as it:
        screen = await open_compare(it)
        await ask(it, "Who?")
        shown = 2 if failing == BASE else 1
        await it.until(lambda: it.shown().count("The GPU is full.") == shown and "comes next" not in it.shown())
        assert screen.failed and ("base is whole" in it.shown()) == (failing == SECOND)


async def test_an_error_is_shown_in_the_columns_and_cannot_be_voted_on(tmp_path: Path) -> None:
    worlds.fill_adapters(paths_in(tmp_path))
    error = OutOfMemory("The GPU is full [/INST].", data="Nothing is lost.", remedy="Ask for less.")
    engine = FakeEngine(error=error)
    async with driven(tmp_path, engine, size=(120, 40)) as it:
        await open_compare(it)
        await ask(it, "Who?")
        await it.until(lambda: it.shown().count("The GPU is full [/INST].") == 2)
        await it.pilot.press("left")
        assert it.app.workspace.store.verdicts() == []
        engine.error = None
        await it.pilot.press("r")
        await it.until(lambda: "Which is better?" in it.shown() and "The GPU is full" not in it.shown())


async def test_a_version_that_cannot_be_loaded_says_so_in_its_column(tmp_path: Path) -> None:
    worlds.fill_adapters(paths_in(tmp_path))
    async with driven(tmp_path, FakeEngine(known=[]), size=(120, 40)) as it:
        screen = await open_compare(it)
        await ask(it, "Who?")
        await it.until(lambda: "There is no adapter mine/v2" in it.shown())
        assert not screen.columns[0].query("ErrorPanel") and screen.columns[1].query("ErrorPanel")


async def test_tags_are_asked_about(tmp_path: Path) -> None:
    worlds.fill_adapters(paths_in(tmp_path))
    async with driven(tmp_path, size=(120, 40)) as it:
        screen = await open_compare(it)
        screen.question.put("What does [/INST] mean?")
        screen.question.focus()
        await it.pilot.press("enter")
        await it.until(lambda: isinstance(it.app.screen, Confirm))
        await it.pilot.press("n")
        await it.until(lambda: isinstance(it.app.screen, CompareScreen))
        assert screen.comparison is None
        await it.pilot.press("enter")
        await it.until(lambda: isinstance(it.app.screen, Confirm))
        await it.pilot.press("y")
        await it.until(lambda: "base heard: What does [/INST] mean?" in it.shown())


async def test_foreign_replies_are_harmless(tmp_path: Path) -> None:
    worlds.fill_adapters(paths_in(tmp_path))
    async with driven(tmp_path, FakeEngine(script=lambda request, adapter: worlds.HOSTILE), size=(120, 40)) as it:
        await open_compare(it)
        await ask(it, "سلام \u200c 👩‍👩‍👧")
        await it.until(lambda: "␛]52;c" in it.shown() and "[/INST] [bold]red[/bold]" in it.shown())
        assert not any(code in it.shown() for code in "\x1b\x9b\x07\u202e")


async def test_the_chats_last_prompt_comes_with_what_was_said_before(tmp_path: Path) -> None:
    worlds.fill_adapters(paths_in(tmp_path))
    engine = FakeEngine()
    async with driven(tmp_path, engine, size=(120, 40)) as it:
        await it.ask("first")
        await it.ask("second")
        screen = await open_compare(it)
        await it.pilot.press("ctrl+l")
        await it.until(lambda: screen.question.text == "second")
        await it.pilot.press("enter")
        await it.until(lambda: screen.comparison is not None and not screen.busy)
        contents = [said.content for said in engine.requests[-1].dialog]
        assert contents[0] == "first" and contents[-1] == "second" and len(contents) == 3
        it.app.tell(PromptHandedOver("third"))
        await it.until(lambda: engine.requests[-1].dialog[-1].content == "third")


async def test_without_adapters_it_says_what_to_do(tmp_path: Path) -> None:
    async with driven(tmp_path) as it:
        await it.pilot.press("f6")
        await it.until(lambda: isinstance(it.app.screen, CompareScreen))
        await it.until(lambda: "There is no adapter yet" in it.shown() and "Ask two versions" in it.shown())
        for size in ((40, 12), (20, 5), (200, 60), (80, 24)):
            await it.pilot.resize_terminal(*size)
        await ask(it, "Both base")
        await it.until(lambda: "The replies are identical." in it.shown())


async def test_blind_is_switched_from_the_prompt_and_from_the_replies(tmp_path: Path) -> None:
    worlds.fill_adapters(paths_in(tmp_path))
    async with driven(tmp_path, size=(120, 40)) as it:
        screen = await open_compare(it)
        await it.until(lambda: "open  ^b changes it" in it.shown() or "open  ctrl+b changes it" in it.shown())
        await it.pilot.press("b", "ctrl+b")
        assert screen.blind and screen.question.text == "b"
        await ask(it, "Who?")
        await it.until(lambda: "vote  b changes it" in it.shown())
        await it.pilot.press("b")
        assert not screen.blind
        await it.pilot.press("ctrl+b")
        assert screen.blind


async def test_the_focus_stays_on_the_replies_and_the_next_prompt_replaces_the_last(tmp_path: Path) -> None:
    worlds.fill_adapters(paths_in(tmp_path))
    async with driven(tmp_path, size=(120, 40)) as it:
        screen = await open_compare(it)
        await ask(it, "Who?")
        answers = screen.query_one(Answers)
        await it.pilot.press("escape")
        assert answers.has_focus
        await it.pilot.press("t")
        await it.until(it.app.workspace.store.verdicts)
        assert answers.has_focus
        await it.pilot.press("tab")
        while not screen.question.has_focus:
            await it.pilot.press("tab")
        await it.pilot.press("W", "h", "y")
        assert screen.question.text == "Why"
        await it.pilot.press("escape")
        assert answers.has_focus
