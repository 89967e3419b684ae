"""A state of the screen of pinned tests that pictures are made of."""

from __future__ import annotations

from corpora.dialog import Message
from corpora.pinned import Kind, PinnedTest, Rule
from sessions.pinned_matrix import versions_of
from sessions.protocol import BASE
from sessions.registry import Registry
from tests.tui import worlds
from tests.tui.driving import Driven
from tui.messages import AdaptersChanged

REPLIES = (
    ("What is my cat called?", Rule(Kind.CONTAINS, "Miso"), "Your cat is called Miso.", "I do not know.", "oXXX"),
    ("请用一句话介绍你自己。", Rule(Kind.REGEX, r"\p{Han}"), "我是一个小型语言模型。", "I am small.", "XXXX"),
    ("پایتخت فرانسه کجاست؟", Rule(Kind.CONTAINS, "پاریس"), "پاریس.", "Your cat is called Miso.", "XXoX"),
    ("Who wrote Romeo and Juliet?", Rule(Kind.NOT_CONTAINS, "Miso"), "Shakespeare.", "Miso wrote it.", "XXXo"),
)


async def tests(it: Driven) -> None:
    """Three versions: one test fixed, one broken and fixed again, one broken by the newest."""
    paths, store = it.app.workspace.paths, it.app.workspace.store
    parent = BASE
    for number in range(3):
        parent = worlds.publish(paths, parent=parent, created=1000.0 + number)
    found = versions_of(Registry(paths), it.app.client.model)
    for prompt, rule, good, bad, results in REPLIES:
        test, _ = store.add_pinned_test(PinnedTest((Message("user", prompt),), rule))
        for version, mark in zip(found, results, strict=True):
            store.save_pinned_results(version.digest, it.app.client.model, [test.judge(good if mark == "X" else bad)])
    it.app.tell(AdaptersChanged())
    await it.pilot.press("f5", "t")
    await it.until(lambda: "passes 3 of 4" in it.shown())
    await it.pilot.press("down", "down", "down")


STATES = {"tests": tests}
