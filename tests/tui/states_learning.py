"""States of the corpus, train, adapters and compare screens that pictures are made of."""

from __future__ import annotations

import asyncio

from corpora.dialog import Vote
from sessions.paths import Paths
from sessions.protocol import BASE, Generate
from tests.tui import worlds
from tests.tui.driving import Driven
from tui.messages import AdaptersChanged, CorpusChanged
from tui.screens.compare import compare_on
from tui.screens.corpus import CorpusScreen
from tui.screens.train import TrainScreen

RUN = "20260101-100000-aaaa"
KIND = (
    "LoRA keeps the big weight matrix frozen and learns a small correction beside it.\n\n"
    "- **frozen**: the base, in 4 bit\n- **trained**: two thin matrices\n\n"
    "```python\ny = W @ x + alpha / rank * (B @ (A @ x))\n```\n\nSo an adapter is a few megabytes."
)
PLAIN = (
    "LoRA is a method. It is a method that is used for the training of models. It is used because it is "
    "a method for training that needs less memory than other methods of training need."
)


def paths_of(it: Driven) -> Paths:
    """The home that is shown."""
    return it.app.workspace.paths


async def filled(it: Driven, mode: str) -> None:
    """A corpus, adapters and some votes; then one of the screens."""
    paths = paths_of(it)
    await asyncio.to_thread(worlds.fill_corpus, paths, 60)
    versions = await asyncio.to_thread(worlds.fill_adapters, paths)
    store = it.app.workspace.store
    for _ in range(3):
        worlds.vote(store, BASE, versions[1], Vote.RIGHT)
    worlds.vote(store, versions[2], versions[1], Vote.RIGHT)
    worlds.vote(store, BASE, versions[1], Vote.TIE)
    await it.app.use_adapter(versions[1])
    it.app.tell(CorpusChanged())
    it.app.tell(AdaptersChanged())
    await it.app.switch_mode(mode)
    await it.pilot.pause(0.5)


async def corpus(it: Driven) -> None:
    """The table, an exchange that was corrected."""
    await filled(it, "corpus")
    screen = it.app.screen
    assert isinstance(screen, CorpusScreen)
    await it.pilot.press("3", "G")
    await it.until(lambda: "Original" in it.shown() or it.app.size.height < 30)


async def inbox(it: Driven) -> None:
    """The pending ones, one by one, as tokens."""
    await filled(it, "corpus")
    await it.pilot.press("i", "n", "n")


async def corpus_empty(it: Driven) -> None:
    """Nothing is stored yet."""
    await it.app.switch_mode("corpus")


async def figures(it: Driven) -> None:
    """The corpus as bars."""
    await filled(it, "corpus")
    await it.pilot.press("s")
    await it.until(lambda: "By status" in it.shown())


async def checks(it: Driven) -> None:
    """What the checks have found."""
    await filled(it, "corpus")
    await it.pilot.press("h")
    await it.until(lambda: "Checks:" in it.shown())


async def importing(it: Driven) -> None:
    """What to import."""
    await filled(it, "corpus")
    await it.pilot.press("I", *"~/da")


async def setup(it: Driven) -> None:
    """Before Start."""
    await filled(it, "train")
    await it.until(lambda: "new" in it.shown())
    await it.pilot.press("enter")


async def training(it: Driven) -> None:
    """A run that goes on."""
    await filled(it, "train")
    folder = worlds.run_folder(paths_of(it), RUN, parent="mine/v2")
    worlds.take_up(folder)
    it.app.bridge.follow(RUN)
    for number in range(1, 28):
        worlds.step(folder, number)
    await it.until(lambda: "step 27/40" in it.shown())
    await it.pilot.pause(0.3)


async def trained(it: Driven) -> None:
    """A run that is done, with what the gate found."""
    await training(it)
    folder = paths_of(it).run(RUN)
    for number in range(28, 41):
        worlds.step(folder, number)
    worlds.gate(folder, passed=False)
    worlds.finish(folder, worlds.publish(paths_of(it), parent="mine/v2"))
    await it.until(lambda: isinstance(it.app.screen, TrainScreen) and "Done" in it.shown())
    await it.pilot.press("g")


async def failed(it: Driven) -> None:
    """A run that failed."""
    await training(it)
    worlds.fail(paths_of(it).run(RUN))
    await it.until(lambda: "Failed" in it.shown())


async def adapters(it: Driven) -> None:
    """The tree of versions."""
    await filled(it, "adapters")


def two(request: Generate, adapter: str) -> str:
    """A tuned reply and a plain one."""
    return PLAIN if adapter == BASE else KIND


async def compare(it: Driven) -> None:
    """Both replies, before the vote."""
    await filled(it, "compare")
    it.served.engine.script = two
    await compare_on(it.app, BASE, "mine/v2")
    await it.pilot.press(*"What", "space", *"is", "space", *"LoRA?", "enter")
    await it.until(lambda: "Which is better?" in it.shown())


async def voted(it: Driven) -> None:
    """After the vote."""
    await compare(it)
    await it.pilot.press("right")
    await it.until(lambda: "is better." in it.shown())


async def compare_empty(it: Driven) -> None:
    """Nothing asked yet."""
    await it.app.switch_mode("compare")


STATES = {
    "corpus": corpus,
    "inbox": inbox,
    "corpus-empty": corpus_empty,
    "figures": figures,
    "checks": checks,
    "importing": importing,
    "setup": setup,
    "training": training,
    "trained": trained,
    "failed": failed,
    "adapters": adapters,
    "compare": compare,
    "voted": voted,
    "compare-empty": compare_empty,
}
