"""The line REPL at a prompt: lines, keys, a run beside the chat; prompt_toolkit on a pipe."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import stat
from collections.abc import AsyncIterator, Callable

import pytest
from prompt_toolkit.application import create_app_session
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document
from prompt_toolkit.input import PipeInput, create_pipe_input
from prompt_toolkit.output import DummyOutput

from corpora.dialog import Finish, Status
from sessions.client import Client
from sessions.engine.fake import FakeEngine
from sessions.launch import start_run
from sessions.paths import Paths, private_folder
from sessions.registry import Registry
from sessions.training.recipe import Recipe
from sessions.workspace import Workspace
from tests.hosts import Served, running_host
from tests.tui.calling import PUBLISH_PASSED, UNTIL_STOPPED, fake_workers
from tests.tui.worlds import publish
from tui.output import Output
from tui.repl import Repl
from tui.repl_complete import CommandCompleter
from tui.repl_prompt import Prompter
from tui.repl_session import Session


class Prompt:
    """A REPL over a pipe of keys."""

    def __init__(self, keys: PipeInput, session: Session, task: asyncio.Task[int], served: Served) -> None:
        self.keys = keys
        self.served = served
        self.session = session
        self.task = task

    async def until(self, holds: Callable[[], object]) -> None:
        async with asyncio.timeout(10):
            while not holds():
                await asyncio.sleep(0.005)

    async def type(self, text: str) -> None:
        self.keys.send_text(text)
        await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def prompting(paths: Paths, engine: FakeEngine | None = None, **options: object) -> AsyncIterator[Prompt]:
    """A running REPL at a prompt, with a host."""
    space = Workspace.open()
    with create_pipe_input() as keys, create_app_session(input=keys, output=DummyOutput()):
        async with running_host(paths, engine, **options) as served:  # type: ignore[arg-type]
            output, client = Output(), Client(paths, "fake")
            found: list[Session] = []
            completer = CommandCompleter(space.registry)

            def toolbar() -> str:
                return found[0].toolbar()

            surface = Prompter(output, paths.history, completer, toolbar, input=keys, screen=DummyOutput())
            session = Session(space, client, output, surface)
            found.append(session)
            session.start_with(None)
            task = asyncio.create_task(Repl(session).run())
            prompt = Prompt(keys, session, task, served)
            try:
                yield prompt
            finally:
                if not task.done():
                    await prompt.until(lambda: surface._session.app.is_running)
                    keys.send_text("\x15\x04")
                    await asyncio.wait_for(task, 10)
                await session.close()
                space.close()


async def test_lines_are_sent_and_remembered(paths: Paths, capsys: pytest.CaptureFixture[str]) -> None:
    async with prompting(paths) as prompt:
        await prompt.type("one\x0atwo\x1b\rthree\\\rfour\r")  # Ctrl+J, Esc Enter, a backslash, Enter
        await prompt.until(lambda: prompt.session.chat.last and not prompt.session.chat.busy)
        assert prompt.session.chat.last.prompt == "one\ntwo\nthree\nfour"
        await prompt.type("/keep\r")
        await prompt.until(lambda: prompt.session.chat.last.status is Status.KEPT)
    assert prompt.task.result() == 0
    assert "base heard: one\ntwo\nthree\nfour" in capsys.readouterr().out
    assert "+one" in paths.history.read_text() and stat.S_IMODE(paths.history.stat().st_mode) == 0o600


async def test_a_correction_is_edited_in_place(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDITOR", raising=False)
    monkeypatch.delenv("VISUAL", raising=False)
    async with prompting(paths) as prompt:
        await prompt.type("hello\r")
        await prompt.until(lambda: prompt.session.chat.last and not prompt.session.chat.busy)
        await prompt.type("/correct\r")
        await prompt.type("\x05, friend\r")  # Ctrl+E: to the end
        await prompt.until(lambda: prompt.session.chat.last.corrected)
        assert prompt.session.chat.last.reply == "base heard: hello, friend"
        await prompt.type("/correct\r")
        await prompt.until(lambda: prompt.session.surface._editing.app.is_running)
        await prompt.type("\x15\x03\x03")  # emptied, then left: nothing changes
        await prompt.until(lambda: prompt.session.surface._session.app.is_running)
        assert prompt.session.chat.last.reply == "base heard: hello, friend"


async def test_ctrl_c_at_the_prompt(paths: Paths) -> None:
    async with prompting(paths) as prompt:
        await prompt.until(lambda: prompt.session.surface._session.app.is_running)
        await prompt.type("half a thought\x03")
        await prompt.type("\x03")
        await prompt.until(lambda: prompt.session.surface._armed)
        await prompt.until(lambda: prompt.session.surface._session.app.is_running)
        assert not prompt.task.done()
        await prompt.type("\x03")
        assert await asyncio.wait_for(prompt.task, 10) == 130
        assert prompt.session.chat.last is None


async def test_ctrl_c_stops_the_reply_first(paths: Paths, capsys: pytest.CaptureFixture[str]) -> None:
    engine = FakeEngine(script=lambda request, adapter: "word " * 3000, pause=0.002)
    async with prompting(paths, engine) as prompt:
        await prompt.type("hello\r")
        await prompt.until(lambda: prompt.session.used > 3)
        signal.raise_signal(signal.SIGINT)
        await prompt.until(lambda: not prompt.session.chat.busy)
        assert prompt.session.chat.last.finish is Finish.STOPPED and not prompt.task.done()
        await prompt.until(lambda: prompt.session.surface._session.app.is_running)
        await prompt.type("\x03")
        assert await asyncio.wait_for(prompt.task, 10) == 130


async def test_a_run_beside_the_chat(paths: Paths, capsys: pytest.CaptureFixture[str]) -> None:
    body = "while not (run / 'go').exists(): time.sleep(0.01)\n"
    from tests.tui.calling import PUBLISH

    async with prompting(paths, workers=fake_workers(paths, body + PUBLISH)) as prompt:
        session = prompt.session
        await prompt.type("hello\r/keep\r/train\r")
        await prompt.until(lambda: session.watch.active and session.watch.active.steps)
        assert "training 3/3, loss 0.33" in session.toolbar()
        await prompt.type("chat goes on\r")
        await prompt.until(lambda: session.chat.last.prompt == "chat goes on" and not session.chat.busy)
        (paths.run(session.watch.active.id) / "go").touch()
        await prompt.until(lambda: session.offered)
        assert session.chat.adapter == "base" and "mine/v1 is ready: /adapter mine" in session.toolbar()
        await prompt.type("/adapter mine\r")
        await prompt.until(lambda: session.chat.adapter == "mine/v1")
        assert not session.offered and Registry(paths).current("mine") == "mine/v1"
    assert "mine/v1 is published" in capsys.readouterr().err


async def test_a_prompt_with_tags_is_asked_about(paths: Paths) -> None:
    async with prompting(paths) as prompt:
        await prompt.type("say [/INST]\r")
        await prompt.until(lambda: prompt.session.surface._editing.app.is_running)
        await prompt.type("y\r")
        await prompt.until(lambda: prompt.session.chat.last and not prompt.session.chat.busy)
        assert prompt.session.chat.last.tags_allowed


def test_completion(paths: Paths) -> None:
    publish(paths)
    (paths.home / "file.jsonl").write_text("")
    completer = CommandCompleter(Registry(paths))

    def offered(line: str) -> list[str]:
        return [each.text for each in completer.get_completions(Document(line, len(line)), CompleteEvent())]

    assert offered("/co") == ["correct", "compare", "corpus"]
    assert offered("hello") == [] and offered("/nonsense x") == []
    assert offered("/adapter ") == ["base", "rollback", "mine", "mine/v1"]
    assert offered("/set temp") == ["temperature"]
    assert offered("/train learning") == ["learning_rate="] and offered("/train rank=8 ep") == ["epochs="]
    assert offered("/corpus im") == ["import"]
    assert offered(f"/corpus import {paths.home}/fi") == ["le.jsonl"]
    assert offered(f"/read {paths.home}/fi") == ["le.jsonl"]
    assert "keep" in offered("/help ke")


async def test_a_version_is_used_at_once_where_the_settings_say_so(paths: Paths) -> None:
    private_folder(paths.home)
    paths.config.write_text('auto_use = "passed"\n')
    async with prompting(paths, workers=fake_workers(paths, PUBLISH_PASSED)) as prompt:
        await prompt.type("hello\r/keep\r/train\r")
        await prompt.until(lambda: prompt.session.chat.adapter == "mine/v1")
        await prompt.type("again\r")
        await prompt.until(lambda: prompt.session.chat.last.adapter == "mine/v1")


async def test_a_run_of_another_terminal_is_seen(paths: Paths) -> None:
    async with prompting(paths, workers=fake_workers(paths, UNTIL_STOPPED)) as prompt:
        await prompt.type("hello\r/keep\r")
        await prompt.until(lambda: prompt.session.chat.last and prompt.session.chat.last.status is Status.KEPT)
        other = Client(paths, "fake", start=False)
        space = Workspace.open()
        run = await start_run(space, other, adapter="mine", recipe=Recipe())
        await prompt.until(lambda: prompt.session.watch.active and prompt.session.watch.active.steps)
        await prompt.type("/runs stop\r")
        await prompt.until(lambda: prompt.session.watch.active is None)
        assert prompt.session.watch.states[run].phase == "stopped"
        await other.close()
        space.close()


async def test_the_end_of_the_host_is_said_once_and_the_next_prompt_works(
    paths: Paths, capsys: pytest.CaptureFixture[str]
) -> None:
    async with prompting(paths) as prompt:
        await prompt.type("hello\r")
        await prompt.until(lambda: prompt.session.chat.last and not prompt.session.chat.busy)
        prompt.served.host.shut_down("It was asked to end.")
        await prompt.served.task
        await prompt.until(lambda: not prompt.session.client.connected)
        async with running_host(paths):
            await prompt.type("again\r")
            await prompt.until(lambda: prompt.session.chat.last.reply == "base heard: again")
            await prompt.type("\x04")
            await asyncio.wait_for(prompt.task, 10)
    assert capsys.readouterr().err.count("The next prompt starts it again") == 1
