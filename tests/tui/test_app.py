"""The app around its screens: modes, bar, runs, settings, errors, leaving."""

from __future__ import annotations

import asyncio
from pathlib import Path

from textual.binding import Binding

from sessions.engine.fake import FakeEngine
from sessions.errors import AdapterNotFound, Failure
from sessions.registry import Lineage, Registry
from sessions.settings import Settings
from sessions.training import events
from sessions.training.events import Planned, Published, RunCreated, RunFailed, RunFinished, Stepped, WorkerStarted
from sessions.training.report import GateReport
from tests.hosts import MODEL
from tests.sessions.test_registry import fill
from tests.tui.driving import Driven, driven, paths_in
from tests.tui.worlds import FAILED, PASSED
from tui import commands
from tui.messages import AdapterInUseChanged, OfferChanged, RunEnded, RunEventHappened
from tui.screens.help import HelpScreen
from tui.screens.settings import Setting, documentation
from tui.widgets.rows import Row, Rows


def publish(registry: Registry, name: str, gate: GateReport | None = None, model: str = MODEL) -> str:
    """A version made for a model."""
    lineage = Lineage(adapter=name, version=0, parent="base", base_model=model, run="r1", gate=gate)
    return registry.publish(fill(registry.stage(name)), lineage)


def write_run(it: Driven, worse: str = "", published: bool = True, model: str = MODEL) -> str:
    """A run's folder as a worker leaves it."""
    folder = it.app.workspace.paths.run("r1")
    folder.mkdir(parents=True)
    there = it.app.workspace.registry.identities().at("mine/v1")
    digest = there.identity if there else "d"
    created = RunCreated(run="r1", model=model, adapter="mine", parent="base", snapshot="0", new_replies=1)
    for event in (
        created,
        WorkerStarted(pid=1),
        Planned(steps=2, epochs=1, examples=1, held_out=0, tokens=9, trained_tokens=5, batch=1),
        *(
            Stepped(
                step=step,
                epoch=1,
                loss=1.5,
                learning_rate=1e-3,
                grad_norm=1.0,
                tokens=9,
                tokens_per_second=9.0,
                eta=65.0,
            )
            for step in (1, 2)
        ),
        *([Published(adapter="mine/v1", digest=digest, worse=worse)] if published else []),
        RunFinished(),
    ):
        events.append(folder, event)
    return "r1"


async def test_every_mode_opens_by_its_key_and_comes_back(tmp_path: Path) -> None:
    async with driven(tmp_path) as it:
        await it.ask("hello")
        for key, mode in zip(("f3", "f4", "f5", "f6"), ("corpus", "train", "adapters", "compare"), strict=True):
            await it.pilot.press(key)
            await it.until(lambda mode=mode: it.app.current_mode == mode)
            await it.pilot.pause(0.05)
        await it.pilot.press("f2")
        assert "base heard: hello" in it.shown()


async def test_run_events_are_told_in_order_and_the_version_is_offered(tmp_path: Path) -> None:
    async with driven(tmp_path, size=(100, 30)) as it:
        publish(it.app.workspace.registry, "mine")
        it.app.bridge.follow(write_run(it))
        await it.until(lambda: any(isinstance(known, RunEnded) for known in it.messages))
        kinds = [type(known.event).__name__ for known in it.messages if isinstance(known, RunEventHappened)]
        once = list(dict.fromkeys(kinds))
        assert once == ["RunCreated", "WorkerStarted", "Planned", "Stepped", "Published", "RunFinished"]
        await it.until(lambda: any(isinstance(known, OfferChanged) for known in it.messages))
        assert it.app.adapter == "base"
        await it.until(lambda: "mine/v1 is ready" in it.shown() and "mine/v1 ready: Ctrl+G" in it.shown())
        await it.pilot.press("ctrl+g")
        await it.until(lambda: it.app.adapter == "mine/v1")
        await it.ask("who?")
        assert "mine/v1 heard: who?" in it.shown()


async def test_a_version_that_passed_is_used_unasked_where_the_settings_say_so(tmp_path: Path) -> None:
    async with driven(tmp_path, settings=Settings(auto_use="passed")) as it:
        publish(it.app.workspace.registry, "mine", PASSED)
        it.app.bridge.follow(write_run(it))
        await it.until(lambda: it.app.adapter == "mine/v1")
        assert any(isinstance(known, AdapterInUseChanged) for known in it.messages)


async def test_a_version_that_was_not_checked_is_not_used_unasked(tmp_path: Path) -> None:
    async with driven(tmp_path, settings=Settings(auto_use="passed")) as it:
        publish(it.app.workspace.registry, "mine")
        it.app.bridge.follow(write_run(it))
        await it.until(lambda: "mine/v1 is ready" in it.shown())
        assert it.app.adapter == "base"


async def test_a_version_that_failed_is_neither_used_nor_offered(tmp_path: Path) -> None:
    async with driven(tmp_path, settings=Settings(auto_use="passed"), size=(120, 30)) as it:
        publish(it.app.workspace.registry, "mine", FAILED)
        it.app.bridge.follow(write_run(it, worse="old answers got worse: 1.2 → 2.0"))
        await it.until(lambda: "mine/v1 failed the gate and is not offered: old answers got worse" in it.shown())
        await it.pilot.press("ctrl+g")
        await it.until(lambda: "No new version is ready." in it.shown())
        assert it.app.adapter == "base" and "ready: Ctrl+G" not in it.shown()


async def test_a_restart_uses_what_was_accepted_and_nothing_else(tmp_path: Path) -> None:
    async with driven(tmp_path) as it:
        publish(it.app.workspace.registry, "mine")
    async with driven(tmp_path) as it:
        assert it.app.adapter == "base"
        await it.until(lambda: "mine/v1 ready: Ctrl+G" in it.shown())
        await it.pilot.press("f5", "ctrl+g")
        await it.until(lambda: it.app.adapter == "mine/v1")
    async with driven(tmp_path) as it:
        assert it.app.adapter == "mine/v1"
        await it.until(lambda: "mine/v1" in it.shown() and "ready: Ctrl+G" not in it.shown())


async def test_an_adapter_that_cannot_be_loaded_leaves_the_one_before(tmp_path: Path) -> None:
    async with driven(tmp_path, FakeEngine(known=()), size=(100, 30)) as it:
        publish(it.app.workspace.registry, "mine")
        await it.say("/adapter mine/v1")
        await it.until(lambda: "There is no adapter mine/v1" in it.shown())
        assert it.app.adapter == "base"
        await it.ask("hello")
        assert "base heard" in it.shown()


async def test_errors_are_told_whole_and_others_go_to_the_log(tmp_path: Path) -> None:
    async with driven(tmp_path, size=(100, 30)) as it:
        it.app.report(AdapterNotFound("No [/INST] adapter.", data="All is there.", remedy="Look \x1b[31mthere."))
        await it.until(lambda: "No [/INST] adapter." in it.shown() and "␛[31mthere" in it.shown())
        it.app.report(ValueError("[/bold] inside"))
        await it.until(lambda: "ValueError: [/bold] inside" in it.shown())
        log = (it.app.workspace.paths.logs / "tui.log").read_text()
        assert "ValueError" in log


async def test_a_log_that_cannot_be_written_is_said_and_nothing_ends(tmp_path: Path) -> None:
    paths = paths_in(tmp_path)
    paths.home.mkdir(parents=True)
    paths.logs.write_text("no folder")
    async with driven(tmp_path) as it:
        await it.until(lambda: "File exists" in it.shown())
        it.app.report(ValueError("not ours"))
        await it.ask("hello")


async def test_escape_clears_what_was_said(tmp_path: Path) -> None:
    async with driven(tmp_path) as it:
        for key, mode in (
            ("f2", "chat"),
            ("f3", "corpus"),
            ("f4", "train"),
            ("f5", "adapters"),
            ("f6", "compare"),
        ):
            await it.pilot.press(key)
            await it.until(lambda mode=mode: it.app.current_mode == mode)
            it.app.report(AdapterNotFound("No such adapter."))
            await it.until(lambda: "No such adapter." in it.shown())
            await it.pilot.press("escape")
            await it.until(lambda: "No such adapter." not in it.shown())


async def test_a_toast_takes_the_place_of_the_one_of_its_kind(tmp_path: Path) -> None:
    async with driven(tmp_path) as it:
        for number in range(3):
            it.app.notify(f"Told {number}.", timeout=60)
            it.app.report(AdapterNotFound(f"Wrong {number}."))
        await it.until(lambda: "Told 2." in it.shown() and "Wrong 2." in it.shown())
        assert [known.timeout for known in it.app._notifications] == [3.0, 8.0]


async def test_help_names_every_command_and_every_key(tmp_path: Path) -> None:
    async with driven(tmp_path, size=(120, 90)) as it:
        await it.pilot.press("f1")
        await it.until(lambda: isinstance(it.app.screen, HelpScreen))
        shown = it.shown()
        assert all(f"/{command.name}" in shown for command in commands.COMMANDS)
        await it.pilot.press("escape")
        await it.say("/help keep")
        await it.until(lambda: isinstance(it.app.screen, HelpScreen))


async def test_help_begins_with_the_keys_of_the_screen_it_was_asked_on(tmp_path: Path) -> None:
    async with driven(tmp_path) as it:
        for key, mode, known in (
            ("f2", "chat", "Keep the last exchange"),
            ("f3", "corpus", "All filters as fields"),
            ("f4", "train", "Start"),
            ("f5", "adapters", "Mark"),
            ("f6", "compare", "Ask both"),
        ):
            await it.pilot.press(key)
            await it.until(lambda mode=mode: it.app.current_mode == mode)
            await it.pilot.press("f1")
            await it.until(lambda: isinstance(it.app.screen, HelpScreen) and it.app.screen.query("#here"))
            what = [row.what for row in it.app.screen.query_one("#here", Rows).rows]
            assert any(known in line for line in what), (mode, what)
            assert "Cursor up" not in what
            assert not set(what) & {row.what for row in it.app.screen.query(Rows)[1].rows}, "each is told once"
            await it.until(lambda: "On this screen" in it.shown())
            await it.pilot.press("escape")


def test_wrapped_rows_stay_in_their_column() -> None:
    row = Row("/corpus FILE", "Count what is kept; import or export a file of any size", "ctrl+k")
    lines = [line.plain for line in Rows([row], 20)._lines(50)]
    assert len(lines) > 1 and all(line.startswith(" " * 20) and line[20] != " " for line in lines[1:])
    assert all(len(line) <= 50 for line in lines) and lines[-1].endswith("ctrl+k")


async def test_the_footer_shows_whole_keys_only(tmp_path: Path) -> None:
    async with driven(tmp_path, size=(200, 24)) as it:
        for key in ("f2", "f3", "f4", "f5", "f6"):
            await it.pilot.press(key)
            await it.pilot.resize_terminal(200, 24)
            await it.pilot.pause(0.05)
            whole = it.shown().splitlines()[-1].strip().split("  ")
            assert whole[-1] == "f1 all keys"
            await it.pilot.resize_terminal(80, 24)
            await it.pilot.pause(0.05)
            fitting = it.shown().splitlines()[-1].strip().split("  ")
            assert fitting[-1] == "f1 all keys" and fitting[:-1] == whole[: len(fitting) - 1]


async def test_the_palette_runs_commands(tmp_path: Path) -> None:
    async with driven(tmp_path) as it:
        await it.ask("hello")
        await it.pilot.press("ctrl+p")
        await it.pilot.pause(0.1)
        await it.pilot.press(*"reject")
        await it.pilot.pause(0.3)
        await it.pilot.press("enter")
        await it.until(lambda: "✗ rejected" in it.shown())


async def test_keys_can_be_changed(tmp_path: Path) -> None:
    async with driven(tmp_path, settings=Settings(keys={"keep": "ctrl+l"})) as it:
        await it.ask("hello")
        assert "^l Keep" in it.shown()
        await it.pilot.press("ctrl+l")
        await it.until(lambda: "✓ kept" in it.shown())


async def test_settings_are_checked_saved_and_used(tmp_path: Path) -> None:
    async with driven(tmp_path, size=(120, 40)) as it:
        await it.pilot.press("f8")
        await it.pilot.pause(0.1)
        assert "The seed" in it.shown() or "The same seed" in it.shown()
        assert set(Settings.__struct_fields__) <= set(documentation())
        fields = {setting.key: setting for setting in it.app.screen.query(Setting)}
        await it.app.change_setting("sampling.temperature", 0)
        assert it.app.chat.sampling.temperature == 0
        assert "temperature = 0" in it.app.workspace.paths.config.read_text()
        await it.app.change_setting("theme", "textual-light")
        assert it.app.theme == "textual-light"
        field = fields["sampling.top_p"].query_one("Input")
        field.focus()
        field.value = "7"
        await it.pilot.press("enter")
        await it.until(lambda: "top_p is above 0" in it.shown())
        assert it.app.chat.sampling.top_p == 0.9


async def test_set_and_system(tmp_path: Path) -> None:
    async with driven(tmp_path) as it:
        await it.say("/set temperature 0.1")
        await it.until(lambda: it.app.chat.sampling.temperature == 0.1)
        await it.say("/set temperature x")
        await it.until(lambda: "cannot be x" in it.shown())
        await it.say("/system You are [/INST] a pirate")
        await it.until(lambda: it.app.chat.system == "You are [/INST] a pirate")
        await it.say("/system clear")
        await it.until(lambda: it.app.chat.system is None)


async def test_themes_are_remembered(tmp_path: Path) -> None:
    async with driven(tmp_path) as it:
        it.app.theme = "textual-light"
        await it.until(lambda: it.app.workspace.settings.theme == "textual-light")
        await it.ask("```python\nx = 1\n```")


async def test_leaving_saves_what_is_being_typed(tmp_path: Path) -> None:
    async with driven(tmp_path) as it:
        it.chat.prompt.put("not sent")
        await it.pilot.press("ctrl+q")
        await it.until(lambda: it.app.return_code == 0)
        assert "not sent" in (it.app.workspace.paths.home / "draft.json").read_text()


async def test_a_second_terminal_sees_what_the_first_kept(tmp_path: Path) -> None:
    async with driven(tmp_path) as it:
        await it.ask("hello")
        other = it.app.workspace.client(it.served.model)
        await other.connect()
        assert (await other.status()).clients == 2
        await other.close()
        await asyncio.sleep(0)


async def test_a_failed_run_says_why_on_any_screen(tmp_path: Path) -> None:
    async with driven(tmp_path, size=(100, 30)) as it:
        folder = it.app.workspace.paths.run("r2")
        folder.mkdir(parents=True)
        created = RunCreated(run="r2", model="fake", adapter="mine", parent="base", snapshot="0", new_replies=1)
        events.append(folder, created)
        failure = Failure("RunDiverged", "The loss is not finite [/INST].", "Nothing was published.", "Lower the rate.")
        events.append(folder, RunFailed(failure=failure))
        it.app.bridge.follow("r2")
        await it.until(lambda: "The loss is not finite [/INST]." in it.shown() and "Lower the rate." in it.shown())


async def test_files_in_and_out_by_command(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"instruction": "Say hi", "input": "", "output": "hi"}\n')
    async with driven(tmp_path, size=(100, 30)) as it:
        await it.say(f"/corpus import {rows}")
        await it.until(lambda: "1 new" in it.shown())
        await it.until(lambda: "1 kept" in it.shown())
        await it.say(f"/corpus export {tmp_path / 'out.jsonl'}")
        await it.until(lambda: "1 rows written" in it.shown())
        await it.say("/corpus import /nowhere.jsonl")
        await it.until(lambda: "nowhere.jsonl" in it.shown())
        await it.ask("hello")
        await it.say(f"/save {tmp_path / 'chat.md'}")
        await it.until((tmp_path / "chat.md").exists)
        await it.say(f"/read {rows}")
        await it.until(lambda: it.app.chat.last is not None and "Say hi" in it.app.chat.last.prompt)


async def test_a_prompt_that_cannot_be_remembered_is_sent(tmp_path: Path) -> None:
    paths_in(tmp_path).history.mkdir(parents=True)
    async with driven(tmp_path, size=(100, 30)) as it:
        await it.ask("hello")
        assert it.app.chat.last is not None and it.app.chat.last.prompt == "hello"
        await it.until(lambda: "Is a directory" in it.shown())
        await it.say("/system Be short.")
        await it.until(lambda: it.app.chat.system == "Be short.")


async def test_compare_and_vote_by_command(tmp_path: Path) -> None:
    async with driven(tmp_path, size=(100, 30)) as it:
        publish(it.app.workspace.registry, "mine")
        await it.say("/vote left")
        await it.until(lambda: "nothing to vote on" in it.shown())
        await it.pilot.press("f2")
        await it.say("/compare who are you")
        await it.until(lambda: "mine/v1 heard: who are you" in it.shown() and "base heard: who are you" in it.shown())
        await it.pilot.press("f2")
        await it.say("/vote right")
        await it.until(lambda: len(it.app.chat.store.verdicts()) == 1)
        assert it.app.chat.store.verdicts()[0].vote == "right"


async def test_a_wrong_name_of_a_key_is_said(tmp_path: Path) -> None:
    async with driven(tmp_path, settings=Settings(keys={"kep": "ctrl+l"}), size=(100, 30)) as it:
        await it.until(lambda: "no key named 'kep'" in it.shown() and "keep" in it.shown())


def test_every_key_of_the_chat_has_a_name() -> None:
    from tui.screens.chat import ChatScreen
    from tui.widgets.conversation import Conversation
    from tui.widgets.prompt import Prompt

    for owner in (ChatScreen, Conversation, Prompt):
        assert all(isinstance(binding, Binding) and binding.id for binding in owner.BINDINGS), owner
