"""corpus.db: conversations, exchanges, verdicts, preferences, pinned tests. The only package with SQL statements.

SQLite with a rollback journal and synchronous=FULL; what a method has returned from is on disk. Safe to call
from several threads, and from several processes at once. Independent of tokens, models and screens.
"""

from __future__ import annotations

from functools import cached_property

from corpora.store.browsing import ORDERS, BrowsingPart
from corpora.store.caring import CaringPart
from corpora.store.curating import CuratingPart
from corpora.store.importing import ImportingPart
from corpora.store.pinned import PinnedPart
from corpora.store.values import (
    KEPT,
    Bar,
    Branch,
    Correction,
    Filter,
    ImportedDialog,
    ImportedTurn,
    KeptReply,
    PairFilter,
    Stats,
    content_key,
    dialog_key,
)
from corpora.store.versions import VersionNames

__all__ = [
    "KEPT",
    "ORDERS",
    "Bar",
    "Branch",
    "Correction",
    "Filter",
    "ImportedDialog",
    "ImportedTurn",
    "KeptReply",
    "PairFilter",
    "Stats",
    "Store",
    "content_key",
    "dialog_key",
]


class Store(ImportingPart, CuratingPart, BrowsingPart, CaringPart, PinnedPart):
    """One connection to corpus.db, guarded by a lock."""

    @cached_property
    def version_names(self) -> VersionNames:
        """What the versions are called that records refer to."""
        return VersionNames(self)
