"""What the operating system refuses, in words for the person."""

from __future__ import annotations

import errno

from sessions.errors import DiskFull, LlamaTuiError


def of_system(error: OSError) -> LlamaTuiError:
    """What the operating system refused, in words."""
    place = f"{error.filename}: " if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFull(
            f"{place}The disk is full.", data="What was saved before stays.", remedy="Make room and try again."
        )
    return LlamaTuiError(
        f"{place}{error.strerror or error}.",
        data="What was saved before stays.",
        remedy="Check the path and its permissions.",
    )
