"""Filters and ratings on the corpus screen, by keys."""

from __future__ import annotations

from pathlib import Path

from textual.widgets import Input, Select

from corpora.dialog import Status
from corpora.store import Filter
from tests.tui import worlds
from tests.tui.driving import Driven, driven, paths_in
from tests.tui.test_corpus import corpus, current, open_corpus, store
from tui.commands import find
from tui.screens.corpus import CorpusScreen
from tui.screens.help import HelpScreen
from tui.widgets.filter_panel import FilterPanel
from tui.widgets.query_bar import Chip, Tab, short
from tui.widgets.rating import AskRating


async def opened(it: Driven) -> CorpusScreen:
    return await open_corpus(it, 44)


def filled(folder: Path) -> None:
    worlds.fill_corpus(paths_in(folder))
    worlds.enrich(paths_in(folder))
    worlds.fill_adapters(paths_in(folder))


async def asked(it: Driven, query: str, found: int) -> None:
    """Type a query and wait for its rows."""
    corpus(it).filters.field.value = query
    await it.until(lambda: corpus(it).table.count == found, f"{query} did not find {found}")


async def test_every_filter_can_be_typed(tmp_path: Path) -> None:
    filled(tmp_path)
    async with driven(tmp_path) as it:
        await opened(it)
        rows = store(it).page()
        expected = {
            "tag:python": 5,
            'tag:"geo graphy"': 1,
            'source:"alpaca [b].json"': 1,
            "script:han,arabic": store(it).count(Filter(scripts=("han", "arabic"))),
            "len:<30": sum(len(row.prompt) + len(row.reply) < 30 for row in rows),
            "date:today": 44,
            "date:<2020": 0,
            "adapter:base": 43,
            "adapter:mine/v2": 0,
            "in:mine/v1": store(it).count(Filter(trained_in="mine/v1")),
            "in:mine/v2 rating:>=4": store(it).count(Filter(trained_in="mine/v2", rating=(4, 5))),
            "rating:any": 10,
            "rating:none": 34,
            "corrected:yes": 2,
            "trained:no": store(it).count(Filter(trained=False)),
            "status:kept,rejected": store(it).count(Filter(statuses=(Status.KEPT, Status.REJECTED))),
            "cat source:chat": store(it).count(Filter(text="cat", sources=("chat",))),
        }
        assert all(0 < expected[query] < 44 for query in ("in:mine/v1", "trained:no", "script:han,arabic"))
        for query, found in expected.items():
            await asked(it, query, found)


async def test_what_is_no_filter_is_said_and_changes_no_row(tmp_path: Path) -> None:
    filled(tmp_path)
    async with driven(tmp_path) as it:
        screen = await opened(it)
        await asked(it, "tag:python", 5)
        for query, said in (
            ("tags:python", "Did you mean tag:?"),
            ("len:long", "holds no number"),
            ("date:[b]soon[/b]\x1b[2J", "holds no date"),
            ("status:", "needs a value"),
        ):
            screen.filters.field.value = query
            await it.until(lambda said=said: said in it.shown())
            assert screen.table.count == 5 and "\x1b" not in it.shown()
        assert screen.query_one(".told").has_class("-hint")
        screen.filters.field.value = "http://nowhere"
        await it.until(lambda: screen.table.count == 0 and "is no filter" not in it.shown())
        await it.until(lambda: "Nothing matches." in it.shown())
        await it.pilot.press("escape")
        await it.until(lambda: screen.table.count == 44)


async def test_chips_tell_the_filters_and_a_click_removes_one(tmp_path: Path) -> None:
    filled(tmp_path)
    async with driven(tmp_path) as it:
        screen = await opened(it)
        await asked(it, "tag:python corrected:no", 4)
        await it.until(lambda: "#python ×" in it.shown() and "as written ×" in it.shown())
        await it.pilot.click(screen.query(Chip).last())
        await it.until(lambda: screen.table.count == 5 and screen.filters.query_text == "tag:python")
        await it.until(lambda: "as written" not in it.shown())


async def test_tabs_and_status_words_agree(tmp_path: Path) -> None:
    filled(tmp_path)
    async with driven(tmp_path) as it:
        screen = await opened(it)
        kept = store(it).count(Filter(statuses=(Status.KEPT,)))
        await asked(it, "status:kept", kept)
        await it.until(lambda: [tab.tab for tab in screen.query(Tab) if tab.has_class("-active")] == ["kept"])
        await it.pilot.press("enter", "4")
        rejected = store(it).count(Filter(statuses=(Status.REJECTED,)))
        await it.until(lambda: screen.table.count == rejected and screen.filters.query_text == "")
        await it.pilot.press("1")
        await it.until(lambda: screen.table.count == 44)


async def test_the_panel_offers_what_there_is_and_writes_the_query(tmp_path: Path) -> None:
    filled(tmp_path)
    async with driven(tmp_path) as it:
        screen = await opened(it)
        await asked(it, "a corrected:no", store(it).count(Filter(text="a", corrected=False)))
        await it.pilot.press("enter", "f")
        await it.until(lambda: isinstance(it.app.screen, FilterPanel))
        panel = it.app.screen
        offered = {
            key: [str(prompt) for prompt, _ in panel.query_one(f"#filter-{key}", Select)._options]
            for key in ("source", "script", "adapter", "in")
        }
        assert offered["source"] == ["any", "chat  43", "alpaca [b].json  1"]
        assert offered["adapter"] == ["any", "base  43"]
        assert [each.split()[0] for each in offered["in"]] == ["any", "mine/v2", "mine/v1"]
        assert panel.query_one("#filter-corrected", Select).value == ("no",)
        panel.query_one("#filter-corrected", Select).value = ()
        panel.query_one("#filter-in", Select).value = ("mine/v1",)
        panel.query_one("#filter-tag", Input).value = 'python, "geo graphy"'
        panel.query_one("#filter-len", Input).value = "> 5 <=900"
        await it.pilot.press("ctrl+s")
        await it.until(lambda: isinstance(it.app.screen, CorpusScreen))
        assert screen.filters.query_text == 'a tag:python tag:"geo graphy" len:>5,<=900 in:mine/v1'
        wanted = Filter("a", tags=("python", "geo graphy"), shortest=6, longest=900, trained_in="mine/v1")
        assert screen.filters.where == wanted


async def test_the_panel_says_what_cannot_be_and_clears(tmp_path: Path) -> None:
    filled(tmp_path)
    async with driven(tmp_path) as it:
        screen = await opened(it)
        await asked(it, "rating:any", 10)
        await it.pilot.press("enter", "f")
        await it.until(lambda: isinstance(it.app.screen, FilterPanel))
        it.app.screen.query_one("#filter-date", Input).value = "soon"
        await it.pilot.press("enter")
        await it.until(lambda: "holds no date" in it.shown())
        await it.pilot.press("ctrl+l", "ctrl+s")
        await it.until(lambda: isinstance(it.app.screen, CorpusScreen) and screen.table.count == 44)
        assert screen.filters.query_text == ""


async def test_stars_for_one_for_many_none_and_undo(tmp_path: Path) -> None:
    worlds.fill_corpus(paths_in(tmp_path))
    async with driven(tmp_path) as it:
        screen = await open_corpus(it, 43)
        await it.pilot.press("asterisk")
        await it.until(lambda: isinstance(it.app.screen, AskRating))
        await it.pilot.press("4")
        await it.until(lambda: isinstance(it.app.screen, CorpusScreen) and current(it).rating == 4)
        await it.until(lambda: "4★" in it.shown() and "★★★★☆" in it.shown())
        await it.pilot.press("space", "space", "asterisk", "2")
        await it.until(lambda: store(it).count(Filter(rating=(2, 2))) == 2)
        await it.pilot.press("asterisk", "0")
        await it.until(lambda: store(it).count(Filter(rating=(1, 5))) == 0)
        await it.pilot.press("u", "u")
        await it.until(lambda: store(it).count(Filter(rating=(4, 4))) == 1)
        await it.pilot.press("asterisk", "escape")
        await it.until(lambda: isinstance(it.app.screen, CorpusScreen))
        assert screen.table.selected


async def test_stars_in_the_inbox(tmp_path: Path) -> None:
    worlds.fill_corpus(paths_in(tmp_path))
    async with driven(tmp_path) as it:
        await open_corpus(it, 43)
        await it.pilot.press("i")
        await it.until(lambda: "Inbox: 1 of" in it.shown() and "* rate" in it.shown())
        first = current(it).id
        await it.pilot.press("asterisk", "5")
        await it.until(lambda: current(it).rating == 5 and "★★★★★" in it.shown())
        assert current(it).id == first and store(it).exchange(first).status is Status.PENDING


async def test_the_keys_are_explained(tmp_path: Path) -> None:
    async with driven(tmp_path, size=(120, 60)) as it:
        await open_corpus(it, 0)
        await it.pilot.press("f1")
        await it.until(lambda: isinstance(it.app.screen, HelpScreen))
        for said in ("1 to 5 stars for this exchange", "All filters as fields", "Show pairs"):
            await it.until(lambda said=said: said in it.shown())
        assert "stars" in find("rate").help


async def test_the_chat_gives_stars_by_its_command(tmp_path: Path) -> None:
    async with driven(tmp_path) as it:
        await it.ask("hello")
        await it.say("/rate 3")
        await it.until(lambda: "★★★☆☆" in it.shown())
        assert store(it).page()[0].rating == 3
        await it.say("/rate six")
        await it.until(lambda: "A rating is 1 to 5" in it.shown())
        await it.say("/rate")
        await it.until(lambda: isinstance(it.app.screen, AskRating))
        await it.pilot.press("0")
        await it.until(lambda: store(it).page()[0].rating is None)


async def test_a_narrow_bar_fits_a_hundred_thousand(tmp_path: Path) -> None:
    async with driven(tmp_path) as it:
        screen = await open_corpus(it, 0)
        for tab in screen.query(Tab):
            tab.count = 123_456
        screen.filters.show_tabs()
        await it.pilot.pause()
        line = it.shown().splitlines()[1]
        assert "pairs 123k" in line
        assert "/ words, tag:x" in it.shown() and "all filters)" in it.shown()


def test_counts_in_few_cells() -> None:
    counts = (0, 999, 1000, 9_949, 9_950, 99_999, 999_499, 1_234_567)
    assert [short(count) for count in counts] == ["0", "999", "1.0k", "9.9k", "10k", "100k", "999k", "1M"]
