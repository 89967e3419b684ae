"""What was exported comes back into the store that it came from, and adds nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from corpora import formats
from corpora.dialog import Finish, Message, Status, Verdict, Vote
from corpora.store import Store
from corpora.transfer import export_file, import_files
from tests.corpora.test_transfer import ANSWER, ROWS, SAY, lines


def _worked_on(store: Store, tmp_path: Path) -> None:
    """Imported and corrected, imported and gone on with, chatted with versions, corrected, a vote, system prompts."""
    for number, rows in enumerate(ROWS.values()):
        import_files(store, [lines(tmp_path / f"{number}.jsonl", rows)])
    store.correct(2, "  corrected\n")
    conversation = store.start_conversation()
    above: int | None = None
    for number, system in enumerate((None, None, "", " Short. ", "Short.")):
        for _ in range(2):
            begun = store.begin(conversation.id, above, f"prompt {number} ", system=system, tags_allowed=number == 1)
            store.finish(begun.id, f" reply {number}", Finish.EOS)
            store.set_status([begun.id], Status.KEPT)
        above = begun.id
    store.correct(above or 0, "what it should have been")
    imported = store.exchange(4)
    begun = store.begin(imported.conversation_id, imported.id, "and then?")
    store.finish(begun.id, "this", Finish.EOS)
    store.set_status([begun.id], Status.KEPT)
    dialog = (Message("user", "q", tags_allowed=True),)
    store.add_verdict(Verdict(dialog, "left", "right", "base", "mine/v1", Vote.LEFT, True))


@pytest.mark.parametrize("name", formats.WRITABLE)
def test_what_comes_back_adds_nothing(name: str, store: Store, tmp_path: Path) -> None:
    _worked_on(store, tmp_path)
    before = store.stats()
    path = tmp_path / f"out.{name}"
    count = export_file(store, path, name, left_out=lambda branch, reason: None)
    for dry_run in (True, False):
        report = import_files(store, [path], format=name, dry_run=dry_run)
        assert (report.new, report.preferences, report.duplicates, report.refused) == (0, 0, count, ())
    assert store.stats() == before


def test_one_more_than_there_is_comes_in(store: Store, tmp_path: Path) -> None:
    """A row that a chat says is there already; of two such rows the second is not."""
    begun = store.begin(store.start_conversation().id, None, "q")
    store.finish(begun.id, "a", Finish.EOS)
    path = lines(tmp_path / "in.jsonl", [{"messages": [SAY, ANSWER]}] * 3)
    assert [(each.new, each.duplicates) for each in (import_files(store, [path]) for _ in range(2))] == [(2, 1), (0, 3)]
