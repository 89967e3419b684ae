"""The line REPL: scripted through a pipe, on a prompt_toolkit pipe, and in a real pty."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import signal
import stat
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from prompt_toolkit.application import create_app_session
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document
from prompt_toolkit.input import PipeInput, create_pipe_input
from prompt_toolkit.output import DummyOutput

from corpora.dialog import Finish, Status, Vote
from sessions.client import Client
from sessions.engine.fake import FakeEngine
from sessions.launch import start_run
from sessions.paths import Paths, private_folder
from sessions.registry import Registry
from sessions.training.recipe import Recipe
from sessions.workspace import Workspace
from tests.hosts import Served, host_in_thread, running_host
from tests.terminals import Terminal, program
from tests.tui.calling import FAIL, FORBIDDEN, HOSTILE, UNTIL_STOPPED, Caller, Done, fake_workers, start
from tests.tui.worlds import publish
from tui.commands import COMMANDS
from tui.output import Output
from tui.repl import Repl
from tui.repl_complete import CommandCompleter
from tui.repl_prompt import Prompter
from tui.repl_session import Session

Script = Callable[..., Done]


@pytest.fixture
def script(run: Caller, monkeypatch: pytest.MonkeyPatch) -> Script:
    """Lines piped into `llama-tui repl`."""

    def play(*lines: str, words: tuple[str, ...] = ()) -> Done:
        text = "".join(f"{line}\n" for line in lines)
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
        return run("--model", "fake", *words, "repl")

    return play


# scripted


def test_a_script_chats_and_keeps(run: Caller, host: FakeEngine, script: Script) -> None:
    done = script("hello there", "/keep", "", "two \\", "lines", "/reject")
    assert (done.code, done.out) == (0, "base heard: hello there\nbase heard: two \nlines\n")
    assert "1 kept in all" in done.err
    with run.store() as store:
        second, first = store.page()
    assert first.status is Status.KEPT and second.status is Status.REJECTED and second.parent_id == first.id


def test_without_a_terminal_the_line_repl_opens(run: Caller, host: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"hello\n")))
    assert run("--model", "fake").out == "base heard: hello\n"


def test_corrections_undo_versions_and_branches(run: Caller, host: FakeEngine, script: Script) -> None:
    done = script("hello", "/correct Hi!", "/undo", "/undo", "/retry", "/edit other", "/undo", "/undo")
    assert done.code == 0 and "Corrected and kept" in done.err and "nothing to take back" in done.err
    with run.store() as store:
        edited, again, first = store.page()
        assert [each.parent_id for each in (edited, again, first)] == [None, None, None]
        assert first.reply == "base heard: hello" and not first.corrected
        assert edited.prompt == "other" and len(store.versions(first.id)) == 2


def test_stars_by_a_command(run: Caller, host: FakeEngine, script: Script) -> None:
    done = script("hello", "/rate 4", "/rate seven", "/rate ★★★", "/undo", "/set temperature warm", "/set strength 9")
    assert "★★★★☆; /undo takes it back." in done.err and "A rating is 1 to 5, or 0 for none." in done.err
    assert "It is still 0.7." in done.err and "It is still 1." in done.err
    with run.store() as store:
        assert [each.rating for each in store.page()] == [4]


def test_the_whole_loop_as_a_script(run: Caller, paths: Paths, script: Script) -> None:
    engine = FakeEngine()
    with host_in_thread(paths, engine, workers=fake_workers(paths)):
        done = script(
            "what is my cat called?",
            "/correct Mouse.",
            "/train epochs=2 rank=8",
            "/adapter mine",
            "what is my cat called?",
            "/compare what is she called?",
            "/vote right",
            "/vote left",
            "/adapter rollback",
            "again",
            "/runs",
        )
    assert done.code == 0
    assert "mine/v1 heard: what is my cat called?" in done.out
    assert "── left: base ──\nbase heard: what is she called?" in done.out
    assert "── right: mine/v1 ──\nmine/v1 heard: what is she called?" in done.out
    assert "mine/v1 is published" in done.err and "base 0 : 1 mine/v1" in done.err
    assert "each is voted on once" in done.err
    assert done.out.index("base heard: again") > 0 and "finished" in done.out
    with run.store() as store:
        (verdict,) = store.verdicts()
    assert verdict.vote is Vote.RIGHT
    recipe = next(paths.runs.iterdir()) / "recipe.toml"
    assert "rank = 8" in recipe.read_text() and "epochs = 2.0" in recipe.read_text()


def test_a_run_that_fails_is_told(run: Caller, paths: Paths, script: Script) -> None:
    with host_in_thread(paths, FakeEngine(), workers=fake_workers(paths, FAIL)):
        done = script("hello", "/keep", "/train")
    assert done.code == 0 and "The loss is not finite." in done.err


def test_every_error_is_words_and_the_next_line_still_works(run: Caller, host: FakeEngine, script: Script) -> None:
    done = script(
        "/keep",
        "/nonsense",
        "/vote left",
        "/compare",
        "/compare hello",
        "/train",
        "/train nonsense",
        "/train 'open",
        "/adapter nobody",
        "/history 77",
        "/read /no/such/file",
        "/save",
        "/set temperature hot",
        "/set nonsense 1",
        "/set strength 9",
        "/runs stop",
        "/runs nonsense",
        "/corpus import /no/such/file",
        "/corpus nonsense",
        "say [INST]",
        "/correct",
        "hello",
        "/correct",
    )
    assert done.code == 0 and done.out == "base heard: hello\n"
    assert done.err.count("llama-tui: ") == 22 and "Traceback" not in done.err
    assert not (run.paths.logs / "tui.log").exists() or "Traceback" not in (run.paths.logs / "tui.log").read_text()


def test_every_command_of_the_registry_is_there(run: Caller, host: FakeEngine, script: Script) -> None:
    done = script("hello", *(f"/{each.name}" for each in COMMANDS if each.name not in ("quit", "train")))
    assert "unexpected" not in done.err and "AttributeError" not in done.err
    out = script("/help", "/help set", "/help /train").out
    assert all(f"/{each.name}" in out for each in COMMANDS) and "temperature" in out and "Also: learn" in out


def test_settings_of_a_session(run: Caller, host: FakeEngine, script: Script) -> None:
    done = script(
        "/set temperature 0", "/set seed=7", "/system Be brief.", "hello", "/set seed none", "/system clear", "x"
    )
    assert done.code == 0
    first, second = host.requests
    assert first.sampling.temperature == 0 and first.sampling.seed == 7
    assert first.dialog[0].content == "Be brief." and second.dialog[0].role == "user"
    assert second.sampling.seed is None


def test_files_in_and_out(run: Caller, host: FakeEngine, script: Script, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"instruction": "a", "input": "", "output": "b"}\n{"nothing": 1}\n')
    prompt = tmp_path / "prompt.txt"
    prompt.write_text("from a file\n")
    chat, kept = tmp_path / "chat.json", tmp_path / "kept.jsonl"
    done = script(
        f"/corpus import {rows}", f"/read {prompt}", "/keep", f"/save {chat}", f"/corpus export {kept}", "/corpus"
    )
    assert "1 new" in done.out and "1 refused" in done.out and f"{rows}:2:" in done.err
    assert "base heard: from a file" in done.out and "2 kept" in done.out
    assert json.loads(chat.read_text())["messages"][0]["content"] == "from a file"
    assert len(kept.read_text().splitlines()) == 2


def test_earlier_chats(run: Caller, host: FakeEngine, script: Script) -> None:
    script("about llamas", "/new", "about cats")
    done = script("/history llamas", "/history 1", "go on")
    assert "about llamas" in done.out and "> about llamas" in done.out
    assert [said.content for said in host.requests[-1].dialog] == ["about llamas", "base heard: about llamas", "go on"]


def test_control_codes_stay_off_the_terminal(run: Caller, host: FakeEngine, script: Script, tmp_path: Path) -> None:
    host.script = lambda request, adapter: f"{HOSTILE} end"
    bad = HOSTILE.replace("[/INST] ", "")
    done = script(
        bad, "/history", f"/adapter {bad}", f"/help {bad}", f"/read {bad}", f"/corpus import {bad}", f"/{bad}"
    )
    assert "[bold]red[/bold]" in done.out
    assert not any(code in done.out + done.err for code in FORBIDDEN)


def test_the_end_of_the_input_and_quit_leave_well(script: Script, host: FakeEngine) -> None:
    assert script().code == 0
    assert script("/quit", "not sent").out == ""


def test_ctrl_c_stops_a_scripted_reply_and_then_leaves(run: Caller, paths: Paths) -> None:
    engine = FakeEngine(script=lambda request, adapter: "word " * 5000, pause=0.002)
    with host_in_thread(paths, engine), start("--model", "fake", "repl", stdin=True) as process:
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        process.stdin.write("hello\n")
        process.stdin.flush()
        assert process.stdout.read(5) == "word "
        process.send_signal(signal.SIGINT)
        assert "stopped" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        process.wait(10)
    assert process.returncode == 130
    with run.store() as store:
        assert store.page()[0].finish is Finish.STOPPED


# at a prompt


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
        await asyncio.sleep(0.05)
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
        await prompt.until(lambda: session.offered == "mine/v1")
        assert "mine/v1 is new" in session.toolbar()
        await prompt.type("/adapter mine\r")
        await prompt.until(lambda: session.chat.adapter == "mine/v1")
        assert not session.offered and Registry(paths).current("mine") == "mine/v1"
    assert "mine/v1 is published" in capsys.readouterr().err


async def test_a_prompt_with_tags_is_asked_about(paths: Paths) -> None:
    async with prompting(paths) as prompt:
        await prompt.type("say [/INST]\r")
        await asyncio.sleep(0.05)
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
    paths.config.write_text('new_version = "use"\n')
    async with prompting(paths, workers=fake_workers(paths)) as prompt:
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


# in a real terminal


def answer_cursor(tty: Terminal) -> None:
    """Tell the program where the cursor is, as terminals do."""

    def answer(data: str) -> None:
        tty.process.write(data.replace("\x9b", "\x1b[").encode())

    tty.screen.write_process_input = answer


@pytest.mark.pty
def test_in_a_real_terminal(paths: Paths) -> None:
    engine = FakeEngine()
    with (
        host_in_thread(paths, engine),
        Terminal(
            [*program(), "repl", "--model", "fake"], {"LLAMA_TUI_HOME": str(paths.home)}, columns=100, rows=24
        ) as tty,
    ):
        answer_cursor(tty)
        tty.wait("base · context")
        tty.press("hello", "enter")
        tty.wait("base heard: hello")
        engine.script, engine.pause = (lambda request, adapter: "word " * 5000), 0.002
        tty.press("go on", "enter")
        tty.wait("word word")
        tty.press("ctrl+c")
        tty.wait("(stopped; what has come is saved)")
        engine.script, engine.pause = (lambda request, adapter: f"{HOSTILE} end"), 0.0
        tty.press("/ke", "tab", "enter")
        tty.wait("1 kept in all")
        tty.press(HOSTILE.translate(dict.fromkeys(map(ord, "\x1b\x07\x9b"))).replace("[/INST]", ""), "enter")
        tty.wait("end")
        written = tty.raw.decode("utf-8", "replace")
        assert "\x1b]52" not in written and "\x9b" not in written
        tty.press("ctrl+d")
        assert tty.wait_for_end() == 0


@pytest.mark.pty
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_terminal_that_goes_away_loses_nothing(run: Caller, paths: Paths, number: signal.Signals) -> None:
    engine = FakeEngine(script=lambda request, adapter: "word " * 5000, pause=0.002)
    command = [*program(), "repl", "--model", "fake"]
    with host_in_thread(paths, engine), Terminal(command, {}, columns=100, rows=24) as tty:
        answer_cursor(tty)
        tty.wait("base · context")
        tty.press("hello", "enter")
        tty.wait("word word")
        tty.kill(number)
        assert tty.wait_for_end() == 130
    with run.store() as store:
        (exchange,) = store.page()
    assert exchange.finish is Finish.STOPPED and exchange.reply.startswith("word word")


@pytest.mark.pty
def test_a_correction_in_the_persons_own_editor(run: Caller, paths: Paths) -> None:
    command = [*program(), "repl", "--model", "fake"]
    with (
        host_in_thread(paths),
        Terminal(command, {"VISUAL": "sed -i s/heard/understood/"}, columns=100, rows=24) as tty,
    ):
        answer_cursor(tty)
        tty.wait("base · context")
        tty.press("hello", "enter")
        tty.wait("base heard: hello")
        tty.press("/correct", "enter")
        tty.wait("Corrected and kept")
        tty.press("ctrl+d")
        assert tty.wait_for_end() == 0
    with run.store() as store:
        assert store.page()[0].reply == "base understood: hello"


@pytest.mark.pty
def test_a_dumb_terminal_gets_plain_lines(run: Caller, paths: Paths) -> None:
    command = [*program(), "--model", "fake"]
    with host_in_thread(paths), Terminal(command, {"TERM": "dumb"}, columns=100, rows=24) as tty:
        tty.wait("/help explains")
        tty.press("hello\n")
        tty.wait("base heard: hello")
        tty.press("/correct\n")
        tty.wait("a single . ends it")
        tty.press("better\nlines\n.\n")
        tty.wait("Corrected and kept")
        tty.press("ctrl+c")
        assert tty.wait_for_end() == 130
        assert b"\x1b" not in tty.raw
    with run.store() as store:
        assert store.page()[0].reply == "better\nlines"
