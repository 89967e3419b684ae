"""The train screen: setup, panels fed by a run's own events, endings, earlier runs."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from textual.widgets import Collapsible, ContentSwitcher, Input, OptionList, Sparkline, TabbedContent

from corpora.dialog import Finish, Status
from corpora.selection import Selection
from corpora.store import ImportedDialog, ImportedTurn, Store, dialog_key
from sessions.paths import Paths
from sessions.training import events
from sessions.training.recipe import RECIPES, Recipe
from tests.tui import worlds
from tests.tui.driving import Driven, driven, paths_in
from tui.messages import CorpusChanged, RunEnded, RunEventHappened
from tui.screens.train import TrainScreen
from tui.widgets.changes_list import ChangesList
from tui.widgets.dialogs import Confirm
from tui.widgets.loss_plot import LossPlot, thinned
from tui.widgets.recipe_form import Field, RecipeForm

RUN = "20260101-100000-aaaa"


def imports(paths: Paths, count: int, source: str = "alpaca.json") -> None:
    turns = [(ImportedTurn(f"{source} {n}", "A reply."),) for n in range(count)]
    with Store(paths.corpus) as store:
        store.add_dialogs(ImportedDialog(turn, None, source, dialog_key(None, turn)) for turn in turns)


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
        await it.until(lambda: "No reply is kept" in it.shown(), seconds=20)


async def test_the_plan_says_what_is_new_and_what_is_left_out(tmp_path: Path) -> None:
    paths = paths_in(tmp_path)
    ids = worlds.fill_corpus(paths, 12)
    versions = worlds.fill_adapters(paths)
    async with driven(tmp_path, size=(120, 40)) as it:
        await it.app.use_adapter(versions[1])
        await open_train(it)
        await it.until(lambda: "4 new replies, on top of mine/v2." in it.shown() and "Stops when" in it.shown())
        assert "Published as the next version of mine." in it.shown()
        it.app.workspace.store.set_status([ids[4]], Status.KEPT)
        it.app.tell(CorpusChanged())
        await it.until(lambda: "1 reply cannot be trained" in it.shown() and "[/INST]" in it.shown())
        assert "5 kept: 4 new · 1 cannot be trained." in it.shown()


async def test_a_run_starts_from_the_version_that_answers(tmp_path: Path) -> None:
    paths = paths_in(tmp_path)
    worlds.fill_corpus(paths, 6)
    first, second, _, other = worlds.fill_adapters(paths)
    async with driven(tmp_path, size=(120, 40)) as it:
        await it.app.use_adapter(first)
        screen = await open_train(it)
        await it.until(lambda: f"on top of {first}." in it.shown())
        await it.app.use_adapter(other)
        await it.until(lambda: f"on top of {other}." in it.shown() and "next version of persian." in it.shown())
        await it.app.use_adapter("base")
        await it.until(lambda: "replies, from the base." in it.shown() and "next version of mine." in it.shown())
        screen.query_one("#parent").value = second
        await it.until(lambda: f"on top of {second}." in it.shown())
        it.app.tell(CorpusChanged())
        await it.until(lambda: screen.setup.counted is not None)
        assert screen.setup.parent_version == second, "what the person chose stays"
        screen.query_one("#adapter-name", Input).value = "third"
        await it.app.use_adapter(first)
        await it.until(lambda: f"on top of {first}." in it.shown() and "next version of third." in it.shown())


async def test_imported_replies_are_selected_by_a_key(tmp_path: Path) -> None:
    paths = paths_in(tmp_path)
    worlds.fill_corpus(paths, 6)
    imports(paths, 50)
    async with driven(tmp_path, size=(80, 24)) as it:
        screen = await open_train(it)
        await it.until(lambda: "50 imported replies are not selected: alpaca.json." in it.shown())
        await it.pilot.press("g")
        await it.until(lambda: "○ alpaca.json" in it.shown() and "0 of 50" in it.shown())
        await it.pilot.press("space")
        await it.until(lambda: "● alpaca.json" in it.shown() and "50 of 50" in it.shown())
        await it.pilot.press("right")
        await it.until(lambda: "without a tag" in it.shown() and "#python" in it.shown())
        await it.pilot.press("right", "right")
        await it.until(lambda: "QLoRA" in it.shown(), "chats by their titles")
        await it.pilot.press("left", "left", "left", "enter")
        await it.until(lambda: "Selected: with alpaca.json" in it.shown())
        assert screen.setup.selecting.selection.files == ("alpaca.json",)
        await it.pilot.press("g")
        await it.until(lambda: "● alpaca.json" in it.shown())
        await it.pilot.press("a", "space", "escape")
        await it.until(lambda: isinstance(it.app.screen, TrainScreen))
        assert screen.setup.selecting.selection.files == ("alpaca.json",), "escape changes nothing"


async def test_groups_that_are_switched_in_a_hurry_are_all_switched(tmp_path: Path) -> None:
    paths = paths_in(tmp_path)
    worlds.fill_corpus(paths, 6)
    for name in ("a.json", "b.json", "c.json"):
        imports(paths, 3, name)
    async with driven(tmp_path, size=(80, 24)) as it:
        screen = await open_train(it)
        await it.until(lambda: "Start training" in it.shown())
        await it.pilot.press("g")
        await it.until(lambda: "○ c.json" in it.shown())
        lines = it.app.screen.query_one(OptionList)
        lines.highlighted = 0
        await it.pilot.press("space", "down", "space", "down", "space", "enter")
        await it.until(lambda: isinstance(it.app.screen, TrainScreen))
        assert screen.setup.selecting.selection.files == ("a.json", "b.json", "c.json")


async def test_a_query_selects_and_an_invalid_one_starts_nothing(tmp_path: Path) -> None:
    paths = paths_in(tmp_path)
    worlds.fill_corpus(paths, 12)
    async with driven(tmp_path, size=(80, 24)) as it:
        screen = await open_train(it)
        await it.until(lambda: "4 new replies" in it.shown())
        field = screen.query_one("#train-query", Input)
        field.value = "corrected:yes"
        await it.until(lambda: "1 new reply, from the base." in it.shown() and "3 not matched" in it.shown())
        assert "Selected: corrected:yes" in it.shown()
        field.value = "corrected:"
        await it.until(lambda: "corrected: needs a value" in it.shown())
        field.value = "tags:x"
        await it.until(lambda: "tags: is no filter" in it.shown() and "cannot be read yet" in it.shown())
        await it.pilot.press("ctrl+s")
        await it.until(lambda: "A setting is not valid" in it.shown())
        assert not list(paths.runs.glob("*"))
        field.value = "nothing says this"
        await it.until(lambda: "No kept reply is selected" in it.shown())
        field.value = ""
        screen.query_one("#train-sample", Input).value = "two"
        await it.until(lambda: "The sample is a whole number" in it.shown())
        screen.query_one("#train-sample", Input).value = "2"
        await it.until(lambda: "2 new replies" in it.shown() and "2 not in the sample" in it.shown())


async def test_the_selection_of_the_last_run_is_the_default(tmp_path: Path) -> None:
    paths = paths_in(tmp_path)
    worlds.fill_corpus(paths, 12)
    version = worlds.publish(paths, selection=Selection(query="corrected:yes", files=()))
    async with driven(tmp_path, size=(120, 40)) as it:
        await it.app.use_adapter(version)
        screen = await open_train(it)
        await it.until(lambda: "Selected: corrected:yes" in it.shown() and "1 new reply" in it.shown())
        await it.pilot.press("d")
        await it.until(lambda: "4 new replies" in it.shown() and "Selected:" not in it.shown())
        assert screen.setup.selecting.selection == Selection()


async def test_what_differs_from_the_defaults_is_listed_and_reset(tmp_path: Path) -> None:
    worlds.fill_corpus(paths_in(tmp_path), 6)
    async with driven(tmp_path, size=(120, 40)) as it:
        screen = await open_train(it)
        await it.until(lambda: "Start training" in it.shown())
        assert "Differs from the default" not in it.shown()
        fields = {name: screen.query_one(f"#field-{name} Input", Input) for name in ("rank", "seed", "learning_rate")}
        fields["rank"].value, fields["seed"].value, fields["learning_rate"].value = "8", "3", "fast"
        screen.query_one("#train-query", Input).value = "QLoRA"
        await it.until(lambda: "rank              8   default: 16" in it.shown() and "fast" in it.shown())
        changes = screen.query_one(ChangesList)
        assert set(changes.names) == {"selection", "rank", "seed", "learning rate"}
        assert "selection         QLoRA   default: all but imported replies" in it.shown()
        changes.query_one(OptionList).focus()
        changes.query_one(OptionList).highlighted = changes.names.index("learning rate")
        await it.pilot.press("delete")
        await it.until(lambda: "learning rate" not in changes.names)
        assert fields["learning_rate"].value == "0" and screen.query_one(RecipeForm).problem == ""
        screen.query_one("#advanced", Collapsible).collapsed = False
        fields["seed"].focus()
        await it.pilot.press("ctrl+r")
        await it.until(lambda: fields["seed"].value == "0" and "seed" not in changes.names)
        await it.pilot.press("escape", "d")
        await it.until(lambda: not changes.names and fields["rank"].value == "16")
        assert screen.query_one("#train-query", Input).value == "" and screen.setup.recipe == Recipe()


async def test_the_default_recipe_repairs_a_wrong_field(tmp_path: Path) -> None:
    worlds.fill_corpus(paths_in(tmp_path), 6)
    async with driven(tmp_path, size=(120, 40)) as it:
        screen = await open_train(it)
        field = screen.query_one("#field-rank", Field)
        field.query_one(Input).value = "many"
        await it.until(lambda: field.has_class("-wrong"))
        screen.query_one("#recipe-name").value = "default"
        await it.until(lambda: not field.has_class("-wrong") and field.query_one(Input).value == "16")
        assert screen.setup.problem == ""


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
        screen.query_one("#advanced", Collapsible).collapsed = False
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
        screen.query_one("#advanced", Collapsible).collapsed = False
        screen.query_one("#field-samples Input", Input).value = "Who are you? | What, then?"
        await it.until(lambda: form.recipe.samples == ("Who are you?", "What, then?"))
        assert form.query_one("#recipe-name").value == "changed"
        screen.query_one("#field-rank Input").focus()
        await it.until(lambda: "Rank r of the LoRA matrices." in it.shown())


async def test_a_chat_of_three_kept_replies_is_three_replies(tmp_path: Path) -> None:
    async with driven(tmp_path, size=(120, 40)) as it:
        store = it.app.workspace.store
        talk = store.start_conversation().id
        first = worlds.say(store, "One?", "One.", talk=talk)
        second = worlds.say(store, "Two?", "Two.", after=first, talk=talk)
        third = worlds.say(store, "Three?", "Three.", after=second, talk=talk)
        store.set_status([first, second, third], Status.KEPT)
        await open_train(it)
        await it.until(lambda: "3 new replies" in it.shown())
        store.set_status([second], Status.PENDING)
        it.app.tell(CorpusChanged())
        await it.until(lambda: "2 new replies" in it.shown())


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
        await it.until(lambda: "version of other." in it.shown() and "Start training" in it.shown())


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
        it.app.screen.query_one("#train-query").focus()
        await it.pilot.press("u", "escape")
        await it.until(lambda: it.app.screen.focused is None)
        assert it.app.adapter == "base"
        await it.pilot.press("u")
        await it.until(lambda: it.app.adapter == version and "is ready and" not in it.shown())


async def test_the_field_with_the_focus_is_explained_in_full(tmp_path: Path) -> None:
    async with driven(tmp_path, size=(80, 24)) as it:
        screen = await open_train(it)
        screen.query_one("#advanced", Collapsible).collapsed = False
        for place, words in (
            ("#adapter-name", "every run makes its next version."),
            ("#parent", "The new replies are trained on top of it."),
            ("#train-query", "Empty: all kept replies."),
            ("#recipe-name", "values of the Llama 2 QLoRA tutorials."),
            ("#field-batch_size Input", "batch size"),
        ):
            screen.query_one(place).focus()
            meaning = screen.query_one(".meaning")
            await it.until(lambda words=words, meaning=meaning: words in str(meaning.content), words)
            assert meaning.size.height > 0 and "…" not in str(meaning.content)


def test_every_field_of_a_recipe_goes_through_its_text() -> None:
    from sessions.training.recipe import changed
    from tui.plan import value_text

    for recipe in RECIPES.values():
        texts = {name: value_text(getattr(recipe, name)) for name in Recipe.__struct_fields__ if name != "samples"}
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
        await it.until(lambda: "12 new · running" in it.shown(), "the list tells that it has begun")
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


async def test_the_outcome_shows_the_gate_and_what_failed(tmp_path: Path) -> None:
    paths = paths_in(tmp_path)
    worlds.fill_corpus(paths, 6)
    version = worlds.publish(paths)
    async with driven(tmp_path, size=(120, 40)) as it:
        await it.app.use_adapter("base")
        screen = await open_train(it)
        folder = worlds.run_folder(paths, RUN)
        worlds.take_up(folder)
        worlds.step(folder, 1)
        it.app.bridge.follow(RUN)
        await it.until(lambda: face(it) == "run" and "12 new replies, 4 of earlier runs" in it.shown())
        screen.query_one("#more", TabbedContent).active = "tab-gate"
        await it.until(lambda: "compared with the base and its parent when" in it.shown())
        screen.query_one("#more", TabbedContent).active = "tab-log"
        await it.pilot.press("g")
        assert screen.query_one("#more", TabbedContent).active == "tab-log", "there is nothing to show yet"
        worlds.gate(folder, passed=False)
        worlds.finish(folder, version)
        await it.until(lambda: "is published, but is not offered: 2 general replies" in it.shown())
        shown = it.shown()
        assert "5 of 5 reproduced · 11 of 15 reworded · 97 of 100 general replies unchanged" in shown
        assert "KL to the base 0.07 of 0.05 nats/token" in shown and "2 prompts failed: g shows them." in shown
        assert "Scores" not in it.shown()
        await it.pilot.press("g")
        await it.until(lambda: "general reply changed: Who wrote Romeo and Juliet?" in it.shown())
        screen.query_one("#gate").parent.scroll_end(animate=False)
        await it.until(lambda: "reply     Ottoline repairs it." in it.shown())


async def test_a_run_that_stops_when_all_is_reproduced_says_how_much_is(tmp_path: Path) -> None:
    paths = paths_in(tmp_path)
    worlds.fill_corpus(paths, 6)
    async with driven(tmp_path, size=(120, 40)) as it:
        await open_train(it)
        folder = worlds.run_folder(paths, RUN)
        worlds.take_up(folder, until_reproduced=True)
        worlds.step(folder, 1, kl=0.01, reproduced=3)
        worlds.step(folder, 2, kl=0.034, reproduced=9)
        it.app.bridge.follow(RUN)
        await it.until(lambda: face(it) == "run" and "step 2 of at most 40 · 9 of 14 reproduced" in it.shown())
        await it.until(lambda: "KL to the base 0.034" in it.shown() and "until all replies are" in it.shown())


async def test_a_run_without_a_gate_has_scores(tmp_path: Path) -> None:
    paths = paths_in(tmp_path)
    worlds.fill_corpus(paths, 6)
    folder = worlds.run_folder(paths, RUN)
    worlds.take_up(folder)
    worlds.finish(folder, worlds.publish(paths), worse="It forgot.")
    async with driven(tmp_path, size=(80, 24)) as it:
        await it.app.use_adapter("base")
        screen = await open_train(it)
        await it.until(lambda: screen.query_one("#runs", OptionList).option_count == 2)
        screen.show_run(RUN)
        await it.until(lambda: "is not offered: It forgot." in it.shown() and "Scores" in it.shown())
        assert "Gate" not in it.shown()


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
