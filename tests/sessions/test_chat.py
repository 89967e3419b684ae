"""A conversation without a screen: every word saved, versions and branches kept, every ending clean."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from corpora.dialog import Finish, Message, Status, Vote
from corpora.errors import TagsInContent, UsageError
from corpora.store import Store
from sessions.chat import Began, Chat, ChatEvent, FellBack, Saved
from sessions.client import Client
from sessions.comparing import Comparison, tally
from sessions.engine.fake import FakeEngine
from sessions.errors import AdapterNotFound
from sessions.paths import Paths, private_folder
from sessions.protocol import Generate, Sampling, Token
from sessions.settings import Settings
from sessions.workspace import Workspace
from tests.hosts import MODEL, running_host
from tests.sessions.test_registry import publish


def open_store(paths: Paths) -> Store:
    private_folder(paths.home)
    return Store(paths.corpus)


async def said(stream: object) -> list[ChatEvent]:
    return [event async for event in stream]  # type: ignore[attr-defined]


async def test_prompt_and_reply_are_stored(paths: Paths) -> None:
    store = open_store(paths)
    async with running_host(paths):
        client = Client(paths, MODEL, start=False)
        chat = Chat(store, client)
        events = await said(chat.send("hello"))
        await client.close()
    assert isinstance(events[0], Began) and isinstance(events[-1], Saved)
    stored = store.exchange(events[-1].exchange.id)
    assert (stored.prompt, stored.reply, stored.finish) == ("hello", "base heard: hello", Finish.EOS)
    assert stored.status is Status.PENDING and stored.model == MODEL and stored.tokens == 3
    assert chat.branch == (stored,) and not chat.busy
    store.close()


async def test_the_dialog_sent_is_the_branch_with_its_system_prompt(paths: Paths) -> None:
    store = open_store(paths)
    async with running_host(paths) as served:
        client = Client(paths, MODEL, start=False)
        chat = Chat(store, client)
        chat.system = "Be brief."
        await said(chat.send("one"))
        await said(chat.send("two"))
        await client.close()
        request: Generate = served.engine.requests[-1]
    assert [(m.role, m.content) for m in request.dialog] == [
        ("system", "Be brief."),
        ("user", "one"),
        ("assistant", "base heard: one"),
        ("user", "two"),
    ]
    store.close()


async def test_retry_makes_versions_and_edit_a_branch(paths: Paths) -> None:
    store = open_store(paths)
    replies = iter(["first", "second", "third", "fourth", "fifth"])
    async with running_host(paths, FakeEngine(script=lambda request, adapter: next(replies))):
        client = Client(paths, MODEL, start=False)
        chat = Chat(store, client)
        await said(chat.send("a"))
        await said(chat.send("b"))
        await said(chat.retry())
        assert [version.reply for version in await chat.versions(chat.branch[-1].id)] == ["second", "third"]
        first = chat.branch[0]
        await said(chat.edit(first.id, "A"))
        assert [exchange.prompt for exchange in chat.branch] == ["A"]
        assert chat.branch[0].parent_id is None
        # The old branch is whole, and can be shown again at its newest end.
        await chat.select(first.id)
        assert [exchange.reply for exchange in chat.branch] == ["first", "third"]
        await client.close()
    store.close()


async def test_a_stopped_reply_is_kept_as_far_as_it_came(paths: Paths) -> None:
    store = open_store(paths)
    async with running_host(paths, FakeEngine(script=lambda request, adapter: "word " * 1000, pause=0.002)):
        client = Client(paths, MODEL, start=False)
        chat = Chat(store, client)
        count = 0
        async for event in chat.send("go on"):
            count += isinstance(event, Token)
            if count == 10:
                await chat.stop()
        await client.close()
    stored = chat.branch[-1]
    assert stored.finish is Finish.STOPPED and 10 <= len(stored.reply.split()) < 900
    assert store.exchange(stored.id) == stored
    store.close()


async def test_a_partial_reply_is_on_disk_while_it_is_written(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sessions.chat.SAVE_EVERY", 0.02)
    store = open_store(paths)
    other = Store(paths.corpus)
    async with running_host(paths, FakeEngine(script=lambda request, adapter: "word " * 100, pause=0.005)):
        client = Client(paths, MODEL, start=False)
        chat = Chat(store, client)
        seen = 0
        async for event in chat.send("go on"):
            if isinstance(event, Token) and (partial := other.exchange(chat.branch[-1].id)).reply:
                assert partial.finish is Finish.PARTIAL
                seen = len(partial.reply)
        await client.close()
    assert seen > 0
    store.close()
    other.close()


async def test_a_screen_that_goes_away_leaves_what_had_come(paths: Paths) -> None:
    store = open_store(paths)
    heard: asyncio.Queue[ChatEvent] = asyncio.Queue()

    async def hear(chat: Chat) -> None:
        async for event in chat.send("go on"):
            await heard.put(event)

    async with running_host(paths, FakeEngine(script=lambda request, adapter: "word " * 1000, pause=0.002)):
        client = Client(paths, MODEL, start=False)
        chat = Chat(store, client)
        task = asyncio.create_task(hear(chat))
        for _ in range(3):
            while not isinstance(await heard.get(), Token):
                pass
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await client.close()
    assert store.exchange(chat.branch[-1].id).reply.startswith("word word")
    assert not chat.busy
    store.close()


async def test_an_error_is_told_and_the_prompt_kept(paths: Paths) -> None:
    store = open_store(paths)
    async with running_host(paths, FakeEngine(error=RuntimeError("boom"))) as served:
        client = Client(paths, MODEL, start=False)
        chat = Chat(store, client)
        events = await said(chat.send("hello"))
        assert isinstance(events[-1], Saved) and events[-1].failure is not None
        assert store.exchange(chat.branch[-1].id).finish is Finish.FAILED
        served.engine.error = None
        events = await said(chat.retry())
        assert isinstance(events[-1], Saved) and events[-1].failure is None
        await client.close()
    store.close()


async def test_tags_are_refused_before_anything_is_saved_and_allowed_once(paths: Paths) -> None:
    store = open_store(paths)
    async with running_host(paths) as served:
        client = Client(paths, MODEL, start=False)
        chat = Chat(store, client)
        with pytest.raises(TagsInContent):
            await said(chat.send("what is [/INST]?"))
        assert store.count() == 0 and not served.engine.requests
        await said(chat.send("what is [/INST]?", tags_allowed=True))
        assert served.engine.requests[-1].dialog[-1].tags_allowed
        assert store.exchange(chat.branch[-1].id).tags_allowed
        await client.close()
    store.close()


async def test_one_reply_at_a_time(paths: Paths) -> None:
    store = open_store(paths)
    async with running_host(paths, FakeEngine(script=lambda request, adapter: "word " * 1000, pause=0.002)):
        client = Client(paths, MODEL, start=False)
        chat = Chat(store, client)
        task = asyncio.create_task(said(chat.send("go on")))
        while not chat.branch:
            await asyncio.sleep(0.005)
        with pytest.raises(UsageError, match="still being written"):
            await said(chat.send("and?"))
        await chat.stop()
        await task
        await client.close()
    store.close()


async def test_a_stored_chat_goes_on_where_it_was(paths: Paths) -> None:
    store = open_store(paths)
    async with running_host(paths):
        client = Client(paths, MODEL, start=False)
        chat = Chat(store, client)
        chat.system = "Be brief."
        await said(chat.send("one"))
        again = Chat(store, client)
        assert chat.conversation_id is not None
        await again.open(chat.conversation_id)
        assert again.branch == chat.branch and again.system == "Be brief."
        await client.close()
    store.close()


# the version that replies


@contextlib.asynccontextmanager
async def chatting(paths: Paths, engine: FakeEngine | None = None) -> AsyncIterator[tuple[Chat, Workspace]]:
    """A chat that answers with the accepted mine/v1."""
    workspace = Workspace(paths, Settings())
    private_folder(paths.home)
    workspace.accept(publish(workspace.registry))
    async with running_host(paths, engine):
        client = Client(paths, MODEL, start=False)
        chat = Chat(workspace.store, client)
        chat.use("mine/v1")
        yield chat, workspace
        await client.close()
    workspace.close()


def fallen(events: list[ChatEvent]) -> list[str]:
    return [event.error.what for event in events if isinstance(event, FellBack)]


async def test_a_reply_is_recorded_for_the_version_whatever_it_is_called_later(paths: Paths) -> None:
    async with chatting(paths) as (chat, workspace):
        await said(chat.send("one"))
        first = chat.branch[0]
        assert first.adapter == "mine/v1" and first.reply == "mine/v1 heard: one"
        workspace.rename("mine", "ours")
        publish(workspace.registry)
        events = await said(chat.send("two"))
        assert not fallen(events) and chat.adapter == "ours/v1" and chat.branch[1].reply == "ours/v1 heard: two"
        workspace.name_versions()
        assert [workspace.store.exchange(each.id).adapter for each in chat.branch] == ["ours/v1", "ours/v1"]


async def test_the_base_replies_where_the_version_was_removed(paths: Paths) -> None:
    async with chatting(paths) as (chat, workspace):
        workspace.remove("mine")
        publish(workspace.registry)
        events = await said(chat.send("one"))
        assert isinstance(events[0], Began) and fallen(events) == ["mine/v1 was removed."]
        assert (chat.adapter, chat.branch[0].adapter, chat.branch[0].reply) == ("base", "base", "base heard: one")
        assert not fallen(await said(chat.send("two")))


async def test_the_base_replies_where_the_version_cannot_be_loaded(paths: Paths) -> None:
    async with chatting(paths, FakeEngine(known=())) as (chat, workspace):
        events = await said(chat.send("one"))
        assert fallen(events) == ["There is no adapter mine/v1."]
        assert (chat.adapter, chat.branch[0].adapter, chat.branch[0].reply) == ("base", "base", "base heard: one")
        assert isinstance(events[-1], Saved) and events[-1].failure is None
        # What was accepted stays so: the files may be repaired.
        assert workspace.registry.current("mine") == "mine/v1"


async def test_a_strict_chat_fails_instead(paths: Paths) -> None:
    async with chatting(paths, FakeEngine(known=())) as (chat, workspace):
        chat.strict = True
        events = await said(chat.send("one"))
        assert isinstance(events[-1], Saved) and events[-1].failure is not None and not fallen(events)
        workspace.remove("mine")
        with pytest.raises(AdapterNotFound, match="removed"):
            await said(chat.send("two"))


async def test_a_reply_of_the_base_can_be_stopped_too(paths: Paths) -> None:
    engine = FakeEngine(script=lambda request, adapter: "word " * 1000, pause=0.002, known=())
    async with chatting(paths, engine) as (chat, _):
        async for event in chat.send("one"):
            if isinstance(event, Token):
                await chat.stop()
        assert chat.branch[0].finish is Finish.STOPPED and chat.branch[0].adapter == "base"


async def test_at_strength_0_the_base_replies(paths: Paths) -> None:
    async with chatting(paths) as (chat, _):
        chat.strength = 0.0
        await said(chat.send("one"))
        assert chat.branch[0].adapter == "base" and chat.adapter == "mine/v1"


async def test_votes_belong_to_the_version(paths: Paths) -> None:
    async with chatting(paths) as (chat, workspace):
        comparison = Comparison(chat.dialog((), "who?"), ("base", "mine/v1"))
        async for _ in comparison.ask(chat.client, Sampling()):
            pass
        identity = workspace.registry.identity("mine/v1")
        workspace.rename("mine", "ours")
        publish(workspace.registry)
        await comparison.cast(workspace.store, Vote.RIGHT)
        workspace.name_versions()
        (verdict,) = workspace.store.verdicts()
        assert (verdict.right_adapter, verdict.right_version) == ("ours/v1", identity)
        votes = workspace.store.verdicts()
        assert tally(votes, "base", "ours/v1").second_wins == 1 and tally(votes, "base", "mine/v1").votes == 0


async def test_a_blind_comparison_is_voted_and_makes_a_pair(paths: Paths) -> None:
    store = open_store(paths)
    async with running_host(paths):
        client = Client(paths, MODEL, start=False)
        chat = Chat(store, client)
        for seed in range(4):
            comparison = Comparison(chat.dialog((), "who?"), ("base", "mine/v1"), blind=True, seed=seed)
            async for _ in comparison.ask(client, Sampling()):
                pass
            tuned = comparison.columns.index("mine/v1")
            assert comparison.replies[tuned] == "mine/v1 heard: who?"
            await comparison.cast(store, (Vote.LEFT, Vote.RIGHT)[tuned])
        await client.close()
    count = tally(store.verdicts(), "base", "mine/v1")
    assert (count.first_wins, count.second_wins, count.votes) == (0, 4, 4)
    assert {pair.chosen for pair in store.preferences()} == {"mine/v1 heard: who?"}
    store.close()


async def test_a_reply_that_was_never_begun_is_not_voted_on(paths: Paths) -> None:
    store = open_store(paths)
    engine = FakeEngine(script=lambda request, adapter: "word " * 1000, pause=0.002, alone=["mine/v1"])
    async with running_host(paths, engine):
        client = Client(paths, MODEL, start=False)
        comparison = Comparison((Message("user", "who?"),), ("base", "mine/v1"))
        async for event in comparison.ask(client, Sampling(), id="7"):
            if isinstance(event, Token):
                await client.cancel("7")
        await client.close()
    assert comparison.in_turn and comparison.replies[0] and not comparison.replies[1] and not comparison.whole
    with pytest.raises(UsageError, match="never begun"):
        await comparison.cast(store, Vote.LEFT)
    assert store.verdicts() == [] == store.preferences()
    store.close()


def test_a_comparison_takes_two_to_four() -> None:
    with pytest.raises(UsageError):
        Comparison((), ("base",))
