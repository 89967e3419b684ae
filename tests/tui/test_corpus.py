"""The corpus screen by keys, on a real store."""

from __future__ import annotations

import json
from pathlib import Path

from textual.widgets import Input, OptionList, TextArea

from corpora.dialog import Status
from corpora.store import Filter, ImportedDialog, ImportedTurn, Store
from corpora.store.values import dialog_key
from tests.tui import worlds
from tests.tui.driving import Driven, driven, paths_in
from tui.messages import CorpusChanged
from tui.screens.corpus import CorpusScreen
from tui.widgets.dialogs import EditText
from tui.widgets.exchange_table import ExchangeTable
from tui.widgets.file_dialogs import ImportDialog, ImportTold
from tui.widgets.findings import Findings
from tui.widgets.paged_table import PAGE
from tui.widgets.token_preview import token_preview


def corpus(it: Driven) -> CorpusScreen:
    assert isinstance(it.app.screen, CorpusScreen)
    return it.app.screen


def store(it: Driven) -> Store:
    return it.app.workspace.store


def current(it: Driven):
    exchange = corpus(it).table.current
    assert exchange is not None
    return exchange


async def open_corpus(it: Driven, count: int) -> CorpusScreen:
    await it.pilot.press("f3")
    await it.until(lambda: isinstance(it.app.screen, CorpusScreen) and corpus(it).table.count == count)
    await it.pilot.pause(0.1)
    return corpus(it)


async def test_an_empty_corpus_teaches(tmp_path: Path) -> None:
    async with driven(tmp_path) as it:
        await open_corpus(it, 0)
        await it.until(lambda: "No exchange here yet" in it.shown())
        for key in ("y", "c", "x", "t", "u", "v", "a", "j", "enter", "escape"):
            await it.pilot.press(key)


async def test_verdicts_by_single_keys_and_undo(tmp_path: Path) -> None:
    worlds.fill_corpus(paths_in(tmp_path))
    async with driven(tmp_path, size=(120, 40)) as it:
        await open_corpus(it, 43)
        await it.pilot.press("j")
        chosen = current(it).id
        for key, status in (("y", Status.KEPT), ("x", Status.REJECTED), ("d", Status.DEFERRED), ("o", Status.PENDING)):
            await it.pilot.press(key)
            await it.until(lambda status=status: current(it).status is status)
            assert current(it).id == chosen
        await it.pilot.press("u")
        await it.until(lambda: current(it).status is Status.DEFERRED)
        assert [type(message) for message in it.messages if isinstance(message, CorpusChanged)]


async def test_the_inbox_goes_on_by_itself(tmp_path: Path) -> None:
    worlds.fill_corpus(paths_in(tmp_path))
    async with driven(tmp_path) as it:
        await open_corpus(it, 43)
        pending = [row.id for row in store(it).page(Filter(statuses=(Status.PENDING,)), order="oldest")]
        await it.pilot.press("i")
        await it.until(lambda: corpus(it).table.count == len(pending) and current(it).id == pending[0])
        await it.until(lambda: f"Inbox: 1 of {len(pending)} ·" in it.shown())
        await it.pilot.press("y")
        await it.until(lambda: current(it).id == pending[1])
        await it.until(lambda: f"Inbox: 1 of {len(pending) - 1} ·" in it.shown())
        await it.pilot.press("n")
        await it.until(lambda: "Inbox: 2 of" in it.shown())
        await it.pilot.press("x")
        await it.until(lambda: corpus(it).table.count == len(pending) - 2)
        assert store(it).exchange(pending[0]).status is Status.KEPT
        assert store(it).exchange(pending[1]).status is Status.PENDING
        assert store(it).exchange(pending[2]).status is Status.REJECTED
        await it.pilot.press("escape")
        await it.until(lambda: corpus(it).table.count == 43)


async def test_undo_in_the_inbox_shows_what_came_back(tmp_path: Path) -> None:
    worlds.fill_corpus(paths_in(tmp_path))
    async with driven(tmp_path) as it:
        await open_corpus(it, 43)
        pending = [row.id for row in store(it).page(Filter(statuses=(Status.PENDING,)), order="oldest")]
        await it.pilot.press("i")
        await it.until(lambda: corpus(it).table.count == len(pending) and current(it).id == pending[0])
        for left in (1, 2):
            await it.pilot.press("x")
            await it.until(lambda left=left: corpus(it).table.count == len(pending) - left)
        await it.pilot.press("n", "u")
        await it.until(lambda: corpus(it).table.count == len(pending) - 1 and current(it).id == pending[1])
        await it.pilot.press("u")
        await it.until(lambda: corpus(it).table.count == len(pending) and current(it).id == pending[0])


async def test_the_keys_of_the_inbox_are_whole_at_80_columns(tmp_path: Path) -> None:
    worlds.fill_corpus(paths_in(tmp_path), 400)
    async with driven(tmp_path) as it:
        await open_corpus(it, 403)
        await it.pilot.press("i")
        await it.until(lambda: "Inbox: 1 of " in it.shown())
        line = next(line for line in it.shown().splitlines() if "Inbox: " in line)
        assert line.rstrip().endswith("n next")


async def test_correct_edit_tag_and_note(tmp_path: Path) -> None:
    worlds.fill_corpus(paths_in(tmp_path))
    async with driven(tmp_path, size=(120, 40)) as it:
        await open_corpus(it, 43)
        first = current(it)
        await it.pilot.press("c")
        await it.until(lambda: isinstance(it.app.screen, EditText))
        it.app.screen.query_one(TextArea).text = "Mouse is your cat, 你的猫."
        await it.pilot.press("ctrl+s")
        await it.until(lambda: isinstance(it.app.screen, CorpusScreen) and current(it).corrected)
        assert (current(it).reply, current(it).original) == ("Mouse is your cat, 你的猫.", first.reply)
        assert current(it).status is Status.KEPT
        await it.until(lambda: "Original" in it.shown() and "Reply, corrected" in it.shown())
        await it.pilot.press("c")
        await it.until(lambda: isinstance(it.app.screen, EditText))
        it.app.screen.query_one(TextArea).text = "Mouse."
        await it.pilot.press("ctrl+s")
        await it.until(lambda: isinstance(it.app.screen, CorpusScreen) and current(it).reply == "Mouse.")
        await it.until(lambda: "Corrected before" in it.shown() and "Mouse is your cat, 你的猫." in it.shown())
        await it.pilot.press("t", *"cat,", "space", *"#pet", "enter")
        await it.until(lambda: isinstance(it.app.screen, CorpusScreen) and current(it).tags == ("cat", "pet"))
        await it.pilot.press("e")
        await it.until(lambda: isinstance(it.app.screen, EditText))
        it.app.screen.query_one(TextArea).text = "Who is Mouse?"
        await it.pilot.press("ctrl+s")
        await it.until(lambda: isinstance(it.app.screen, CorpusScreen) and current(it).prompt == "Who is Mouse?")
        await it.pilot.press("m", *"asked", "ctrl+s")
        await it.until(lambda: isinstance(it.app.screen, CorpusScreen) and store(it).exchange(first.id).note == "asked")


async def test_escape_gives_a_change_up_only_at_the_second_time(tmp_path: Path) -> None:
    worlds.fill_corpus(paths_in(tmp_path), 3)
    async with driven(tmp_path) as it:
        await open_corpus(it, 6)
        before = current(it).reply
        await it.pilot.press("c")
        await it.until(lambda: isinstance(it.app.screen, EditText))
        await it.pilot.press("z", "escape")
        await it.until(lambda: isinstance(it.app.screen, EditText) and "esc once more" in it.shown())
        await it.pilot.press("escape")
        await it.until(lambda: isinstance(it.app.screen, CorpusScreen))
        assert current(it).reply == before


async def test_search_as_you_type_and_filters(tmp_path: Path) -> None:
    worlds.fill_corpus(paths_in(tmp_path))
    async with driven(tmp_path, size=(120, 40)) as it:
        screen = await open_corpus(it, 43)
        await it.pilot.press("slash", *"Mouse")
        await it.until(lambda: screen.table.count == 3)
        await it.pilot.press("enter", "escape")
        await it.until(lambda: screen.table.count == 43)
        screen.query_one("#search", Input).value = "终端"
        await it.until(lambda: screen.table.count == 7)
        screen.query_one("#search", Input).value = "می‌توانم"
        await it.until(lambda: screen.table.count == 7)
        screen.query_one("#search", Input).value = ""
        await it.pilot.press("f", *"python", "enter")
        await it.until(lambda: screen.table.count == 5)
        await it.pilot.press("3")
        await it.until(lambda: screen.table.count == 2 and screen.filters.status is Status.KEPT)


async def test_bulk_on_a_selection_and_on_a_filter(tmp_path: Path) -> None:
    worlds.fill_corpus(paths_in(tmp_path))
    async with driven(tmp_path, size=(120, 40)) as it:
        screen = await open_corpus(it, 43)
        await it.pilot.press("space", "space", "space")
        await it.until(lambda: "3 selected" in it.shown())
        marked = set(screen.table.selected)
        await it.pilot.press("t", *"mine", "enter")
        await it.until(lambda: "Tags of 3 exchanges set." in it.shown())
        await it.pilot.press("y")
        await it.until(lambda: not screen.table.selected)
        assert {store(it).exchange(each).status for each in marked} == {Status.KEPT}
        await it.pilot.press("2")
        await it.until(lambda: screen.filters.status is Status.PENDING and 0 < screen.table.count < 43)
        pending = screen.table.count
        await it.pilot.press("a")
        await it.until(lambda: len(screen.table.selected) == pending)
        await it.pilot.press("x")
        await it.until(lambda: screen.table.count == 0)
        await it.pilot.press("u")
        await it.until(lambda: screen.table.count == pending)


async def test_foreign_text_is_shown_and_harmless(tmp_path: Path) -> None:
    worlds.fill_corpus(paths_in(tmp_path), 6)
    async with driven(tmp_path, size=(120, 40)) as it:
        screen = await open_corpus(it, 9)
        for index in range(9):
            screen.table.move_to(index)
            await it.pilot.pause(0.08)
            assert not any(code in it.shown() for code in "\x1b\x9b\x07\u202e")
        screen.table.move_to([row.prompt for row in store(it).page()].index(f"{worlds.HOSTILE} (4)"))
        await it.until(lambda: "[/INST] [bold]red[/bold] ␛]52" in it.shown() and "⟨RLO⟩back" in it.shown())


async def test_pages_come_as_they_are_scrolled_to(tmp_path: Path) -> None:
    many(paths_in(tmp_path).corpus, 1000)
    async with driven(tmp_path) as it:
        screen = await open_corpus(it, 1000)
        await it.pilot.press("G")
        await it.until(lambda: screen.table.current is not None and screen.table.current.prompt == "prompt 0")
        assert len(screen.table._pages) * PAGE < 1000
        await it.pilot.press("g")
        await it.until(lambda: current(it).prompt == "prompt 999")
        it.app.screen.query_one(ExchangeTable).move_to(500)
        await it.until(lambda: screen.table.current is not None and "prompt 499" in it.shown())


async def test_a_hundred_thousand_open_at_once(tmp_path: Path) -> None:
    many(paths_in(tmp_path).corpus, 100_000)
    async with driven(tmp_path, size=(120, 40)) as it:
        await it.pilot.press("f3")
        await it.until(lambda: isinstance(it.app.screen, CorpusScreen) and "prompt 99999" in it.shown())
        assert len(corpus(it).table._pages) <= 2


async def test_import_with_refused_rows_after_a_dry_run(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    good = {"messages": [{"role": "user", "content": "hi [/b]"}, {"role": "assistant", "content": "hello"}]}
    file.write_text(f"{json.dumps(good)}\n{{broken\n")
    async with driven(tmp_path, size=(120, 40)) as it:
        screen = await open_corpus(it, 0)
        await it.pilot.press("I", *str(file))
        await it.pilot.press("tab", "tab", "tab", "space", "tab", "tab", "enter")
        await it.until(lambda: isinstance(it.app.screen, ImportTold) and "What would come in" in it.shown())
        assert "line 2" in it.shown()
        assert store(it).count() == 0
        await it.pilot.press("enter")
        await it.until(lambda: isinstance(it.app.screen, ImportTold) and "Imported" in it.shown())
        await it.pilot.press("escape")
        await it.until(lambda: isinstance(it.app.screen, CorpusScreen) and screen.table.count == 1)


async def test_a_missing_file_is_said_and_its_name_stays_to_be_put_right(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(json.dumps({"instruction": "hi", "output": "hello"}))
    async with driven(tmp_path, size=(120, 40)) as it:
        screen = await open_corpus(it, 0)
        await it.pilot.press("I", *str(tmp_path / "rows.json"), "enter")
        await it.until(lambda: isinstance(it.app.screen, ImportDialog) and "There is no" in it.shown())
        await it.pilot.press("l", "enter")
        await it.until(lambda: isinstance(it.app.screen, ImportTold))
        await it.pilot.press("escape")
        await it.until(lambda: isinstance(it.app.screen, CorpusScreen) and screen.table.count == 1)


async def test_a_box_that_is_not_ticked_is_empty(tmp_path: Path) -> None:
    async with driven(tmp_path) as it:
        await open_corpus(it, 0)
        await it.pilot.press("I")
        await it.until(lambda: "dry run" in it.shown())
        assert "X" not in next(line for line in it.shown().splitlines() if "dry run" in line)
        await it.pilot.press("tab", "tab", "tab", "space")
        await it.until(lambda: "X" in next(line for line in it.shown().splitlines() if "dry run" in line))


async def test_escape_stops_a_long_import_and_keeps_what_is_in(tmp_path: Path) -> None:
    file = tmp_path / "long.jsonl"
    rows = (json.dumps({"instruction": f"question {n}", "output": f"answer {n}"}) for n in range(100_000))
    file.write_text("\n".join(rows))
    async with driven(tmp_path, size=(120, 40)) as it:
        screen = await open_corpus(it, 0)
        await it.pilot.press("I", *str(file), "enter")
        await it.until(lambda: "esc stops" in it.shown())
        await it.pilot.press("escape")
        await it.until(lambda: "Stopped" in it.shown(), seconds=30)
        await it.until(lambda: screen.table.count == store(it).count())
        assert store(it).count() < 100_000
        assert "Reading" not in it.shown()


async def test_export_writes_what_is_kept_and_asks_before_it_overwrites(tmp_path: Path) -> None:
    worlds.fill_corpus(paths_in(tmp_path), 6)
    target = tmp_path / "out.jsonl"
    target.write_text("old")
    async with driven(tmp_path, size=(120, 40)) as it:
        await open_corpus(it, 9)
        await it.pilot.press("E")
        await it.until(lambda: it.app.screen.query("#path"))
        it.app.screen.query_one("#path", Input).value = str(target)
        await it.pilot.press("enter")
        await it.until(lambda: "write over it" in it.shown())
        assert target.read_text() == "old"
        await it.pilot.press("enter")
        await it.until(lambda: target.read_text().startswith('{"messages"'))
        assert len(target.read_text().splitlines()) == len(list(store(it).branches()))


async def test_checks_are_listed_fixed_at_a_key_and_shown(tmp_path: Path) -> None:
    with Store(prepared(tmp_path)) as db:
        assert isinstance(db, Store)
        same = [worlds.say(db, "Twice?", "Yes, twice.") for _ in range(2)]
        cut = worlds.say(db, "[b] Cut?", "It ends with a comma,")
    async with driven(tmp_path, size=(120, 40)) as it:
        screen = await open_corpus(it, 3)
        await it.pilot.press("h")
        await it.until(lambda: isinstance(it.app.screen, Findings) and "duplicate" in it.shown())
        assert "cut off" in it.shown() and "[b] Cut?" in it.shown()
        findings = it.app.screen.query_one(OptionList)
        findings.highlighted = [finding.exchange_id for finding in it.app.screen.findings].index(same[1])
        await it.pilot.press("f")
        await it.until(lambda: store(it).exchange(same[1]).status is Status.REJECTED)
        await it.until(lambda: "duplicate" not in it.shown() and f"{len(it.app.screen.findings)} found" in it.shown())
        await it.pilot.press("enter")
        await it.until(lambda: isinstance(it.app.screen, CorpusScreen) and current(it).id == cut)
        assert screen.table.cursor == 0


async def test_a_finding_keeps_its_column_at_80_columns(tmp_path: Path) -> None:
    with Store(prepared(tmp_path)) as db:
        assert isinstance(db, Store)
        worlds.say(db, "请用中文写一句关于猫的话，好吗？" * 5, "This is a reply in English to a question in Chinese.")
    async with driven(tmp_path) as it:
        await open_corpus(it, 1)
        await it.pilot.press("h")
        await it.until(lambda: isinstance(it.app.screen, Findings) and "look at it" in it.shown())
        lines = it.shown().splitlines()
        place = next(place for place, line in enumerate(lines) if "│ script   " in line)
        assert "→ look at it: the prompt is in han script, the reply in latin" in lines[place + 1]


async def test_figures_and_small_terminals(tmp_path: Path) -> None:
    worlds.fill_corpus(paths_in(tmp_path))
    async with driven(tmp_path) as it:
        screen = await open_corpus(it, 43)
        await it.pilot.press("s")
        await it.until(lambda: "By status" in it.shown() and "Trained and new" in it.shown())
        await it.pilot.press("end")
        await it.until(lambda: "By source" in it.shown() or "Scripts" in it.shown())
        await it.pilot.press("escape")
        for width, height in ((40, 12), (20, 5), (200, 60), (80, 24)):
            await it.pilot.resize_terminal(width, height)
            await it.pilot.press("j", "z", "v", "z", "v")
        assert screen.table.cursor == 4
        assert "Prompt" in it.shown() and "y Keep" in it.shown()


def test_token_preview_colours_what_is_trained(tmp_path: Path) -> None:
    from tests.models import tiny_tokenizer
    from tui.widgets.exchange_detail import Shown

    paths = paths_in(tmp_path)
    ids = worlds.fill_corpus(paths, 3)
    tiny_tokenizer(tmp_path / "model")
    (tmp_path / "model" / "config.json").write_text("{}")
    with Store(paths.corpus) as db:
        path = db.path_to(ids[-1])
        shown = Shown(path[-1], path, ())
    text = token_preview(str(tmp_path / "model"), shown).plain
    assert "The tokenizer of" in text or "safetensors" in text
    (tmp_path / "model" / "model.safetensors").write_bytes(b"")
    content = token_preview(str(tmp_path / "model"), shown)
    assert content.plain.count("<s>") == 3 and content.plain.count("</s>") == 3
    assert "are trained" in content.plain


def prepared(folder: Path) -> Path:
    """Where a corpus of a test's own goes."""
    path = paths_in(folder).corpus
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def many(path: Path, count: int) -> None:
    """A corpus of single exchanges."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with Store(path) as db:
        turns = ((ImportedTurn(f"prompt {number}", f"reply {number}"),) for number in range(count))
        db.add_dialogs(ImportedDialog(turn, None, "test", dialog_key(None, turn)) for turn in turns)
