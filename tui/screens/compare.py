"""Two versions asked the same: both stream from one batch, are scrolled together and voted on.

Blind columns are named after the vote. Knows nothing of how a batch is made.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, ClassVar

from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import Select, Static

from sessions.protocol import BASE
from tui import render
from tui.messages import AdaptersChanged, StoreOpened
from tui.screens.background import background
from tui.screens.compare_asking import Asking
from tui.screens.compare_voting import Voting

if TYPE_CHECKING:
    from tui.app import LlamaTuiApp

ALONE = "There is no adapter yet: train one first (F4). Until then both columns are the base."


class CompareScreen(Asking, Voting):
    """Choice, prompt, two columns, vote.

    Its letters have priority, so that they act in the order in which they are typed; where text is taken they are
    letters all the same.
    """

    MODE: ClassVar[str] = "compare"
    CSS_PATH = "compare.tcss"
    AUTO_FOCUS = "#question"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("1", "vote('left')", "Left", key_display="←", priority=True, id="compare.left"),
        Binding("2", "vote('right')", "Right", key_display="→", priority=True, id="compare.right"),
        Binding("t", "vote('tie')", "Tie", priority=True, id="compare.tie"),
        Binding("x", "vote('both_bad')", "Both bad", priority=True, id="compare.bad"),
        Binding("3", "vote('tie')", priority=True, show=False),
        Binding("4", "vote('both_bad')", priority=True, show=False),
        Binding("n", "next", "Next prompt", priority=True, id="compare.next"),
        Binding("u", "take_back", "Take back", tooltip="Take the vote back", priority=True, id="compare.undo"),
        Binding("ctrl+z", "take_back", tooltip="Take the vote back", show=False),
        Binding("r", "again", "Ask again", priority=True, id="compare.again"),
        Binding("ctrl+b", "blind", "Blind/open", priority=True, id="compare.blind"),
        Binding("b", "blind", priority=True, show=False),
        Binding("escape", "stop", "Stop", show=False, id="compare.stop"),
        Binding("ctrl+l", "last_prompt", "Chat's last prompt", priority=True, show=False, id="compare.last"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.versions: list[str] | None = None
        """What is offered beside the base; None before it was read."""
        self._wanted: tuple[str, str] | None = None
        self._identities: dict[str, str] = {}
        """What is offered, by address."""

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Only what can be done now is in the footer; None for what has to wait, and is no letter until then."""
        if action not in ("vote", "next", "again", "take_back"):
            return True
        if not self.is_mounted or (self.comparison is None and not self.busy):
            return False
        if self.busy or (self.casting and action in ("vote", "take_back")):
            return None
        match action:
            case "vote":
                return self.open_to_vote
            case "take_back":
                return self.verdict is not None
        return True

    # what there is to compare

    def on_mount(self) -> None:
        """Say how it is asked."""
        self._show_blindness()

    def on_screen_resume(self) -> None:
        """Offer what there is: versions come and go in other terminals too."""
        self.offer()

    def on_adapters_changed(self, message: AdaptersChanged) -> None:
        """Another version can be compared."""
        self.offer()

    def on_store_opened(self, message: StoreOpened) -> None:
        """Earlier votes are known."""
        self.show_tally()

    @background("offer")
    async def offer(self) -> None:
        """Fill the choices: the base and every version; at first the base against what is in use."""
        registry = self.llama.workspace.registry
        found = {lineage.address: lineage.digest for lineage in await asyncio.to_thread(registry.all)}
        versions, renamed = list(found), _renamed(self._identities, found)
        wanted, self._wanted, self._identities = self._wanted, None, found
        if versions == self.versions and wanted is None:
            return
        first, self.versions = not self.versions, versions
        for place, side in enumerate(("left", "right")):
            self._offer(side, versions, wanted[place] if wanted else renamed.get(self.pair[place]))
        if first and not wanted and self.pair == (BASE, BASE) and versions:
            right = self.llama.adapter if self.llama.adapter in versions else versions[-1]
            self.query_one("#right-adapter", Select).value = right
        if self.comparison is None:
            self.say("" if versions else ALONE)
        await self.tell_tally()

    def _offer(self, side: str, versions: list[str], wanted: str | None) -> None:
        choice = self.query_one(f"#{side}-adapter", Select)
        value = wanted if wanted is not None else choice.value
        options = [(render.text(render.line(each, 60)), each) for each in (BASE, *versions)]
        with self.prevent(Select.Changed):
            choice.set_options(options)
            choice.value = value if value in (BASE, *versions) else BASE

    def choose(self, left: str, right: str) -> None:
        """Compare these two from now on."""
        self._wanted = (left, right)
        self.offer()
        self.question.focus()

    def on_select_changed(self, event: Select.Changed) -> None:
        """Another pair has other votes."""
        event.stop()
        self.show_tally()

    # the next prompt

    def action_next(self) -> None:
        """Another prompt for the same two."""
        self.before = ()
        self.question.put("")
        self.set_focus(self.question)

    def action_last_prompt(self) -> None:
        """The chat's last prompt, with what was said before it."""
        chat = self.llama.chat
        if chat.last is None:
            self.llama.notify("The chat has no prompt yet.", severity="warning")
            return
        self.before = chat.branch[:-1]
        self.question.put(chat.last.prompt)
        self.question.focus()
        if self.before:
            self.say(f"Asked after the {len(self.before)} exchanges before it in the chat; n starts without them.")

    # how it is shown

    def action_blind(self) -> None:
        """Hide or show the names of the next comparison."""
        self.blind = not self.blind
        self._show_blindness()

    def on_descendant_focus(self) -> None:
        """Other keys may vote, and change blind and open, here."""
        self._show_blindness()
        self.invite_again()

    def on_resize(self) -> None:
        """Fewer words on a narrow terminal."""
        self.set_class(self.size.width < 100, "-narrow")

    def _show_blindness(self) -> None:
        words = "blind: named after the vote" if self.blind else "open"
        told = f"  {self._blind_key()} changes it"
        self.query_one("#blindness", Static).update(Content.assemble((words, "bold"), (told, "dim")))

    def _blind_key(self) -> str:
        """The shortest key that works where the focus is; the prompt takes plain letters for itself."""
        bindings = [active.binding for active in self.active_bindings.values() if active.binding.action == "blind"]
        keys = [self.app.get_key_display(binding) for binding in bindings]
        return min(keys, key=len, default="ctrl+b")


def _renamed(before: dict[str, str], now: dict[str, str]) -> dict[str, str]:
    """Where versions are now that were at other addresses before."""
    addresses = {identity: address for address, identity in now.items()}
    return {
        address: addresses[identity]
        for address, identity in before.items()
        if now.get(address) != identity and identity in addresses
    }


async def compare_on(app: LlamaTuiApp, left: str, right: str) -> None:
    """Go to the Compare screen with these two chosen."""
    await app.switch_mode("compare")
    screen = app.screen
    if isinstance(screen, CompareScreen):
        screen.choose(left, right)
