"""The progress of the anchors on the status line, in /status, in `host status` and in the REPL; gone when complete."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sessions.anchor_builder import AnchorBuilder
from sessions.errors import Failure
from sessions.paths import Paths
from sessions.protocol import Preparing
from tests.hosts import host_in_thread
from tests.tui.calling import Caller
from tests.tui.driving import Driven, driven
from tests.tui.test_repl_prompt import prompting
from tui.glance import anchors_in_words, anchors_share

FULL = Failure("DiskFull", "The disk is full.", "The chat is not affected.", "Free some space.")


class Showing(AnchorBuilder):
    """A builder that starts nothing and has a state to show."""

    def __init__(self, paths: Paths, state: Preparing) -> None:
        super().__init__(paths, lambda engine: (0, 0))
        self.state = state


def show(it: Driven, state: Preparing) -> None:
    """The host of the app under test gets to that state."""
    it.served.host.anchors = Showing(it.app.workspace.paths, state)
    it.served.host.broadcast(state)


@pytest.mark.parametrize(
    ("state", "share", "words"),
    [
        (None, "", ""),
        (Preparing(done=320, total=1078), "anchors 320 of 1,078", "320 of 1,078 recorded"),
        (Preparing(done=1078, total=1078), "", ""),
        (Preparing(done=64, total=1078, active=False), "", "64 of 1,078 recorded · paused during the run"),
        (
            Preparing(done=64, total=1078, active=False, failure=FULL),
            "",
            "64 of 1,078 recorded · The disk is full. The chat is not affected. Free some space.",
        ),
        (
            Preparing(done=0, total=0, active=False, failure=FULL),
            "",
            "The disk is full. The chat is not affected. Free some space.",
        ),
    ],
)
def test_in_words(state: Preparing | None, share: str, words: str) -> None:
    assert (anchors_share(state), anchors_in_words(state)) == (share, words)


async def test_the_status_line_shows_progress_until_it_is_complete(tmp_path: Path) -> None:
    async with driven(tmp_path, size=(120, 30)) as it:
        await it.until(lambda: it.app.model is not None)
        await it.until(lambda: "temperature 0.7" in it.shown())
        show(it, Preparing(done=320, total=1078))
        await it.until(lambda: "temperature 0.7 · anchors 320 of 1,078" in it.shown())
        await it.ask("hello")
        assert "anchors 320 of 1,078" in it.shown()
        show(it, Preparing(done=384, total=1078, active=False))
        await it.until(lambda: "anchors" not in it.shown())
        show(it, Preparing(done=384, total=1078))
        await it.until(lambda: "anchors 384 of 1,078" in it.shown())
        show(it, Preparing(done=1078, total=1078))
        await it.until(lambda: "anchors" not in it.shown())


async def test_a_narrow_status_line_cuts_the_anchors_first(tmp_path: Path) -> None:
    async with driven(tmp_path, size=(60, 24)) as it:
        await it.until(lambda: "temperature 0.7" in it.shown())
        before = it.shown()
        show(it, Preparing(done=320, total=1078))
        await it.until(lambda: it.chat.status.anchors)
        assert "temperature 0.7" in before and "0/2,048" in it.shown()


async def test_a_host_that_ends_leaves_no_progress_on_the_line(tmp_path: Path) -> None:
    async with driven(tmp_path, size=(120, 30)) as it:
        await it.until(lambda: it.app.model is not None)
        show(it, Preparing(done=320, total=1078))
        await it.until(lambda: "anchors 320 of 1,078" in it.shown())
        it.served.host.shut_down("It was ended.")
        await it.until(lambda: "anchors" not in it.shown())


async def test_status_shows_progress_and_failures(tmp_path: Path) -> None:
    async with driven(tmp_path, size=(120, 40)) as it:
        await it.until(lambda: it.app.model is not None)
        await it.say("/status")
        await it.until(lambda: "resident   none" in it.shown())
        assert "anchors " not in it.shown()
        await it.pilot.press("escape")
        show(it, Preparing(done=64, total=1078, active=False, failure=FULL))
        await it.say("/status")
        await it.until(lambda: "anchors    64 of 1,078 recorded · The disk is full." in it.shown())


@pytest.fixture
def building(paths: Paths) -> Iterator[None]:
    """A host of `fake` that has recorded some anchors."""
    with host_in_thread(paths, anchors=Showing(paths, Preparing(done=320, total=1078))):
        yield


def test_host_status(run: Caller, building: None) -> None:
    (found,) = run("host", "status", "--json").document
    assert (found["preparing"]["done"], found["preparing"]["total"]) == (320, 1078)
    assert "anchors   320 of 1,078 recorded" in run("host", "status").out


def test_host_status_without_anchors(run: Caller, host: object) -> None:
    assert "anchors" not in run("host", "status").out
    (found,) = run("host", "status", "--json").document
    assert found["preparing"] is None


async def test_the_repl(paths: Paths, capsys: pytest.CaptureFixture[str]) -> None:
    state = Preparing(done=320, total=1078)
    async with prompting(paths, anchors=Showing(paths, state)) as prompt:
        await prompt.type("/status\r")
        await prompt.until(lambda: "anchors 320 of 1,078" in prompt.session.toolbar())
        prompt.served.host.broadcast(Preparing(done=1078, total=1078))
        await prompt.until(lambda: "anchors" not in prompt.session.toolbar())
    assert "anchors          320 of 1,078 recorded" in capsys.readouterr().out
