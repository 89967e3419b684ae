"""Numbers and dates as a query gives them: `200`, `>200`, `200..500`; `2026-01`, `>=2026-01-15`, `7d`."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable
from datetime import date
from typing import TypeVar

from corpora.errors import UsageError

T = TypeVar("T", int, float)
NUMBERS = "200, >200, <=500 or 200..500"
DATES = "2026-01, >=2026-01-15, 2025..2026-03, today or 7d"
DAY = 86_400.0
_UNITS = {"d": 1, "w": 7, "m": 30, "y": 365}
_COMPARED = re.compile(r"(>=|<=|>|<|=)?(.*)", re.DOTALL)
_DATE = re.compile(r"(\d{4})(?:-(\d{1,2}))?(?:-(\d{1,2}))?")
_AGO = re.compile(r"(\d{1,4})([dwmy])")


def numbers(key: str, values: Iterable[str]) -> tuple[int | None, int | None]:
    """The least and the most that all of the values allow. Raises UsageError for what is no number."""

    def period(text: str, value: str) -> tuple[int, int]:
        number = _number(key, text, value)
        return number, number + 1

    least, end = _common(_span(value, period) for value in values)
    return least, None if end is None else end - 1


def dates(values: Iterable[str], now: float) -> tuple[float | None, float | None]:
    """From when (seconds since the epoch) to before when, in local time. Raises UsageError for what is no date."""
    return _common(_relative(value, now) or _span(value, _period) for value in values)


def _common(spans: Iterable[tuple[T | None, T | None]]) -> tuple[T | None, T | None]:
    """What lies in all of the spans, from the first to before the second; None is no bound."""
    starts, ends = zip((None, None), *spans, strict=True)
    least = max((start for start in starts if start is not None), default=None)
    return least, min((end for end in ends if end is not None), default=None)


def _span(value: str, period: Callable[[str, str], tuple[T, T]]) -> tuple[T | None, T | None]:
    """From where to before where `200`, `>200` or `200..500` goes; `period` gives that of a bare text."""
    first, last = _ends(value)
    if last is not None:
        return period(first, value)[0], period(last, value)[1]
    sign, text = _signed(value)
    start, end = period(text, value)
    bounds: dict[str, tuple[T | None, T | None]] = {
        ">": (end, None),
        ">=": (start, None),
        "<": (None, start),
        "<=": (None, end),
    }
    return bounds.get(sign, (start, end))


def _number(key: str, text: str, value: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 12:
        raise UsageError(f"{key}:{value} holds no number.", remedy=f"For example {NUMBERS}.")
    return int(text)


def _relative(value: str, now: float) -> tuple[float, float | None] | None:
    """Days counted back from now."""
    today = time.mktime((*time.localtime(now)[:3], 0, 0, 0, 0, 0, -1))
    if value == "today":
        return today, None
    if value == "yesterday":
        return today - DAY, today
    ago = _AGO.fullmatch(value)
    return (now - int(ago[1]) * _UNITS[ago[2]] * DAY, None) if ago else None


def _period(text: str, value: str) -> tuple[float, float]:
    """The first second of a year, month or day, and the first after it, in local time."""
    found = _DATE.fullmatch(text)
    try:
        if found is None:
            raise ValueError(text)
        year, month, day = int(found[1]), int(found[2] or 1), int(found[3] or 1)
        begin = date(year, month, day)
        after = (year, month, day + 1) if found[3] else (year, month + 1, 1) if found[2] else (year + 1, 1, 1)
        return _midnight(begin.year, begin.month, begin.day), _midnight(*after)
    except (ValueError, OverflowError) as error:
        raise UsageError(f"date:{value} holds no date.", remedy=f"For example {DATES}.") from error


def _midnight(year: int, month: int, day: int) -> float:
    """Seconds since the epoch; a day or month beyond the last one is the first of the next."""
    return time.mktime((year, month, day, 0, 0, 0, 0, 0, -1))


def _ends(value: str) -> tuple[str, str | None]:
    first, dots, last = value.partition("..")
    return first, last if dots else None


def _signed(value: str) -> tuple[str, str]:
    found = _COMPARED.fullmatch(value)
    return (found[1] or "", found[2].strip()) if found else ("", value)
