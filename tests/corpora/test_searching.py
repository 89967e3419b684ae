"""Every way to search finds the same: through the index, by looking at the texts, and half of each."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from corpora.dialog import Finish
from corpora.store import Filter, ImportedDialog, ImportedTurn, Store
from corpora.store.searching import LOOK, Plan, words_of

LETTERS = "aAbz 中国学می‌٪\"%_\\'*-1"
texts = st.text(LETTERS, min_size=1, max_size=9)
rows = st.lists(st.tuples(texts, texts), min_size=1, max_size=30)
searches = st.lists(st.text(LETTERS.replace(" ", "").replace('"', ""), min_size=1, max_size=5), min_size=1, max_size=3)


def _dialogs(said: list[tuple[str, str]]) -> list[ImportedDialog]:
    return [ImportedDialog((ImportedTurn(*each),), None, "f", str(number)) for number, each in enumerate(said)]


def _expected(said: dict[int, tuple[str, str]], words: list[str]) -> list[int]:
    held = {number: [text.lower() for text in each] for number, each in said.items()}
    return [
        number for number, each in held.items() if all(any(word.lower() in text for text in each) for word in words)
    ]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(said=rows, words=searches, indexed=st.integers(0, 30), changed=st.tuples(st.integers(0, 29), texts))
def test_what_is_found_does_not_depend_on_the_index(
    tmp_path_factory: pytest.TempPathFactory,
    said: list[tuple[str, str]],
    words: list[str],
    indexed: int,
    changed: tuple[int, str],
) -> None:
    # A few exchanges that hold nothing of it: the index is asked for what is rare.
    said += [(f"{number}", "…") for number in range(200, 260)]
    with Store(tmp_path_factory.mktemp("store") / "corpus.db") as store:
        store.add_dialogs(_dialogs(said))
        if indexed:
            store.index_pending(indexed)
        now = dict(enumerate(said, start=1))
        at, reply = changed[0] % len(said) + 1, changed[1]
        store.correct(at, reply)
        now[at] = (now[at][0], reply)
        where = Filter(text=" ".join(words))
        expected = _expected(now, words)
        assert store.ids(where) == expected
        assert store.count(where) == len(expected)
        assert [each.id for each in store.page(where)] == expected[::-1]
        assert [each.id for each in store.walk(where)] == expected


class Planning(Store):
    """A store that tells how it searched."""

    def plan(self, text: str) -> Plan:
        """The plan for a search."""
        return self._plan(words_of(text))


@pytest.mark.parametrize("text", ["中国", "می", "qx", "cat", "kitten", "中国 cat", '"a kitten"'])
def test_rare_words_are_found_through_the_index(tmp_path: Path, text: str) -> None:
    with Planning(tmp_path / "corpus.db") as store:
        store.add_dialogs(_dialogs([(f"nothing {number}", "at all") for number in range(500)]))
        store.add_dialogs([ImportedDialog((ImportedTurn("a kitten is a cat of 中国", "qx می"),), None, "f", "k")])
        assert store.plan(text) == LOOK
        while store.index_pending():
            pass
        assert store.plan(text).query
        assert store.ids(Filter(text=text)) == [501]
        assert not store.plan("nothing").query


def test_what_ends_with_a_nul_is_found(tmp_path: Path) -> None:
    with Store(tmp_path / "corpus.db") as store:
        store.add_dialogs(_dialogs([("x", "00\0"), *((f"nothing {number}", "y") for number in range(50))]))
        assert store.index_pending() == 0
        assert store.ids(Filter(text='"00"')) == [1]


def test_what_comes_after_the_plan_is_found(tmp_path: Path) -> None:
    """Terms that begin with two letters are listed first; what is indexed meanwhile is looked at."""
    with Planning(tmp_path / "corpus.db") as store:
        store.add_dialogs(_dialogs([("中国a", "x"), *((f"nothing {number}", "y") for number in range(500))]))
        while store.index_pending():
            pass
        walk = store.walk(Filter(text="中国"), at_once=1)
        assert next(walk).id == 1
        begun = store.begin(store.start_conversation().id, None, "中国b")
        store.finish(begun.id, "y", Finish.EOS)
        assert store.index_pending() == 0
        assert [each.id for each in walk] == [begun.id]
