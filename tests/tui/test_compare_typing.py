"""Typing on the compare screen: what is no key begins the next prompt, and nothing typed fast is lost."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from textual import events
from textual.widgets import Select

from corpora.dialog import Vote
from sessions.engine.fake import FakeEngine
from sessions.protocol import Generate
from tests.tui import worlds
from tests.tui.driving import driven, paths_in
from tests.tui.test_compare import ask, open_compare
from tests.tui.test_typing import type_at_once
from tui.screens.compare import CompareScreen
from tui.widgets.answers import Answers
from tui.widgets.dialogs import Confirm


def typed_in(engine: FakeEngine) -> list[str]:
    return [request.dialog[-1].content for request in engine.requests]


async def test_the_next_prompt_is_simply_typed(tmp_path: Path) -> None:
    worlds.fill_adapters(paths_in(tmp_path))
    engine = FakeEngine()
    async with driven(tmp_path, engine, size=(120, 40)) as it:
        screen = await open_compare(it)
        await ask(it, "Who are you?")
        await it.pilot.press(*"What", "space", *"text", "question_mark")
        assert screen.question.has_focus and screen.question.text == "What text?"
        assert it.app.workspace.store.verdicts() == []
        await it.pilot.press("enter")
        await it.until(lambda: typed_in(engine) == ["Who are you?", "What text?"] and not screen.busy)
        assert screen.query_one(Answers).has_focus


async def test_the_next_prompt_typed_in_one_go_is_asked_whole(tmp_path: Path) -> None:
    worlds.fill_adapters(paths_in(tmp_path))
    engine = FakeEngine()
    async with driven(tmp_path, engine, size=(120, 40)) as it:
        screen = await open_compare(it)
        await ask(it, "Who are you?")
        type_at_once(it.app, "What is my dog called?", "enter")
        await it.until(lambda: len(engine.requests) == 2 and not screen.busy)
        assert typed_in(engine)[1] == "What is my dog called?"
        assert it.app.workspace.store.verdicts() == []


async def test_a_vote_and_the_next_prompt_in_one_go_are_both_heard(tmp_path: Path) -> None:
    worlds.fill_adapters(paths_in(tmp_path))
    engine = FakeEngine()
    async with driven(tmp_path, engine, size=(120, 40)) as it:
        screen = await open_compare(it)
        type_at_once(it.app, "What is LoRA?", "enter")
        await it.until(lambda: len(engine.requests) == 1 and screen.open_to_vote)
        type_at_once(it.app, "1nWhat text is nice to begin with?", "enter")
        await it.until(lambda: len(engine.requests) == 2 and screen.open_to_vote)
        assert typed_in(engine)[1] == "What text is nice to begin with?"
        assert [each.vote for each in it.app.workspace.store.verdicts()] == [Vote.LEFT]
        assert it.app.workspace.store.verdicts()[0].dialog[-1].content == "What is LoRA?"


async def test_after_the_vote_its_keys_are_letters_again(tmp_path: Path) -> None:
    worlds.fill_adapters(paths_in(tmp_path))
    async with driven(tmp_path, size=(120, 40)) as it:
        screen = await open_compare(it)
        await ask(it, "Who are you?")
        await it.pilot.press("right")
        await it.until(lambda: screen.verdict is not None)
        await it.pilot.press(*"text")
        assert screen.question.has_focus and screen.question.text == "text"


async def test_while_replies_come_their_keys_wait_and_the_next_prompt_can_be_typed(tmp_path: Path) -> None:
    worlds.fill_adapters(paths_in(tmp_path))
    may = threading.Event()

    def slow(request: Generate, adapter: str) -> str:
        may.wait(10)
        return "done"

    engine = FakeEngine(script=slow)
    async with driven(tmp_path, engine, size=(120, 40)) as it:
        screen = await open_compare(it)
        type_at_once(it.app, "First?", "enter", "Will t and x be typed?")
        await it.until(lambda: screen.busy and screen.question.text == "Will t and x be typed?")
        await it.pilot.press("enter")
        await it.until(lambda: "Replies are still coming" in it.shown())
        assert screen.question.has_focus and screen.question.text == "Will t and x be typed?"
        await it.pilot.press("escape", "escape")
        may.set()
        await it.until(lambda: not screen.busy)
        await it.pilot.press("escape")
        await it.until(lambda: screen.query_one(Answers).has_focus)
        assert screen.question.text == "Will t and x be typed?"


async def test_a_key_of_the_vote_that_comes_too_early_is_not_typed(tmp_path: Path) -> None:
    worlds.fill_adapters(paths_in(tmp_path))
    may = threading.Event()

    def slow(request: Generate, adapter: str) -> str:
        may.wait(10)
        return "done"

    async with driven(tmp_path, FakeEngine(script=slow), size=(120, 40)) as it:
        screen = await open_compare(it)
        type_at_once(it.app, "First?", "enter")
        await it.until(lambda: screen.busy and screen.query_one(Answers).has_focus)
        await it.pilot.press("t", "x", "1", "n", "r", "u")
        assert screen.query_one(Answers).has_focus and screen.question.text == "First?"
        may.set()
        await it.until(lambda: screen.open_to_vote)


async def test_pasted_text_begins_the_next_prompt(tmp_path: Path) -> None:
    worlds.fill_adapters(paths_in(tmp_path))
    async with driven(tmp_path, size=(120, 40)) as it:
        screen = await open_compare(it)
        await ask(it, "Who are you?")
        it.app.post_message(events.Paste("text from elsewhere"))
        await it.until(lambda: screen.question.text == "text from elsewhere")
        assert screen.question.has_focus and it.app.workspace.store.verdicts() == []


async def test_what_is_typed_at_a_choice_goes_to_the_prompt(tmp_path: Path) -> None:
    worlds.fill_adapters(paths_in(tmp_path))
    async with driven(tmp_path, size=(120, 40)) as it:
        screen = await open_compare(it)
        await ask(it, "Who are you?")
        screen.query_one("#left-adapter", Select).focus()
        await it.pilot.press(*"What")
        assert screen.question.has_focus and screen.question.text == "What"


async def test_a_draft_is_gone_on_with(tmp_path: Path) -> None:
    worlds.fill_adapters(paths_in(tmp_path))
    async with driven(tmp_path, size=(120, 40)) as it:
        screen = await open_compare(it)
        await ask(it, "Who are you?")
        await it.pilot.press(*"Wh", "escape")
        await it.until(lambda: screen.query_one(Answers).has_focus)
        await it.pilot.press("Y")
        assert screen.question.text == "WhY"


async def test_asked_again_after_next_is_the_prompt_before(tmp_path: Path) -> None:
    worlds.fill_adapters(paths_in(tmp_path))
    engine = FakeEngine()
    async with driven(tmp_path, engine, size=(120, 40)) as it:
        screen = await open_compare(it)
        await ask(it, "Who are you?")
        await it.pilot.press("n", "escape")
        await it.until(lambda: screen.query_one(Answers).has_focus)
        await it.pilot.press("r")
        await it.until(lambda: typed_in(engine) == ["Who are you?"] * 2)


async def test_a_prompt_that_is_not_sent_is_still_there_to_be_changed(tmp_path: Path) -> None:
    worlds.fill_adapters(paths_in(tmp_path))
    async with driven(tmp_path, size=(120, 40)) as it:
        screen = await open_compare(it)
        type_at_once(it.app, "[INST", "]", "enter")
        await it.until(lambda: isinstance(it.app.screen, Confirm))
        await it.pilot.press("n")
        await it.until(lambda: isinstance(it.app.screen, CompareScreen) and not screen.busy)
        await it.until(lambda: screen.question.has_focus)
        await it.pilot.press("W")
        assert screen.question.text == "[INST]W"


@pytest.mark.parametrize("capital", "GJK")
async def test_capitals_are_no_keys(tmp_path: Path, capital: str) -> None:
    worlds.fill_adapters(paths_in(tmp_path))
    async with driven(tmp_path, size=(120, 40)) as it:
        screen = await open_compare(it)
        await ask(it, "Who are you?")
        await it.pilot.press(capital)
        assert screen.question.text == capital


async def test_the_invitation_tells_of_escape_while_the_prompt_is_typed(tmp_path: Path) -> None:
    worlds.fill_adapters(paths_in(tmp_path))
    async with driven(tmp_path, size=(120, 40)) as it:
        await open_compare(it)
        await ask(it, "Who are you?")
        await it.until(lambda: "Which is better?  ← left" in it.shown())
        await it.pilot.press("W")
        await it.until(lambda: "Which is better?  escape, then ← left" in it.shown())
        await it.pilot.press("escape")
        await it.until(lambda: "Which is better?  ← left" in it.shown())
