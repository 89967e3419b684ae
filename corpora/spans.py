"""Numbers and dates as a query gives them: `200`, `>200`, `200..500`; `2026-01`, `>=2026-01-15`, `7d`."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from datetime import date

from corpora.errors import UsageError

NUMBERS = "200, >200, <=500 or 200..500"
DATES = "2026-01, >=2026-01-15, 2025..2026-03, today or 7d"
DAY = 86_400.0
_UNITS = {"d": 1, "w": 7, "m": 30, "y": 365}
_COMPARED = re.compile(r"(>=|<=|>|<|=)?(.*)", re.DOTALL)
_DATE = re.compile(r"(\d{4})(?:-(\d{1,2}))?(?:-(\d{1,2}))?")
_AGO = re.compile(r"(\d{1,4})([dwmy])")


def numbers(key: str, values: Iterable[str]) -> tuple[int | None, int | None]:
    """The least and the most that all of the values allow. Raises UsageError for what is no number."""
    least: int | None = None
    most: int | None = None
    for value in values:
        low, high = _bounds(key, value)
        least = low if least is None or (low is not None and low > least) else least
        most = high if most is None or (high is not None and high < most) else most
    return least, most


def dates(values: Iterable[str], now: float) -> tuple[float | None, float | None]:
    """From when (seconds since the epoch) to before when, in local time. Raises UsageError for what is no date."""
    since: float | None = None
    until: float | None = None
    for value in values:
        start, end = _span(value, now)
        since = start if since is None or (start is not None and start > since) else since
        until = end if until is None or (end is not None and end < until) else until
    return since, until


def _bounds(key: str, value: str) -> tuple[int | None, int | None]:
    first, last = _ends(value)
    if last is not None:
        return _number(key, first, value), _number(key, last, value)
    sign, text = _signed(value)
    number = _number(key, text, value)
    bounds: dict[str, tuple[int | None, int | None]] = {
        ">": (number + 1, None),
        ">=": (number, None),
        "<": (None, number - 1),
        "<=": (None, number),
    }
    return bounds.get(sign, (number, number))


def _number(key: str, text: str, value: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 12:
        raise UsageError(f"{key}:{value} holds no number.", remedy=f"For example {NUMBERS}.")
    return int(text)


def _span(value: str, now: float) -> tuple[float | None, float | None]:
    if (relative := _relative(value, now)) is not None:
        return relative
    first, last = _ends(value)
    if last is not None:
        return _period(first, value)[0], _period(last, value)[1]
    sign, text = _signed(value)
    start, end = _period(text, value)
    bounds: dict[str, tuple[float | None, float | None]] = {
        ">": (end, None),
        ">=": (start, None),
        "<": (None, start),
        "<=": (None, end),
    }
    return bounds.get(sign, (start, end))


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
