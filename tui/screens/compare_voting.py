"""Votes on two replies: cast, counted, taken back.

The store decides whether a vote stands: one that is undone, here or on another screen, is open again.
"""

from __future__ import annotations

import asyncio

from textual.content import Content

from corpora.dialog import Vote
from corpora.errors import LlamaTuiError
from sessions.comparing import Comparison, tally
from tui.messages import CorpusChanged
from tui.screens.background import background
from tui.screens.compare_parts import CompareParts
from tui.widgets.verdicts import chosen, take_back, told

TAKEN_BACK = "Taken back."
KNOWN = "The names are known now: it will count as open."


class Voting(CompareParts):
    """One vote on each comparison; left or right also makes a preference pair."""

    def action_vote(self, choice: str) -> None:
        """Save the vote on what is shown now."""
        if self.comparison is not None and self.open_to_vote:
            self.casting = True
            self._cast(self.comparison, Vote(choice))

    @background("vote")
    async def _cast(self, comparison: Comparison, vote: Vote) -> None:
        """Save the vote, name the columns."""
        try:
            verdict = await comparison.cast(self.llama.workspace.store, vote)
        except LlamaTuiError:
            comparison.vote = None
            raise
        finally:
            self.casting = False
        if comparison is self.comparison:
            self.verdict = verdict
            for place, head in enumerate(self.heads):
                head.reveal(winner=vote is (Vote.LEFT, Vote.RIGHT)[place])
        self.llama.tell(CorpusChanged())
        self.refresh_bindings()

    @background("vote")
    async def action_take_back(self) -> None:
        """Undo the vote, if nothing was changed since."""
        if self.verdict is not None:
            await asyncio.to_thread(take_back, self.llama.workspace.store, self.verdict)
            self.llama.tell(CorpusChanged())

    def on_corpus_changed(self, message: CorpusChanged) -> None:
        """A vote may have been cast or taken back."""
        if not message.ids:
            self.show_tally()

    @background("tally")
    async def show_tally(self) -> None:
        """The votes between the chosen two."""
        await self.tell_tally()

    async def tell_tally(self) -> None:
        """Read the votes: say how the chosen two stand, or that the vote on what is shown is gone."""
        if not self.llama.opened.is_set():
            return
        cast, comparison = self.verdict, self.comparison
        verdicts = await asyncio.to_thread(self.llama.workspace.store.verdicts)
        if cast is not None and cast is self.verdict and all(each.id != cast.id for each in verdicts):
            self._reopen()
        elif comparison is not None and comparison is self.comparison and self.verdict is not None:
            self._tell_chosen(comparison, told(tally(verdicts, *self.pair)))
        elif self.comparison is None and not self.busy and self.pair[0] != self.pair[1]:
            self.say(told(tally(verdicts, *self.pair)))

    def _tell_chosen(self, comparison: Comparison, votes: Content) -> None:
        theirs = set(comparison.columns) == set(self.pair)
        self.say(Content(f"{chosen(comparison)} " if theirs else "") + votes + Content("  n: next prompt"))

    def _reopen(self) -> None:
        """Vote again. Names that were told are known, so that this vote is not blind."""
        if (comparison := self.comparison) is None:
            return
        was_blind, comparison.blind = comparison.blind, False
        comparison.vote = self.verdict = None
        for head in self.heads:
            head.reveal(winner=False)
        self.invite(TAKEN_BACK, *([KNOWN] if was_blind else []))
        self.refresh_bindings()
