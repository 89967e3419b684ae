"""Prompts typed before, drafts, and completion."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from tests.tui.driving import paths_in
from tui.prompts import Draft, History, load_draft, save_draft
from tui.widgets.prompt import _lines


def test_history_walks_and_keeps_what_is_being_typed(tmp_path: Path) -> None:
    past = History(tmp_path / "history")
    for prompt in ("one", "two\nlines", "two\nlines", "سه"):
        past.add(prompt)
    again = History(tmp_path / "history")
    assert again.entries == ["one", "two\nlines", "سه"]
    assert [again.earlier("typing"), again.earlier(""), again.earlier(""), again.earlier("")] == [
        "سه",
        "two\nlines",
        "one",
        None,
    ]
    assert [again.later(), again.later(), again.later(), again.later()] == ["two\nlines", "سه", "typing", None]


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r"), min_size=1), max_size=5))
def test_any_prompt_comes_back(prompts: list[str]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "history"
        for prompt in prompts:
            History(path).add(prompt)
        wanted: list[str] = []
        for prompt in prompts:
            if prompt.strip() and wanted[-1:] != [prompt]:
                wanted.append(prompt)
        assert History(path).entries == wanted


def test_the_line_repl_reads_the_same_file(tmp_path: Path) -> None:
    from prompt_toolkit.history import FileHistory

    History(tmp_path / "history").add("from the app\nsecond line")
    other = FileHistory(str(tmp_path / "history"))
    assert list(other.load_history_strings()) == ["from the app\nsecond line"]
    other.store_string("from the line")
    assert History(tmp_path / "history").entries == ["from the app\nsecond line", "from the line"]


def test_drafts_come_back_and_a_damaged_one_is_empty(tmp_path: Path) -> None:
    paths = paths_in(tmp_path)
    assert load_draft(paths) == Draft()
    draft = Draft("typed 你好 ‌", 7, "correct", "half of a correction")
    save_draft(paths, draft)
    assert load_draft(paths) == draft
    (paths.home / "draft.json").write_text("{")
    assert load_draft(paths) == Draft()


def test_completion_of_commands_choices_and_paths(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    (tmp_path / "nested").mkdir()
    assert _lines("/ke") == ["/keep"]
    assert _lines("/vote l") == ["/vote left"]
    assert _lines(f"/read {tmp_path}/n") == [f"/read {tmp_path}/nested/", f"/read {tmp_path}/notes.txt"]
    assert _lines(f"/corpus import {tmp_path}/no") == [f"/corpus import {tmp_path}/notes.txt"]
    assert _lines("hello /ke") == []
    assert _lines("/etc/hosts") == []
