"""One preference pair whole: where it comes from, the dialog above, chosen and rejected. Knows nothing of the store."""

from __future__ import annotations

from dataclasses import dataclass

from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.content import Content

from corpora.dialog import Preference, Verdict
from tui import render
from tui.widgets.detail import Detail, changes, titled, written

WIDE = 60
EMPTY = """No preference pair here yet.

A correction makes one ([b]ctrl+e[/b] in the chat, [b]c[/b] on an exchange): your reply is chosen, the model's rejected.
So does a vote on the Compare screen (F6), and a file of chosen and rejected replies ([b]I[/b] among the exchanges)."""
NOTHING = "Nothing matches. [b]esc[/b] shows all pairs again."


@dataclass(frozen=True, slots=True)
class ShownPair:
    """A pair, and the vote that it was made of."""

    pair: Preference
    vote: Verdict | None


class PairDetail(Detail):
    """Chosen and rejected beside each other where there is room."""

    DEFAULT_CSS = """
    PairDetail {
        & .replies { height: auto; layout: vertical; }
        & .replies > .block { width: 1fr; }
        &.-wide .replies { layout: horizontal; }
        &.-wide .chosen { margin-right: 1; }
    }
    """
    BLOCKS = ("facts", "system", "above", "prompt", "chosen", "rejected", "empty")

    def compose(self) -> ComposeResult:
        """Both replies stand in one row."""
        for name in ("facts", "system", "above", "prompt"):
            yield self.block(name)
        with Horizontal(classes="replies"):
            yield self.block("chosen")
            yield self.block("rejected")
        yield self.block("empty")

    def show(self, shown: ShownPair | None, *, filtered: bool = False) -> None:
        """Show a pair, or what to do where there is none: none at all, or none that is `filtered`."""
        if shown is None:
            self.put_all({"empty": Content.from_markup(NOTHING if filtered else EMPTY)})
        else:
            self.put_all(_blocks(shown))

    def on_resize(self) -> None:
        """Beside each other, or below."""
        self.set_class(self.size.width >= WIDE, "-wide")


def origin(shown: ShownPair) -> str:
    """Where a pair comes from, in words."""
    pair, vote = shown.pair, shown.vote
    if vote is not None:
        left_won = vote.left == pair.chosen or vote.right == pair.rejected
        winner, loser = vote.left_adapter, vote.right_adapter
        names = (winner, loser) if left_won else (loser, winner)
        return f"a {'blind ' if vote.blind else ''}vote for {names[0]} over {names[1]}"
    if pair.source == "correction":
        return "a correction" if pair.exchange_id is None else f"a correction of exchange #{pair.exchange_id}"
    return pair.source


def _blocks(shown: ShownPair) -> dict[str, Content]:
    pair = shown.pair
    system = "\n".join(said.content for said in pair.dialog if said.role == "system")
    talk = [said for said in pair.dialog if said.role != "system"]
    above = [f"{'→ ' if said.role == 'assistant' else ''}{said.content}" for said in talk[:-1]]
    corrected = pair.source == "correction"
    return {
        "facts": _facts(shown),
        "system": titled("System", system) if system else Content(""),
        "above": titled("Before", "\n".join(above)) if above else Content(""),
        "prompt": titled("Prompt", talk[-1].content if talk else ""),
        "chosen": titled("Chosen", changes(pair.rejected, pair.chosen) if corrected else pair.chosen),
        "rejected": titled("Rejected", pair.rejected),
    }


def _facts(shown: ShownPair) -> Content:
    pair = shown.pair
    facts = f" · #{pair.id} · from {render.line(origin(shown), 120)} · {written(pair.created)}"
    lengths = f" · {len(pair.chosen):,} and {len(pair.rejected):,} characters"
    return Content.assemble(("pair", "bold $text-accent"), (facts + lengths, "dim"))
