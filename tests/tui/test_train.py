"""The train screen: setup, panels fed by a run's own events, endings, earlier runs."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from textual.widgets import ContentSwitcher, Input, OptionList, Sparkline

from corpora.dialog import Finish, Status
from corpora.store import Store
from sessions.training import events
from sessions.training.recipe import RECIPES, Recipe
from tests.tui import worlds
from tests.tui.driving import Driven, driven, paths_in
from tui.messages import CorpusChanged, RunEnded, RunEventHappened
from tui.screens.train import TrainScreen
from tui.widgets.dialogs import Confirm
from tui.widgets.loss_plot import LossPlot, thinned
from tui.widgets.recipe_form import Field, RecipeForm

RUN = "20260101-100000-aaaa"


def train(it: Driven) -> TrainScreen:
    assert isinstance(it.app.screen, TrainScreen)
    return it.app.screen


async def open_train(it: Driven) -> TrainScreen:
    await it.pilot.press("f4")
    await it.until(lambda: isinstance(it.app.screen, TrainScreen))
    return train(it)


def face(it: Driven) -> str | None:
    return train(it).query_one("#face", ContentSwitcher).current


async def test_nothing_kept_teaches(tmp_path: Path) -> None:
    async with driven(tmp_path) as it:
        await open_train(it)
        await it.until(lambda: "Nothing is kept yet" in it.shown())
        await it.pilot.press("ctrl+s")
        await it.until(lambda: "No exchange is kept" in it.shown(), seconds=20)


async def test_preview_says_what_is_new_and_what_cannot_be_trained(tmp_path: Path) -> None:
    paths = paths_in(tmp_path)
    ids = worlds.fill_corpus(paths, 12)
    worlds.fill_adapters(paths)
    async with driven(tmp_path, size=(120, 40)) as it:
        await open_train(it)
        await it.until(lambda: "5 new" in it.shown() or "4 new" in it.shown())
        await it.until(lambda: "on top of mine/v2" in it.shown() and "About" in it.shown())
        it.app.workspace.store.set_status([ids[4]], Status.KEPT)
        it.app.tell(CorpusChanged())
        await it.until(lambda: "left out:" in it.shown() and "[/INST]" in it.shown())


async def test_a_set_that_contradicts_itself_is_warned_of(tmp_path: Path) -> None:
    paths = paths_in(tmp_path)
    with Store(paths.corpus) as store:
        for reply in ("Miso.", "I do not know."):
            asked = store.begin(store.start_conversation().id, None, "What is my cat called?")
            store.finish(asked.id, reply, Finish.EOS)
            store.set_status([asked.id], Status.KEPT)
    async with driven(tmp_path, size=(80, 24)) as it:
        await open_train(it)
        await it.until(lambda: "One prompt is kept with different replies" in it.shown())


async def test_a_wrong_value_is_said_beside_its_field_and_keeps_start_from_starting(tmp_path: Path) -> None:
    worlds.fill_corpus(paths_in(tmp_path), 6)
    async with driven(tmp_path, size=(120, 40)) as it:
        screen = await open_train(it)
        field = screen.query_one("#field-rank", Field)
        field.query_one(Input).value = "many"
        await it.until(lambda: field.has_class("-wrong") and "A whole number is expected" in it.shown())
        await it.pilot.press("ctrl+s")
        await it.pilot.pause(0.1)
        assert not list(it.app.workspace.paths.runs.glob("*"))
        field.query_one(Input).value = "0"
        await it.until(lambda: "It is 1 or more." in it.shown())
        field.query_one(Input).value = "8"
        await it.until(lambda: not field.has_class("-wrong"))
        form = screen.query_one(RecipeForm)
        assert (form.recipe.rank, form.problem) == (8, "")
        screen.query_one("#adapter-name", Input).value = "../x"
        await it.until(lambda: "cannot be a name" in it.shown())


async def test_recipes_by_name_fill_the_fields(tmp_path: Path) -> None:
    async with driven(tmp_path, size=(120, 40)) as it:
        screen = await open_train(it)
        form = screen.query_one(RecipeForm)
        form.query_one("#recipe-name").value = "guanaco"
        await it.until(lambda: form.recipe == RECIPES["guanaco"])
        assert screen.query_one("#field-rank Input", Input).value == "64"
        screen.query_one("#field-samples Input", Input).value = "Who are you? | What, then?"
        await it.until(lambda: form.recipe.samples == ("Who are you?", "What, then?"))
        assert form.query_one("#recipe-name").value == "changed"
        screen.query_one("#field-rank Input").focus()
        await it.until(lambda: "Rank r of the LoRA matrices." in it.shown())


async def test_kept_replies_are_counted_beside_chats(tmp_path: Path) -> None:
    paths = paths_in(tmp_path)
    worlds.publish(paths)
    async with driven(tmp_path, size=(120, 40)) as it:
        store = it.app.workspace.store
        talk = store.start_conversation().id
        first = worlds.say(store, "One?", "One.", talk=talk)
        second = worlds.say(store, "Two?", "Two.", after=first, talk=talk)
        third = worlds.say(store, "Three?", "Three.", after=second, talk=talk)
        store.set_status([first, second, third], Status.KEPT)
        await open_train(it)
        await it.until(lambda: "1 chat, 3 replies new" in it.shown())
        store.set_status([second], Status.PENDING)
        it.app.tell(CorpusChanged())
        await it.until(lambda: "1 chat, 2 replies new" in it.shown())
        store.set_status([first, third], Status.PENDING)
        store.set_status([first], Status.KEPT)
        it.app.tell(CorpusChanged())
        await it.until(lambda: "1 new and" in it.shown())


async def test_nothing_is_started_before_it_is_counted(tmp_path: Path) -> None:
    worlds.fill_corpus(paths_in(tmp_path), 6)
    async with driven(tmp_path, size=(120, 40)) as it:
        screen = await open_train(it)
        await it.until(lambda: "Start training" in it.shown())
        screen.setup.count_anew()
        await it.pilot.press("ctrl+s")
        await it.until(lambda: "It can be" in it.shown())
        assert not list(it.app.workspace.paths.runs.glob("*"))
        screen.query_one("#adapter-name", Input).value = "other"
        await it.until(lambda: "version of other" in it.shown() and "Start training" in it.shown())


async def test_after_a_run_the_setup_is_shown_before_it_starts_and_offers_the_version(tmp_path: Path) -> None:
    paths = paths_in(tmp_path)
    worlds.fill_corpus(paths, 6)
    version = worlds.publish(paths)
    async with driven(tmp_path, size=(120, 40)) as it:
        await open_train(it)
        await it.app.use_adapter("base")
        await it.pilot.press("u")
        await it.until(lambda: "No version is ready" in it.shown())
        folder = worlds.run_folder(paths, RUN)
        worlds.take_up(folder)
        worlds.step(folder, 1)
        worlds.finish(folder, version)
        it.app.bridge.follow(RUN)
        await it.until(lambda: face(it) == "run" and "is published" in it.shown())
        await it.pilot.press("ctrl+s")
        await it.until(lambda: face(it) == "setup" and "This is what would be trained" in it.shown())
        assert len(list(paths.runs.glob("*"))) == 1
        await it.until(lambda: f"{version} is ready and not in use yet" in it.shown())
        it.app.screen.query_one("#field-rank Input").focus()
        await it.pilot.press("u", "escape")
        await it.until(lambda: it.app.screen.focused is None)
        assert it.app.adapter == "base"
        await it.pilot.press("u")
        await it.until(lambda: it.app.adapter == version and "is ready and" not in it.shown())


async def test_the_field_with_the_focus_is_explained_in_full(tmp_path: Path) -> None:
    async with driven(tmp_path, size=(80, 24)) as it:
        screen = await open_train(it)
        for place, words in (
            ("#adapter-name", "every run makes its next version."),
            ("#parent", "What is new is trained on top of it."),
            ("#recipe-name", "values of the Llama 2 QLoRA tutorials."),
            ("#field-batch_size Input", "batch size"),
        ):
            screen.query_one(place).focus()
            meaning = screen.query_one(".meaning")
            await it.until(lambda words=words, meaning=meaning: words in str(meaning.content), words)
            assert meaning.size.height > 0 and "…" not in str(meaning.content)


def test_every_field_of_a_recipe_goes_through_its_text() -> None:
    from sessions.training.recipe import changed
    from tui.widgets.recipe_form import _text

    for recipe in RECIPES.values():
        texts = {name: _text(getattr(recipe, name)) for name in Recipe.__struct_fields__ if name != "samples"}
        assert changed(Recipe(), **texts) == recipe


async def test_panels_follow_a_run_to_its_version(tmp_path: Path) -> None:
    paths = paths_in(tmp_path)
    worlds.fill_corpus(paths, 6)
    worlds.fill_adapters(paths)
    version = worlds.publish(paths, parent="mine/v1")
    async with driven(tmp_path, size=(120, 40)) as it:
        screen = await open_train(it)
        folder = worlds.run_folder(paths, RUN, parent="mine/v1")
        worlds.take_up(folder)
        it.app.bridge.follow(RUN)
        await it.until(lambda: face(it) == "run" and "Training" in it.shown())
        for number in range(1, 41):
            worlds.step(folder, number)
        await it.until(lambda: len(screen.query_one(LossPlot).loss) == 40, "points were dropped")
        plot = screen.query_one(LossPlot)
        assert [step for step, _ in plot.loss] == list(range(1, 41))
        assert [step for step, _ in plot.held_out] == list(range(4, 41, 4))
        await it.until(lambda: "step 40/40" in it.shown() and "held-out" in it.shown() and "800 MB" in it.shown())
        assert all(sparkline.data for sparkline in screen.query(Sparkline))
        events.append(folder, events.Warned(text="[/INST] \x1b[2J odd"))
        worlds.finish(folder, version)
        await it.until(lambda: "Done" in it.shown() and "u uses it now" in it.shown())
        assert "! [/INST] ␛[2J odd" in it.shown()
        heard = {id(m.event): m.event for m in it.messages if isinstance(m, RunEventHappened)}
        seen = [type(event).__name__ for event in heard.values()]
        assert seen.count("Stepped") == 40
        assert seen[-5:] == ["Scored"] * 3 + ["Published", "RunFinished"]
        assert any(isinstance(message, RunEnded) for message in it.messages)
        await it.pilot.press("u")
        await it.until(lambda: it.app.adapter == version and "answers in the chat now" in it.shown())


async def test_a_failure_is_said_with_its_way_out(tmp_path: Path) -> None:
    paths = paths_in(tmp_path)
    worlds.fill_corpus(paths, 6)
    async with driven(tmp_path, size=(120, 40)) as it:
        await open_train(it)
        folder = worlds.run_folder(paths, RUN)
        worlds.take_up(folder)
        for number in range(1, 13):
            worlds.step(folder, number)
        it.app.bridge.follow(RUN)
        await it.until(lambda: face(it) == "run" and "step 12/40" in it.shown())
        worlds.fail(folder)
        await it.until(lambda: "The GPU ran out of memory at step 12." in it.shown())
        assert "Lower max_length" in it.shown() and "r resumes it from step 12" in it.shown()


async def test_a_run_that_goes_on_is_picked_up_and_earlier_ones_are_listed(tmp_path: Path) -> None:
    paths = paths_in(tmp_path)
    worlds.fill_corpus(paths, 6)
    old = worlds.run_folder(paths, "20250101-100000-bbbb")
    worlds.take_up(old)
    worlds.step(old, 1)
    worlds.fail(old)
    time.sleep(0.01)
    folder = worlds.run_folder(paths, RUN)
    worlds.take_up(folder)
    for number in range(1, 9):
        worlds.step(folder, number)
    async with driven(tmp_path, size=(120, 40)) as it:
        screen = await open_train(it)
        await it.until(lambda: face(it) == "run" and "step 8/40" in it.shown())
        assert screen.query_one("#runs", OptionList).option_count == 3
        assert screen.shown is not None and screen.shown.id == RUN
        await it.pilot.press("x")
        await it.until(lambda: isinstance(it.app.screen, Confirm))
        await it.pilot.press("n")
        await it.until(lambda: isinstance(it.app.screen, TrainScreen))
        await it.pilot.press("down")
        await it.until(lambda: screen.shown is not None and screen.shown.phase == "failed")
        await it.pilot.press("n")
        await it.until(lambda: face(it) == "setup")


@pytest.mark.parametrize("size", [(80, 24), (200, 60), (40, 12), (20, 5)])
async def test_panels_at_every_size(tmp_path: Path, size: tuple[int, int]) -> None:
    paths = paths_in(tmp_path)
    worlds.fill_corpus(paths, 6)
    folder = worlds.run_folder(paths, RUN)
    worlds.take_up(folder)
    for number in range(1, 9):
        worlds.step(folder, number)
    async with driven(tmp_path) as it:
        screen = await open_train(it)
        await it.until(lambda: face(it) == "run")
        await it.pilot.resize_terminal(*size)
        worlds.step(folder, 9)
        await it.until(lambda: len(screen.query_one(LossPlot).loss) == 9)
        if size == (80, 24):
            await it.until(lambda: "loss" in it.shown() and "learning rate" in it.shown() and "s Stop" in it.shown())
        await it.pilot.press("l", "l", "n")


def test_thinning_keeps_the_ends_and_the_mean() -> None:
    points = [(number, float(number)) for number in range(1, 10_001)]
    kept = thinned(points, 200)
    assert len(kept) <= 200 and kept[-1] == points[-1]
    assert abs(kept[0][0] - kept[0][1]) < 60
    assert thinned(points[:5], 200) == points[:5]
