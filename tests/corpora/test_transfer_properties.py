"""Any rows that are written come back equal."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpora.store import Store
from corpora.transfer import export_file, import_files

texts = st.text(max_size=20)


@given(
    rows=st.lists(
        st.fixed_dictionaries({"instruction": texts.filter(str.strip), "input": texts, "output": texts}), max_size=6
    )
)
@settings(max_examples=60, deadline=None, database=None)
def test_any_alpaca_rows_come_back_equal(tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, str]]) -> None:
    _round_trip(tmp_path_factory, rows, "alpaca")


@given(
    rows=st.lists(
        st.lists(st.tuples(texts, texts, st.booleans()), min_size=1, max_size=3).map(
            lambda turns: {
                "messages": [
                    said
                    for number, (prompt, reply, kept) in enumerate(turns, start=1)
                    for said in (
                        {"role": "user", "content": prompt},
                        {"role": "assistant", "content": reply}
                        | ({} if kept or number == len(turns) else {"weight": 0}),
                    )
                ]
            }
        ),
        max_size=5,
    )
)
@settings(max_examples=60, deadline=None, database=None)
def test_any_messages_come_back_equal(tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]]) -> None:
    _round_trip(tmp_path_factory, rows, "messages")


def _round_trip(factory: pytest.TempPathFactory, rows: list[Any], name: str) -> None:
    folder = factory.mktemp("trip")
    path: Callable[[str], Path] = folder.joinpath
    path("in.json").write_text(json.dumps(rows))
    with Store(path("corpus.db")) as store:
        if rows:
            assert import_files(store, [path("in.json")]).refused == ()
        export_file(store, path("out.json"), name)
    assert json.loads(path("out.json").read_text()) == rows
