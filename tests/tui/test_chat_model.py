"""The chat screen and its model: loading, parked, failing, gone; how fast it answers."""

from __future__ import annotations

import threading
from pathlib import Path

from msgspec import structs

from corpora.dialog import Finish
from sessions.engine.contract import Progress
from sessions.engine.fake import INFO, FakeEngine, loader
from sessions.errors import ModelNotFound, OutOfMemory, UsageError
from sessions.protocol import Generate
from tests.tui.driving import driven


async def test_a_prompt_waits_for_the_model_and_says_so(tmp_path: Path) -> None:
    loaded = threading.Event()

    def load(progress: Progress) -> FakeEngine:
        progress("Reading weights", 0.4)
        loaded.wait(10)
        return FakeEngine()

    async with driven(tmp_path, load=load) as it:
        await it.say("hello")
        await it.until(lambda: "waiting for the model: reading weights 40%" in it.shown())
        assert it.app.chat.last is not None and it.app.chat.last.prompt == "hello"
        loaded.set()
        await it.until(lambda: it.last.reply == "base heard: hello" and it.chat.live is None)


async def test_the_pace_of_a_reply_is_shown_and_told_by_status(tmp_path: Path) -> None:
    async with driven(tmp_path, size=(120, 30)) as it:
        await it.ask("hello")
        await it.until(lambda: "first token" in it.shown())
        await it.say("/status")
        await it.until(lambda: "last reply first token" in it.shown() and "not compiled" in it.shown())


async def test_a_prompt_that_does_not_fit_is_there_to_be_shortened(tmp_path: Path) -> None:
    engine = FakeEngine(info=structs.replace(INFO, context=4))
    async with driven(tmp_path, engine, size=(100, 30)) as it:
        await it.say("one two three four five")
        await it.until(lambda: "The prompt has 5 tokens; the model reads 4." in it.shown())
        await it.until(lambda: it.chat.prompt.text == "one two three four five")
        assert "tries again" not in it.shown() and it.last.finish is Finish.FAILED
        it.chat.prompt.put("one two")
        await it.pilot.press("enter")
        await it.until(lambda: it.last.reply == "base heard: one two" and it.chat.live is None)


async def test_a_setting_that_does_not_hold_leaves_the_prompt_to_be_sent_again(tmp_path: Path) -> None:
    engine = FakeEngine(error=UsageError("There is no strength between.", remedy="/set strength 1"))
    async with driven(tmp_path, engine, size=(100, 30)) as it:
        await it.say("hello")
        await it.until(lambda: "/set strength 1" in it.shown() and it.chat.prompt.text == "hello")
        assert "tries again" not in it.shown()


async def test_status_before_the_first_reply_says_none_yet(tmp_path: Path) -> None:
    async with driven(tmp_path, size=(120, 30)) as it:
        await it.say("/status")
        await it.until(lambda: "last reply none yet" in it.shown())


async def test_a_prompt_to_a_parked_model_waits_and_says_why(tmp_path: Path) -> None:
    async with driven(tmp_path, size=(120, 30)) as it:
        await it.until(lambda: it.app.model is not None)
        await it.served.host._park()
        await it.until(lambda: "Parked until the run is done" in it.shown())
        await it.say("hello")
        await it.until(lambda: "waiting for the model: parked until the run is done" in it.shown())
        await it.served.host._unpark()
        await it.until(lambda: it.last.reply == "base heard: hello" and it.chat.live is None)
        assert "arked" not in it.shown()


async def test_a_model_that_cannot_be_loaded_is_told_with_the_remedy(tmp_path: Path) -> None:
    engine = FakeEngine()
    error = ModelNotFound("There is no model [x].", data="Nothing is lost.", remedy="Use `demo`.")
    async with driven(tmp_path, engine, load=loader(engine, error=error), size=(100, 30)) as it:
        await it.until(lambda: "There is no model [x]." in it.shown() and "Use `demo`." in it.shown())


async def test_an_engine_error_is_shown_and_the_prompt_unlocks(tmp_path: Path) -> None:
    engine = FakeEngine()
    async with driven(tmp_path, engine, size=(100, 30)) as it:
        engine.error = OutOfMemory("No memory [/INST].", data="Saved.", remedy="Close something.")
        await it.ask("hello")
        shown = it.shown()
        assert "No memory [/INST]." in shown and "Saved." in shown and "Close something." in shown
        assert it.last.finish is Finish.FAILED
        engine.error = None
        await it.pilot.press("ctrl+r")
        await it.until(lambda: it.last.reply == "base heard: hello")


async def test_the_host_dies_in_the_middle_of_a_reply(tmp_path: Path) -> None:
    async with driven(tmp_path, FakeEngine(pause=0.01), size=(100, 30)) as it:
        await it.say("word " * 500)
        await it.until(lambda: it.chat.live is not None and it.chat.live.tokens > 3)
        it.served.host.shut_down("It was ended.")
        await it.until(lambda: not it.app.chat.busy and it.chat.live is None)
        assert it.last.finish is Finish.FAILED and it.last.reply
        await it.until(lambda: "ended" in it.shown())
        it.chat.prompt.put("still typing")
        assert "still typing" in it.chat.prompt.text


async def test_cut_exchanges_are_said(tmp_path: Path) -> None:
    from sessions.engine.contract import Step
    from sessions.protocol import Prefilled

    class Cutting(FakeEngine):
        def generate(self, request: Generate, stopped):
            for step in super().generate(request, stopped):
                yield cut(step)

    def cut(step: Step) -> Step:
        if isinstance(step, Prefilled):
            return Prefilled(id=step.id, prompt_tokens=1900, dropped_exchanges=2, context=2048)
        return step

    async with driven(tmp_path, Cutting(), size=(100, 30)) as it:
        await it.ask("hello")
        assert "oldest 2 exchanges no longer fit" in it.shown()
        assert "/2,048" in it.shown()
