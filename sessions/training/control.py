"""What may interrupt a worker: the person (stop file, SIGTERM), the chat (its flag), the host (by its death).

Checked between micro-batches and decoder layers; knows nothing of models. Torch-free.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from sessions.errors import Cancelled, HostDied
from sessions.training.assignment import ChatFlag
from sessions.training.events import FILE
from sessions.training.runs import stop_requested

TICK = 0.002
LOOK_EVERY = 0.05
SHOW_EVERY = 30.0


class Control:
    """The outside world as a running worker sees it.

    `folder` is the run's, or None for work without one: then there is no stop file. `chat_share` is the share of
    the time that is left to chat while a reply is generated. `synchronize` waits for the device, so that time is
    counted where it is spent. `on_chat` is called from `check`, between pieces of work, with True when a reply
    begins to be generated and with False when none is any more.
    """

    def __init__(
        self,
        folder: Path | None,
        *,
        flag: ChatFlag | None = None,
        chat_share: float = 1.0,
        parent: int | None = None,
        synchronize: Callable[[], None] = lambda: None,
        on_chat: Callable[[bool], None] = lambda busy: None,
    ) -> None:
        self.folder = folder
        self.synchronize = synchronize
        self.on_chat = on_chat
        self.waited = 0.0
        self._flag = flag
        self._share = chat_share
        self._parent = os.getppid() if parent is None else parent
        self._stop: bool | None = None
        self._looked = 0.0
        self._shown = -SHOW_EVERY
        self._worked_since = time.monotonic()
        self._chatting = False

    @property
    def saving(self) -> bool:
        """Return True once the person asked to stop and keep what was trained."""
        self._look()
        return self._stop is True

    @property
    def orphaned(self) -> bool:
        """Return True once the host is gone."""
        return os.getppid() != self._parent

    def orphan(self) -> None:
        """Behave as if the host were gone."""
        self._parent = 0

    @property
    def stopping(self) -> bool:
        """Return True where the run should end at the next whole step."""
        return self.saving or self.orphaned

    def check(self) -> None:
        """Between pieces of work: wait for chat, then raise Cancelled where the run was cancelled."""
        self.give_way()
        self._report_chat()
        self._look()
        if self._stop is False:
            raise Cancelled("The run was cancelled.", data="Nothing was published.")

    def check_before_training(self) -> None:
        """Like `check`, where there is nothing to save yet: any stop ends the run."""
        self.check()
        if self.saving:
            raise Cancelled("The run was stopped before it had learnt anything.", data="Nothing was published.")
        if self.orphaned:
            raise host_ended()

    def give_way(self) -> None:
        """While a reply is generated, wait until chat has had its share of the time since the last wait."""
        self._show_life()
        if self._flag is None or not self._share or not self._flag.busy:
            self._worked_since = time.monotonic()
            return
        self.synchronize()
        start = time.monotonic()
        worked = start - self._worked_since
        most = float("inf") if self._share >= 1 else worked * self._share / (1 - self._share)
        while self._flag.busy and time.monotonic() - start < most and not self.orphaned and self._stop is not False:
            time.sleep(TICK)
            self._show_life()
            self._look()
        self._worked_since = time.monotonic()
        self.waited += self._worked_since - start

    def stop_on_signals(self) -> None:
        """Make SIGTERM and SIGINT stop the run and save. A second one ends the process at once."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._stop = True
        signal.signal(number, signal.SIG_DFL)

    def _report_chat(self) -> None:
        chatting = self._flag is not None and self._flag.busy
        if chatting != self._chatting:
            self._chatting = chatting
            self.on_chat(chatting)

    def _show_life(self) -> None:
        """Touch the run's events: on other machines that is the only sign of a worker in a long step."""
        now = time.monotonic()
        if self.folder is not None and now - self._shown >= SHOW_EVERY:
            self._shown = now
            with contextlib.suppress(OSError):  # a sign that cannot be given ends no run
                os.utime(self.folder / FILE)

    def _look(self) -> None:
        """Look for the stop file, at most every LOOK_EVERY seconds: it may lie on a network disk."""
        now = time.monotonic()
        if self.folder is not None and self._stop is not False and now - self._looked >= LOOK_EVERY:
            self._looked = now
            asked = stop_requested(self.folder)
            self._stop = self._stop if asked is None else asked


def host_ended() -> HostDied:
    """Return the error of a run whose host is gone."""
    return HostDied(
        "The host ended, and the run with it.",
        data="What was learnt up to the last checkpoint is kept.",
        remedy="Resume the run.",
    )
