"""Fixtures for tests of the command line: a caller, and a host with a fake model."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sessions.engine.fake import FakeEngine
from sessions.paths import Paths
from tests.hosts import host_in_thread
from tests.tui.calling import Caller


@pytest.fixture
def run(paths: Paths, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Caller:
    """Calls the command line; messages are plain."""
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")
    return Caller(paths, capsys)


@pytest.fixture
def engine() -> FakeEngine:
    """What the host of `fake` answers with; a test may change it."""
    return FakeEngine()


@pytest.fixture
def host(paths: Paths, engine: FakeEngine) -> Iterator[FakeEngine]:
    """A running host of the model `fake`."""
    with host_in_thread(paths, engine) as running:
        yield running
