"""Votes on the compare screen taken back, by its own key and from elsewhere."""

from __future__ import annotations

import asyncio
from pathlib import Path

from corpora.dialog import Vote
from sessions.engine.fake import FakeEngine
from sessions.protocol import BASE, Generate
from tests.tui import worlds
from tests.tui.driving import Driven, driven, paths_in
from tests.tui.test_compare import SECOND, ask, compare, open_compare
from tui.messages import CorpusChanged
from tui.screens.help import keys_of


async def vote(it: Driven, key: str) -> None:
    await it.pilot.press(key)
    await it.until(lambda: compare(it).verdict is not None)


async def test_a_vote_is_taken_back_with_its_pair_and_cast_anew(tmp_path: Path) -> None:
    worlds.fill_adapters(paths_in(tmp_path))
    async with driven(tmp_path, size=(120, 40)) as it:
        screen, store = await open_compare(it), it.app.workspace.store
        await ask(it, "Who are you?")
        assert "Take back" not in it.shown()
        await vote(it, "1")
        await it.until(lambda: "base is better." in it.shown() and "★" in it.shown() and "u Take back" in it.shown())
        assert any(row.what == "Take the vote back" and row.name == "u ^z" for row in keys_of(it.app.screen))
        assert len(store.preferences()) == 1
        await it.pilot.press("u")
        await it.until(lambda: "Taken back." in it.shown() and "★" not in it.shown())
        assert store.verdicts() == [] and store.preferences() == []
        await it.until(lambda: "Which is better?" in it.shown() and "Take back" not in it.shown())
        await vote(it, "2")
        await it.until(lambda: "mine/v2 is better." in it.shown())
        assert [each.vote for each in store.verdicts()] == [Vote.RIGHT] and len(store.preferences()) == 1
        await it.pilot.press("ctrl+z")
        await it.until(lambda: screen.open_to_vote)
        assert store.verdicts() == []


async def test_after_a_blind_vote_the_names_are_known_and_the_next_vote_is_open(tmp_path: Path) -> None:
    worlds.fill_adapters(paths_in(tmp_path))
    async with driven(tmp_path, size=(120, 40)) as it:
        screen = await open_compare(it)
        await it.pilot.press("ctrl+b")
        await ask(it, "Who are you?")
        await vote(it, "t")
        await it.until(lambda: "A tie." in it.shown())
        await it.pilot.press("u")
        await it.until(lambda: "The names are known now" in it.shown())
        assert all(head.adapter in str(head.content) for head in screen.heads)
        await vote(it, "t")
        assert [each.blind for each in it.app.workspace.store.verdicts()] == [False]
        await ask(it, "And now?")
        assert not any(head.adapter in str(head.content) for head in screen.heads)


async def test_only_the_last_action_is_taken_back(tmp_path: Path) -> None:
    worlds.fill_adapters(paths_in(tmp_path))
    async with driven(tmp_path, size=(120, 40)) as it:
        screen, store = await open_compare(it), it.app.workspace.store
        await ask(it, "Who are you?")
        await vote(it, "1")
        await asyncio.to_thread(worlds.vote, store, BASE, SECOND, Vote.TIE)
        await it.pilot.press("u")
        await it.until(lambda: "Nothing was taken back." in it.shown())
        assert len(store.verdicts()) == 2 and screen.verdict is not None


async def test_a_vote_that_another_screen_takes_back_is_open_again(tmp_path: Path) -> None:
    worlds.fill_adapters(paths_in(tmp_path))
    async with driven(tmp_path, size=(120, 40)) as it:
        screen, store = await open_compare(it), it.app.workspace.store
        await ask(it, "Who are you?")
        await vote(it, "1")
        await asyncio.to_thread(store.undo)
        it.app.tell(CorpusChanged())
        await it.until(lambda: screen.open_to_vote and "Taken back." in it.shown())


async def test_a_vote_that_is_gone_already_is_open_again(tmp_path: Path) -> None:
    worlds.fill_adapters(paths_in(tmp_path))
    async with driven(tmp_path, size=(120, 40)) as it:
        screen, store = await open_compare(it), it.app.workspace.store
        await ask(it, "Who are you?")
        await vote(it, "1")
        await asyncio.to_thread(store.undo)
        await it.pilot.press("u")
        await it.until(lambda: screen.open_to_vote)


async def test_two_keys_at_once_are_one_vote(tmp_path: Path) -> None:
    worlds.fill_adapters(paths_in(tmp_path))
    async with driven(tmp_path, size=(120, 40)) as it:
        screen, store = await open_compare(it), it.app.workspace.store
        await ask(it, "Who are you?")
        screen.action_vote("left")
        screen.action_vote("right")
        await it.until(lambda: screen.verdict is not None)
        assert [each.vote for each in store.verdicts()] == [Vote.LEFT]


async def test_a_reply_that_was_never_begun_cannot_be_voted_on(tmp_path: Path) -> None:
    worlds.fill_adapters(paths_in(tmp_path))

    def long(request: Generate, adapter: str) -> str:
        return "word " * 2000

    engine = FakeEngine(script=long, pause=0.05, alone=[SECOND])
    async with driven(tmp_path, engine, size=(120, 40)) as it:
        screen = await open_compare(it)
        screen.question.put("Go on")
        await it.pilot.press("enter")
        await it.until(lambda: "word word" in it.shown())
        await it.pilot.press("escape")
        await it.until(lambda: "There is nothing to vote on" in it.shown())
        assert not screen.open_to_vote


async def test_a_training_that_ends_does_not_wipe_the_invitation(tmp_path: Path) -> None:
    paths = paths_in(tmp_path)
    worlds.fill_adapters(paths)
    async with driven(tmp_path, size=(120, 40)) as it:
        screen = await open_compare(it)
        await ask(it, "Who are you?")
        await it.until(lambda: "Which is better?" in it.shown())
        screen.choose(BASE, "persian/v1")
        await it.until(lambda: screen.pair == (BASE, "persian/v1"))
        it.app.workspace.registry.rename("persian", "farsi")
        await it.pilot.press("f2", "f6")
        await it.until(lambda: "farsi/v1" in screen.versions)
        assert "Which is better?" in it.shown()
        assert screen.pair == (BASE, "farsi/v1")
