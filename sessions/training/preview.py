"""What a run would train on, in numbers and words, before anybody starts it. Knows no store and no files."""

from __future__ import annotations

from dataclasses import dataclass

from corpora.dataset import Snapshot, contradictions
from sessions.training import variants


@dataclass(frozen=True, slots=True)
class Preview:
    """What a run would train on, before Start: counts, and rows that cannot be trained with the reason.

    `characters` counts all that is said in the rows, `longest` in the longest one, `inner` the kept
    exchanges from within chats, `contradictions` the prompts that are taught different replies.
    """

    new_rows: int
    replayed_rows: int
    parent: str
    problems: tuple[str, ...] = ()
    characters: int = 0
    longest: int = 0
    inner: int = 0
    contradictions: int = 0

    @property
    def rows(self) -> int:
        """New and replayed."""
        return self.new_rows + self.replayed_rows

    @property
    def warning(self) -> str:
        """What spoils a run and is easily put right; mostly nothing."""
        if not self.contradictions:
            return ""
        which = "One prompt is" if self.contradictions == 1 else f"{self.contradictions:,} prompts are"
        return f"{which} kept with different replies: the model may give either."


def counted(start: str, snapshot: Snapshot, problems: tuple[str, ...] = ()) -> Preview:
    """A snapshot in numbers."""
    sizes = [sum(len(said.content) for said in row.dialog) for row in snapshot.rows]
    return Preview(
        snapshot.new,
        len(snapshot.rows) - snapshot.new,
        start,
        problems,
        sum(sizes),
        max(sizes, default=0),
        variants.count(snapshot.rows),
        contradictions(snapshot.rows),
    )
