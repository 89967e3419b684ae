"""The exact ids of an exchange in the app and on the command line, with Llama 2's own tokenizer."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from rich.cells import cell_len

from corpora.preview import Piece
from corpora.store import Store
from tests.terminals import Terminal, program
from tests.tui import worlds
from tests.tui.calling import Caller
from tests.tui.driving import Driven, driven, paths_in
from tui import token_cells
from tui.screens.corpus import CorpusScreen
from tui.screens.help import HelpScreen
from tui.widgets.exchange_detail import Shown
from tui.widgets.token_grid import TokenGrid
from tui.widgets.token_preview import LONGEST, token_preview

PROMPT = "What is the river called? 犇 می‌توانم"
REPLY = "The river\nis called 👍 Rhine."
TITLE = "Tokens, their ids below"


@pytest.fixture
def model(shared: Path, tmp_path: Path) -> str:
    """A model's folder with nothing but Llama 2's tokenizer in it."""
    folder = tmp_path / "model"
    folder.mkdir()
    for file in (shared / "llama2-tokenizer").iterdir():
        (folder / file.name).symlink_to(file)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"")
    return str(folder)


def told(folder: Path, *more: tuple[str, str]) -> None:
    """A corpus of these exchanges."""
    paths = paths_in(folder)
    worlds.private_folder(paths.home)
    with Store(paths.corpus) as store:
        assert isinstance(store, Store)
        for prompt, reply in (*more, (PROMPT, REPLY)):
            worlds.say(store, prompt, reply)


def screen(it: Driven) -> CorpusScreen:
    assert isinstance(it.app.screen, CorpusScreen)
    return it.app.screen


async def with_tokens(it: Driven, model: str, *keys: str) -> TokenGrid:
    it.app.client.model = model
    await it.pilot.press("f3")
    await it.until(lambda: isinstance(it.app.screen, CorpusScreen) and it.app.screen.table.current is not None)
    await it.pilot.press(*keys, "v")
    await it.until(lambda: TITLE in it.shown())
    return screen(it).query_one(TokenGrid)


def drawn(grid: TokenGrid) -> list[str]:
    return [grid.render_line(y).text for y in range(grid.size.height)]


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (40, 12)])
async def test_every_id_stands_below_its_piece(model: str, tmp_path: Path, size: tuple[int, int]) -> None:
    told(tmp_path)
    async with driven(tmp_path, size=size) as it:
        grid = await with_tokens(it, model)
        exchange = screen(it).table.current
        assert exchange is not None
        path = it.app.workspace.store.path_to(exchange.id)
        cells = token_preview(model, Shown(path[-1], path, ())).cells
        lines = drawn(grid)
        assert all(cell_len(line) == grid.size.width for line in lines)
        pieces = [piece for line in lines[::2] for piece in line.replace("\u200e", "").split()]
        assert pieces == [cell.text for cell in cells]
        ids = [int(number) for line in lines[1::2] for number in re.findall(r"\d+", line)]
        assert ids == [int(cell.below.split()[0]) for cell in cells] and ids[0] == 1 and ids[-1] == 2
        for above, below in zip(lines[::2], lines[1::2], strict=True):
            starts = [cell_len(above[: at.start()]) for at in re.finditer(r"\S+", above)]
            assert starts == [cell_len(below[: at.start()]) for at in re.finditer(r"\d+", below)]
        if size[1] > 12:  # where the table leaves room for more than the head
            assert "<s>" in it.shown() and "518" in it.shown()


async def test_bytes_say_what_they_make_and_nothing_goes_unseen(model: str, tmp_path: Path) -> None:
    told(tmp_path)
    async with driven(tmp_path) as it:
        lines = drawn(await with_tokens(it, model))
        place = next(at for at, line in enumerate(lines) if "<0xE7> <0x8A> <0x87>" in line)
        assert re.search(r"234 +141 +138 犇", lines[place + 1])
        assert any("⟨ZWNJ⟩" in line for line in lines) and any("👍" in line for line in lines[1::2])


async def test_what_is_trained_is_coloured(model: str, tmp_path: Path) -> None:
    told(tmp_path)
    async with driven(tmp_path) as it:
        grid = await with_tokens(it, model)
        green = grid.get_component_rich_style("tokens--trained").color
        lit = [
            segment.text.strip("\u200e")
            for y in range(0, grid.size.height, 2)
            for segment in grid.render_line(y)
            if segment.text.strip() and segment.style and segment.style.color == green
        ]
        assert lit[0] == "·The" and lit[-1] == "</s>" and "·What" not in lit


async def test_escape_ends_the_tokens_before_anything_else(model: str, tmp_path: Path) -> None:
    told(tmp_path, ("Another?", "One more."))
    async with driven(tmp_path) as it:
        await with_tokens(it, model, "enter")
        assert "v or esc closes" in it.shown() and "esc Close tokens" in it.shown()
        await it.pilot.press("escape")
        await it.until(lambda: TITLE not in it.shown() and "esc Back" in it.shown())
        assert screen(it).has_class("-zoomed") and not screen(it).query_one(TokenGrid).display
        await it.pilot.press("escape")
        await it.until(lambda: not screen(it).has_class("-zoomed") and "esc Back" not in it.shown())
        await it.pilot.press("v")
        await it.until(lambda: TITLE in it.shown())
        await it.pilot.press("j")
        await it.until(lambda: TITLE in it.shown() and "Another" in screen(it).query_one(TokenGrid).cells[4].text)
        await it.pilot.press("v")
        await it.until(lambda: TITLE not in it.shown())


async def test_tokens_that_come_after_they_were_ended_stay_away(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told(tmp_path)
    async with driven(tmp_path) as it:
        grid = await with_tokens(it, model)
        await it.pilot.press("escape")
        exchange = screen(it).table.current
        assert exchange is not None and not grid.display
        await screen(it).preview_tokens(Shown(exchange, (exchange,), ())).wait()
        await it.pilot.pause()
        assert not grid.display and TITLE not in it.shown()


async def test_the_keys_are_explained(model: str, tmp_path: Path) -> None:
    told(tmp_path)
    async with driven(tmp_path, size=(120, 60)) as it:
        await with_tokens(it, model, "enter")
        await it.pilot.press("f1")
        await it.until(lambda: isinstance(it.app.screen, HelpScreen) and "exact ids" in it.shown())
        assert "Take the ids away" in it.shown()


async def test_in_the_inbox_too(model: str, tmp_path: Path) -> None:
    told(tmp_path)
    async with driven(tmp_path) as it:
        await with_tokens(it, model, "i")
        await it.pilot.press("escape")
        await it.until(lambda: TITLE not in it.shown())
        assert screen(it).has_class("-inbox")
        await it.pilot.press("escape")
        await it.until(lambda: not screen(it).has_class("-inbox"))


async def test_a_long_dialog_is_whole(model: str, tmp_path: Path) -> None:
    told(tmp_path, ("Long?", "word " * (LONGEST + 500)))
    async with driven(tmp_path, size=(120, 40)) as it:
        grid = await with_tokens(it, model)
        await it.pilot.press("j")
        await it.until(lambda: len(grid.cells) == LONGEST and f"first {LONGEST:,} are shown" in it.shown())
        await it.pilot.press("enter", "end")
        await it.until(lambda: "·word" in it.shown())


def test_a_row_ends_between_tokens() -> None:
    pieces = [Piece(f" word{number}", 1000 + number, number > 20) for number in range(40)]
    cells = token_cells.cells([*pieces, Piece("<0x0A>", 13, True), Piece("x" * 90, 7, True), Piece("y", 8, True)])
    for width in (1, 5, 12, 46, 200):
        rows = token_cells.rows(cells, width)
        assert [at for row in rows for at in row] == list(range(len(cells)))
        for row in rows:
            some = cells[row.start : row.stop]
            for line in (token_cells.texts(some, width), token_cells.ids(some, width)):
                assert cell_len("".join(line)) <= width + token_cells.GAP
            assert not any(cell.ends for cell in some[:-1])
    apart = token_cells.rows(cells, 200, apart=True)
    assert all(len({cells[at].trained for at in row}) == 1 for row in apart)
    assert token_cells.rows([], 80) == []


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (" a b", "·a·b"),
        ("\t", "⇥"),
        ("\r", "␍"),
        ("\x1b[0m", "␛[0m"),
        ("\u202e", "⟨RLO⟩"),
        ("\u200c", "⟨ZWNJ⟩"),
        ("\ufeff", "⟨FEFF⟩"),
        ("\u064e", "◌\u064e"),
        ("\n\n", "⏎⏎"),
        ("[b]", "[b]"),
    ],
)
def test_no_letter_goes_unseen(text: str, shown: str) -> None:
    assert [cell.text for cell in token_cells.cells([Piece(text, 5, False)])] == [shown]


def test_bytes_that_make_no_character_make_nothing() -> None:
    names = ["<0xFF>", "<0xE7>", "a", "<0x1B>", "<0x09>", "<0xC3><0xA9>"]
    cells = token_cells.cells([Piece(name, at, False) for at, name in enumerate(names)])
    assert [cell.below for cell in cells] == ["0", "1", "2", "3 ␛", "4", "5 é"]


def test_ids_below_their_pieces_on_a_terminal(run: Caller, model: str, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(json.dumps({"instruction": "Which river?", "output": "The Rhine 犇."}))
    run("corpus", "import", tmp_path / "rows.jsonl")
    found = run("--model", model, "corpus", "show", "1", "--tokens", "--json").document
    command = [*program(), "--model", model, "corpus", "show", "1", "--tokens"]
    with Terminal(command, {"COLUMNS": "60"}, columns=60, rows=40) as terminal:
        terminal.wait("trained (")
        lines = terminal.lines()
    ids = [number for line in lines if re.fullmatch(r"[\d 犇]+", line) for number in re.findall(r"\d+", line)]
    assert [int(number) for number in ids] == found["ids"]
    assert any(re.search(r"<0xE7> +<0x8A> +<0x87>", line) for line in lines)
