"""What a run would train on, in numbers and words, before anybody starts it. Counts kept replies.

Knows no store and no files.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from corpora.dataset import Row, Taken, contradictions
from corpora.selection import Chosen, Selection
from sessions.protocol import BASE
from sessions.training import variants

Why: TypeAlias = Literal["import", "query", "group", "sample", "duplicate", "unfit", "unreadable"]
DETAILS = 6
SHORT: dict[Why, str] = {
    "import": "imported, not selected",
    "query": "not matched",
    "group": "switched off",
    "sample": "not in the sample",
    "duplicate": "duplicates",
    "unfit": "cannot be trained",
    "unreadable": "cannot be read",
}
SENTENCES: dict[Why, tuple[str, str]] = {
    "import": ("imported reply is not selected", "imported replies are not selected"),
    "query": ("reply does not match the query", "replies do not match the query"),
    "group": ("reply is in a group that is switched off", "replies are in groups that are switched off"),
    "sample": ("reply is not in the sample", "replies are not in the sample"),
    "duplicate": ("reply repeats another one", "replies repeat others"),
    "unfit": ("reply cannot be trained", "replies cannot be trained"),
    "unreadable": ("reply cannot be read", "replies cannot be read"),
}
"""For one reply and for several."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Kept replies that a run leaves out for one reason; `details` are files, or what is wrong with each."""

    why: Why
    replies: int
    details: tuple[str, ...] = ()

    def __str__(self) -> str:
        """One sentence, with the first of the details."""
        said = f"{self.replies:,} {SENTENCES[self.why][self.replies != 1]}"
        if not self.details:
            return f"{said}."
        shown = (", " if self.why == "import" else "; ").join(each.rstrip(".") for each in self.details[:DETAILS])
        more = len(self.details) - DETAILS
        return f"{said}: {shown}{f' and {more:,} more' if more > 0 else ''}."


@dataclass(frozen=True, slots=True)
class Size:
    """How much a run reads: `rows`, of them `replayed` ones; the characters in all of them, in the longest, and in
    the new replies (`trained`); new replies `inner` to a chat."""

    rows: int = 0
    replayed: int = 0
    characters: int = 0
    longest: int = 0
    trained: int = 0
    inner: int = 0


@dataclass(frozen=True, slots=True)
class Preview:
    """What a run would train on, before it starts.

    `kept` counts all kept replies of the corpus; each of them is `new`, `trained` in the parent already, or
    `left_out`. `replayed` of the trained ones come in again. `contradictions` counts prompts that are kept
    with different replies.
    """

    parent: str
    selection: Selection
    kept: int
    new: int
    trained: int = 0
    replayed: int = 0
    left_out: tuple[LeftOut, ...] = ()
    contradictions: int = 0
    size: Size = Size()

    @property
    def headline(self) -> str:
        """What is trained, in one sentence."""
        if not self.kept:
            return "Nothing is kept yet."
        if not self.new:
            return "No new reply is selected."
        again = f", with {counted(self.replayed)} of earlier runs mixed in" if self.replayed else ""
        start = "from the base" if self.parent == BASE else f"on top of {self.parent}"
        return f"{self.new:,} new {'reply' if self.new == 1 else 'replies'}{again}, {start}."

    @property
    def account(self) -> str:
        """Where every kept reply goes; empty where all of them are new."""
        trained = f"{self.trained:,} trained in {self.parent} already" if self.trained else ""
        parts = [f"{self.new:,} new", trained, *(f"{each.replies:,} {SHORT[each.why]}" for each in self.left_out)]
        return f"{self.kept:,} kept: {' · '.join(part for part in parts if part)}." if self.new < self.kept else ""

    @property
    def warning(self) -> str:
        """What spoils a run and is easily put right; mostly nothing."""
        if not self.contradictions:
            return ""
        which = "One prompt is" if self.contradictions == 1 else f"{self.contradictions:,} prompts are"
        return f"{which} kept with different replies: the model may give either, and the run goes to its last step."

    @property
    def nothing(self) -> str:
        """Why there is nothing to train, and what to do; empty where there is something."""
        if self.new:
            return ""
        if not self.kept:
            return "No reply is kept. Keep or correct one first."
        if found := self.left("import"):
            return f"{found} Select them, or keep or correct more replies."
        if found := self.left("unfit"):
            return f"{found} Correct them in Corpus."
        if self.trained:
            return f"Every selected reply was trained in {self.parent} already. Keep or correct more."
        return "No kept reply is selected. Change the selection."

    def left(self, why: Why) -> LeftOut | None:
        """The replies that are left out for a reason."""
        return next((each for each in self.left_out if each.why == why), None)


def preview_of(parent: str, chosen: Chosen, taken: Taken, unfit: Sequence[tuple[Row, str]] = ()) -> Preview:
    """The numbers of a selection that was read; `unfit` are rows that cannot be trained."""
    new = [row for row in taken.rows if not row.replay]
    bad = sum(row.replies for row, _ in unfit)
    reasons = (
        LeftOut("import", chosen.count("import"), tuple(chosen.files_left_out())),
        LeftOut("query", chosen.count("query")),
        LeftOut("group", chosen.count("group")),
        LeftOut("sample", chosen.count("sample")),
        LeftOut("duplicate", taken.duplicates),
        LeftOut("unfit", bad, tuple(f"{row.dialog[-1].content[:40]!r}: {why}" for row, why in unfit)),
        LeftOut("unreadable", taken.unreadable),
    )
    return Preview(
        parent=parent,
        selection=chosen.selection,
        kept=len(chosen.replies),
        new=sum(row.replies for row in new) - bad,
        trained=taken.trained,
        replayed=sum(row.replies for row in taken.rows if row.replay),
        left_out=tuple(each for each in reasons if each.replies),
        contradictions=contradictions(taken.rows),
        size=size_of(taken.rows),
    )


def size_of(rows: Iterable[Row]) -> Size:
    """How much there is to read in the rows of a snapshot."""
    rows = tuple(rows)
    new = [row for row in rows if not row.replay]
    sizes = [sum(len(said.content) for said in row.dialog) for row in rows]
    trained = sum(len(said.content) for row in new for said in row.dialog if said.role == "assistant" and said.kept)
    return Size(len(rows), len(rows) - len(new), sum(sizes), max(sizes, default=0), trained, variants.count(new))


def counted(replies: int) -> str:
    """`1 reply`, `2,000 replies`."""
    return f"{replies:,} {'reply' if replies == 1 else 'replies'}"
