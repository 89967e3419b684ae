"""A public stand-in for an engine: scripted replies at a set speed, real protocol, no model, no torch.

For tests of screens and hosts, and for looking at screens without a model.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
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
    bytes that are free for training (None: enough). `alone` are adapters that no batch takes together with
    others. What was asked of it stands in `requests`.
    """

    script: Callable[[Generate, str], str] = echo
    pause: float = 0.0
    error: Exception | None = None
    known: Sequence[str] | None = None
    room: int | None = None
    alone: Sequence[str] = ()
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
        turns = self._turns(request)
        for columns in turns:
            told = columns if len(turns) > 1 else ()
            yield Prefilled(id=request.id, prompt_tokens=prompt_tokens, context=self.info.context, columns=told)
            yield from self._stream(request, columns, stopped)

    def _turns(self, request: Generate) -> list[tuple[int, ...]]:
        together: dict[str, list[int]] = {}
        for column, adapter in enumerate(request.adapters):
            together.setdefault(adapter if adapter in self.alone else "", []).append(column)
        return [tuple(columns) for columns in together.values()]

    def _stream(self, request: Generate, columns: Sequence[int], stopped: Callable[[], bool]) -> Iterator[Step]:
        started = time.monotonic()
        words = {column: re.findall(r"\S+\s*|\s+", self._said(request, request.adapters[column])) for column in columns}
        given = {column: min(len(said), request.sampling.max_new_tokens) for column, said in words.items()}
        for place in range(max(given.values(), default=0)):
            if stopped():
                cut = {column: min(place, count) for column, count in given.items()}
                yield from self._ends(request, cut, started, Finish.STOPPED)
                return
            for column in columns:
                if place < given[column]:
                    yield Token(id=request.id, text=words[column][place], column=column)
            time.sleep(self.pause)
        whole = all(given[column] == len(said) for column, said in words.items())
        yield from self._ends(request, given, started, Finish.EOS if whole else Finish.LENGTH)

    def _said(self, request: Generate, adapter: str) -> str:
        """The script up to the first stop text."""
        stops = Stops(request.sampling.stop)
        return stops.push(self.script(request, adapter)) + stops.finish()

    def _ends(self, request: Generate, given: Mapping[int, int], started: float, finish: Finish) -> Iterator[Step]:
        seconds = time.monotonic() - started
        for column, count in given.items():
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
