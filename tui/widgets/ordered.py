"""Keys in the order they were typed.

A priority binding acts when the app reads its key, while letters typed before it may still wait in the
editor's own queue. What is decorated here waits behind them, so that fast typing on a slow machine is whole.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps
from typing import Any, TypeVar

from textual.widget import Widget

Own = TypeVar("Own", bound=Widget)


def in_order(action: Callable[..., Any]) -> Callable[..., None]:
    """An action of an editor that runs once the keys typed before it have arrived."""

    @wraps(action)
    def later(self: Own, *given: Any) -> None:
        self.call_later(partial(action, self, *given))

    return later
