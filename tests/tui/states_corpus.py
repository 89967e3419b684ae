"""States of the corpus screen that pictures are made of: queries, filters, ratings, pairs, figures."""

from __future__ import annotations

import asyncio

from corpora.dialog import Status
from tests.tui import worlds
from tests.tui.driving import Driven
from tests.tui.states_learning import filled, paths_of
from tui.messages import CorpusChanged


async def rich(it: Driven) -> None:
    """A corpus with ratings, files, learned rows and pairs."""
    await filled(it, "corpus")
    await asyncio.to_thread(worlds.enrich, paths_of(it))
    it.app.tell(CorpusChanged())
    await it.pilot.pause(0.3)


async def rated(it: Driven) -> None:
    """Stars in the table and the exchange."""
    await rich(it)
    await it.pilot.press("slash", *"rating:any", "enter")
    await it.pilot.pause(0.4)


async def rating(it: Driven) -> None:
    """The question for stars, for a selection."""
    await rich(it)
    await it.pilot.press("space", "space", "asterisk")
    await it.pilot.pause(0.2)


async def queried(it: Driven) -> None:
    """Filters as chips."""
    await rich(it)
    await it.pilot.press("slash")
    await it.pilot.press(*"tag:python len:<200 date:>=2020 rating:>=3 corrected:no")
    await it.pilot.pause(0.5)


async def query_refused(it: Driven) -> None:
    """A key that there is not."""
    await rich(it)
    await it.pilot.press("slash", *"tags:python 猫")
    await it.pilot.pause(0.5)


async def nothing_found(it: Driven) -> None:
    """No exchange matches."""
    await rich(it)
    await it.pilot.press("slash", *"nowhere", "enter")
    await it.pilot.pause(0.5)


async def filter_panel(it: Driven) -> None:
    """All filters as fields."""
    await rich(it)
    await it.pilot.press("slash", *"script:han")
    await it.pilot.press("enter", "f")
    await it.pilot.pause(0.4)


async def pairs(it: Driven) -> None:
    """Preference pairs."""
    await rich(it)
    await it.pilot.press("6")
    await it.pilot.pause(0.5)
    await it.pilot.press("j", "j")
    await it.pilot.pause(0.3)


async def pair_whole(it: Driven) -> None:
    """One pair on the whole screen."""
    await pairs(it)
    await it.pilot.press("enter")
    await it.pilot.pause(0.3)


async def pair_refused(it: Driven) -> None:
    """A change that cannot be saved."""
    await pairs(it)
    await it.pilot.press("c", "ctrl+l", *"I am left.", "ctrl+s")
    await it.pilot.pause(0.4)


async def pairs_empty(it: Driven) -> None:
    """No pair yet."""
    await it.app.switch_mode("corpus")
    await it.pilot.press("6")
    await it.pilot.pause(0.3)


async def figures_below(it: Driven) -> None:
    """The end of the figures."""
    await rich(it)
    await it.pilot.press("s")
    await it.pilot.pause(1.0)
    await it.pilot.press("end")
    await it.pilot.pause(0.3)


async def inbox_rated(it: Driven) -> None:
    """The inbox, with an exchange that has stars."""
    await rich(it)
    store = it.app.workspace.store
    store.rate([store.page(order="oldest", limit=200)[1].id], 4)
    store.set_status([store.page(order="oldest", limit=200)[1].id], Status.PENDING)
    await it.pilot.press("i")
    await it.pilot.pause(0.4)


STATES = {
    "corpus-rated": rated,
    "corpus-rating": rating,
    "corpus-queried": queried,
    "corpus-refused": query_refused,
    "corpus-nothing": nothing_found,
    "corpus-filters": filter_panel,
    "corpus-inbox": inbox_rated,
    "pairs": pairs,
    "pair": pair_whole,
    "pair-refused": pair_refused,
    "pairs-empty": pairs_empty,
    "figures-below": figures_below,
}
