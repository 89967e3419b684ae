"""The replies of one request as they grow: ids become text, text becomes events. Knows no model.

Columns that can share a batch are written together, the others in turn.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from corpora.dialog import Finish
from sessions.engine.adapter import Adapter
from sessions.engine.decoding import Drawn, Ended
from sessions.engine.detokenize import Detokenizer
from sessions.engine.stopping import Stops
from sessions.protocol import ColumnEnded, Token


@dataclass(slots=True)
class Column:
    """One reply; `index` is its place in the request."""

    index: int
    words: Detokenizer
    stops: Stops
    tokens: int = 0
    untold: int = 0

    def hear(self, request: str, step: Drawn | Ended, timer: Timer) -> Iterator[Token | ColumnEnded]:
        """The events that one more step makes."""
        yield from self.settled(request, self._push(step.token) if isinstance(step, Drawn) else self._finish())
        if isinstance(step, Ended):
            finish = Finish.EOS if self.stops.found else step.finish
            yield ColumnEnded(id=request, finish=finish, column=self.index, tokens=self.tokens, seconds=timer.seconds)

    def held(self, request: str) -> Iterator[Token]:
        """What was held back in case more would come."""
        yield from self.settled(request, self._finish())

    def settled(self, request: str, text: str) -> Iterator[Token]:
        """The event for settled text, with all ids since the last one."""
        if text:
            told, self.untold = self.untold, 0
            yield Token(id=request, text=text, column=self.index, tokens=told)

    def _push(self, token: int) -> str:
        self.tokens += 1
        self.untold += 1
        return self.stops.push(self.words.push(token))

    def _finish(self) -> str:
        return self.stops.push(self.words.finish()) + self.stops.finish()


@dataclass(slots=True)
class Timer:
    """Seconds since it was made."""

    began: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """Seconds so far."""
        return time.monotonic() - self.began


def turns(mix: Sequence[tuple[Adapter | None, float]]) -> Iterable[tuple[int, ...]]:
    """Which columns are written together: those with the same virtual tokens, or with none."""
    together: dict[str, list[int]] = {}
    for index, (adapter, _) in enumerate(mix):
        lead = adapter.digest if adapter is not None and adapter.lead is not None else ""
        together.setdefault(lead, []).append(index)
    return [tuple(columns) for columns in together.values()]
