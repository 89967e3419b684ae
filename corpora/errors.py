"""The root of every error meant for a person, and the branch that data raises.

The whole tree is drawn in `sessions/errors.py`. Knows nothing of models or screens.
"""

from __future__ import annotations


class LlamaTuiError(Exception):
    """An error that a person can read: what happened, what it means for their data, what to do.

    `exit_code` is what a command line verb returns when the error ends it.
    """

    exit_code = 1

    def __init__(self, what: str, *, data: str = "", remedy: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.data = data
        self.remedy = remedy

    def __str__(self) -> str:
        """All three parts as one line, the empty ones left out."""
        return " ".join(part for part in (self.what, self.data, self.remedy) if part)


class UsageError(LlamaTuiError):
    """The command or its arguments are wrong; nothing was done."""

    exit_code = 2


class CorpusError(LlamaTuiError):
    """Something about stored, imported or exported data."""


class DialogError(CorpusError):
    """A dialog that the format cannot express: wrong order of roles, or tags in its text."""


class TagsInContent(DialogError):
    """Content holds `[INST]`, `[/INST]`, `<<SYS>>` or `<</SYS>>`, as Meta's reference refuses it."""


class DialogTooLong(DialogError):
    """The last exchange of a dialog does not fit even alone."""


class ImportRefused(CorpusError):
    """A file that cannot be imported at all (single bad rows are reported, not raised)."""


class StoreError(CorpusError):
    """`corpus.db` cannot be opened, read or written."""


class StoreIsNewer(StoreError):
    """`corpus.db` was written by a newer version; it is open for reading only."""
