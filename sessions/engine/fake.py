"""A public stand-in for an engine: scripted replies at a set speed, real protocol, no model, no torch.

For tests of screens and hosts, and for looking at screens without a model.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from corpora.dialog import Finish
from sessions.engine.contract import Progress, Step
from sessions.engine.stopping import Stops
from sessions.errors import AdapterNotFound, PromptTooLong
from sessions.protocol import BASE, AdapterLoaded, ColumnEnded, Generate, ModelInfo, Prefilled, Token

INFO = ModelInfo(name="fake", architecture="FakeForCausalLM", parameters=1000, quantization="NF4")


def echo(request: Generate, adapter: str) -> str:
    """The default script: says which adapter heard which prompt."""
    return f"{adapter} heard: {request.dialog[-1].content}"


@dataclass
class FakeEngine:
    """Answers by `script(request, adapter)`, a word at a time, `pause` seconds between words.

    `error` is raised instead of a reply; `known` are adapters that can be loaded (None: all); `room` are the
    bytes that are free for training (None: enough). What was asked of it stands in `requests`.
    """

    script: Callable[[Generate, str], str] = echo
    pause: float = 0.0
    error: Exception | None = None
    known: Sequence[str] | None = None
    room: int | None = None
    info: ModelInfo = INFO
    requests: list[Generate] = field(default_factory=list)
    loaded: list[str] = field(default_factory=list)
    parked: list[bool] = field(default_factory=list)

    def load_adapter(self, adapter: str) -> AdapterLoaded:
        """Resident at once."""
        if self.known is not None and adapter not in self.known:
            raise AdapterNotFound(f"There is no adapter {adapter}.", remedy="`llama-tui adapters list` shows them.")
        reused = adapter in self.loaded
        self.loaded = [adapter, *(known for known in self.loaded if known != adapter)]
        return AdapterLoaded(adapter=adapter, digest=f"fake-{adapter}", reused=reused)

    def resident(self) -> tuple[str, ...]:
        """What was loaded."""
        return tuple(self.loaded)

    def generate(self, request: Generate, stopped: Callable[[], bool]) -> Iterator[Step]:
        """Words of all columns in turn."""
        self.requests.append(request)
        if self.error is not None:
            raise self.error
        prompt_tokens = sum(len(said.content.split()) for said in request.dialog)
        if prompt_tokens > self.info.context:
            raise PromptTooLong(
                f"The prompt has {prompt_tokens} tokens; the model reads {self.info.context}.",
                data="Nothing was lost.",
                remedy="Shorten it, or send it in parts.",
            )
        for adapter in request.adapters:
            if adapter != BASE:
                self.load_adapter(adapter)
        yield Prefilled(id=request.id, prompt_tokens=prompt_tokens, context=self.info.context)
        yield from self._stream(request, stopped)

    def _stream(self, request: Generate, stopped: Callable[[], bool]) -> Iterator[Step]:
        started = time.monotonic()
        words = [re.findall(r"\S+\s*|\s+", self._said(request, adapter)) for adapter in request.adapters]
        given = [min(len(column), request.sampling.max_new_tokens) for column in words]
        for place in range(max(given, default=0)):
            if stopped():
                yield from self._ends(request, [min(place, count) for count in given], started, Finish.STOPPED)
                return
            for column in range(len(words)):
                if place < given[column]:
                    yield Token(id=request.id, text=words[column][place], column=column)
            time.sleep(self.pause)
        cut = any(count < len(column) for count, column in zip(given, words, strict=True))
        yield from self._ends(request, given, started, Finish.LENGTH if cut else Finish.EOS)

    def _said(self, request: Generate, adapter: str) -> str:
        """The script up to the first stop text."""
        stops = Stops(request.sampling.stop)
        return stops.push(self.script(request, adapter)) + stops.finish()

    def _ends(self, request: Generate, given: Sequence[int], started: float, finish: Finish) -> Iterator[Step]:
        seconds = time.monotonic() - started
        for column, count in enumerate(given):
            yield ColumnEnded(id=request.id, column=column, finish=finish, tokens=count, seconds=seconds)

    def share_base(self, folder: Path) -> Path | None:
        """Nothing to share."""
        return None

    def spare(self) -> int | None:
        """As was said."""
        return self.room

    def tidy(self) -> None:
        """Nothing is reserved."""

    def park(self, *, keep_base: bool) -> None:
        """Noted in `parked`: True for each parking, False for each return."""
        self.parked.append(True)
        self.loaded.clear()

    def unpark(self) -> None:
        """Back at once, or not at all where there is an `error`."""
        if self.error is not None:
            raise self.error
        self.parked.append(False)

    def close(self) -> None:
        """Nothing to give back."""


def loader(
    engine: FakeEngine, *, seconds: float = 0.0, error: Exception | None = None
) -> Callable[[Progress], FakeEngine]:
    """A loader that reports two stages and then hands out `engine`, or raises `error`."""

    def load(progress: Progress) -> FakeEngine:
        progress("Reading the fake weights", 0.0)
        time.sleep(seconds)
        if error is not None:
            raise error
        progress("Ready", 1.0)
        return engine

    return load
