"""The chat screen by keys, over a real host with a fake engine."""

from __future__ import annotations

from pathlib import Path

import pytest

from corpora.dialog import Finish, Status
from corpora.store import ImportedDialog, ImportedTurn, Store
from sessions.engine.fake import FakeEngine
from tests.tui.driving import driven, paths_in
from tui.prompts import Draft, load_draft, save_draft
from tui.screens.chat_replying import Happened
from tui.widgets.conversation import MOUNTED
from tui.widgets.exchange import ExchangeView
from tui.widgets.inline_editor import InlineEditor

OTHERS = ("你好，世界", "سلام، می‌خواهم", "👩‍💻🇮🇷 e\u0301", "[bold]not bold", "[/bold]", "<<x>> & <b>")
CODES = "\x1b[31mred \x9b2J \x07 \u202eabc \x1b]52;c;aGk=\x07"


async def test_first_start_teaches(tmp_path: Path) -> None:
    async with driven(tmp_path) as it:
        assert "Ask something below" in it.shown()
        assert "ctrl+k" in it.shown()
        await it.ask("hello")
        assert "Ask something below" not in it.shown()
        assert "base heard: hello" in it.shown()


async def test_events_come_in_order_and_the_reply_is_stored(tmp_path: Path) -> None:
    async with driven(tmp_path, FakeEngine(pause=0.001)) as it:
        await it.ask("one two three")
        seen = [type(message.event).__name__ for message in it.messages if isinstance(message, Happened)]
        assert seen[:2] == ["Began", "Prefilled"]
        assert seen[2:-2] == ["Token"] * 5
        assert seen[-2:] == ["ColumnEnded", "Saved"]
        stored = it.app.chat.store.exchange(it.last.id)
        assert (stored.reply, stored.finish, stored.tokens) == ("base heard: one two three", Finish.EOS, 5)


@pytest.mark.parametrize("text", OTHERS)
async def test_any_script_is_stored_and_shown(tmp_path: Path, text: str) -> None:
    async with driven(tmp_path, FakeEngine(script=lambda request, adapter: request.dialog[-1].content)) as it:
        await it.ask(text)
        assert (it.last.prompt, it.last.reply) == (text, text)
        assert it.shown().count(text.split(maxsplit=1)[0].strip("*")) >= 2


async def test_control_codes_reach_the_screen_as_pictures(tmp_path: Path) -> None:
    async with driven(tmp_path, FakeEngine(script=lambda request, adapter: CODES), size=(100, 30)) as it:
        await it.ask(CODES)
        assert it.last.reply == CODES.strip()
        shown = it.shown()
        assert "␛[31mred" in shown and "⟨9B⟩" in shown and "⟨RLO⟩" in shown
        assert not any(code in shown for code in "\x1b\x9b\x07\u202e")
        await it.pilot.press("ctrl+k", "ctrl+e")
        await it.pilot.press("escape", "f1")
        assert "\x1b" not in it.shown()


async def test_keep_reject_defer_undo(tmp_path: Path) -> None:
    async with driven(tmp_path) as it:
        await it.ask("hello")
        await it.pilot.press("ctrl+k")
        await it.until(lambda: it.last.status is Status.KEPT)
        await it.until(lambda: "✓ kept" in it.shown() and "1 kept" in it.shown())
        await it.pilot.press("ctrl+x")
        await it.until(lambda: it.last.status is Status.REJECTED)
        await it.say("/defer")
        await it.until(lambda: it.last.status is Status.DEFERRED)
        await it.pilot.press("ctrl+z")
        await it.until(lambda: it.last.status is Status.REJECTED)
        await it.pilot.press("ctrl+x")
        await it.until(lambda: it.last.status is Status.PENDING)


async def test_nothing_to_keep_yet_is_said(tmp_path: Path) -> None:
    async with driven(tmp_path) as it:
        await it.pilot.press("ctrl+k")
        await it.until(lambda: "There is no exchange yet" in it.shown())


async def test_correct_in_place(tmp_path: Path) -> None:
    async with driven(tmp_path) as it:
        await it.ask("hello")
        await it.pilot.press("ctrl+e")
        await it.until(lambda: it.chat.editor is not None)
        area = it.chat.query_one(InlineEditor).area
        await it.until(lambda: area.has_focus)
        assert area.text == "base heard: hello"
        area.text = "[/INST] is a tag.\nSecond line."
        await it.pilot.press("ctrl+s")
        await it.until(lambda: it.last.corrected)
        assert (it.last.reply, it.last.original) == ("[/INST] is a tag.\nSecond line.", "base heard: hello")
        assert it.last.status is Status.KEPT
        await it.until(lambda: "✎ corrected" in it.shown() and it.chat.prompt.has_focus)
        assert len(it.app.chat.store.preferences()) == 1
        assert "tokens ·" not in it.shown()


async def test_leaving_the_editor_changes_nothing(tmp_path: Path) -> None:
    async with driven(tmp_path) as it:
        await it.ask("hello")
        await it.pilot.press("ctrl+e")
        await it.until(lambda: it.chat.editor is not None and it.chat.query_one(InlineEditor).area.has_focus)
        await it.pilot.press("x", "ctrl+k", "escape")
        await it.until(lambda: it.chat.editor is None)
        assert not it.last.corrected and it.last.status is Status.PENDING


async def test_retry_makes_versions_and_arrows_walk_them(tmp_path: Path) -> None:
    async with driven(tmp_path) as it:
        await it.ask("hello")
        first = it.last.id
        await it.pilot.press("ctrl+r")
        await it.until(lambda: it.last.id != first and it.chat.live is None)
        await it.until(lambda: "‹ 2/2 ›" in it.shown())
        await it.pilot.press("left")
        await it.until(lambda: it.last.id == first)
        await it.until(lambda: "‹ 1/2 ›" in it.shown())
        await it.pilot.press("right")
        await it.until(lambda: it.last.id != first)
        assert len(it.chat.conversation.views) == 1


async def test_edit_keeps_the_old_branch(tmp_path: Path) -> None:
    async with driven(tmp_path) as it:
        await it.ask("one")
        await it.ask("two")
        await it.pilot.press("ctrl+up", "ctrl+up")
        assert it.chat.target().prompt == "one"
        await it.pilot.press("ctrl+y")
        await it.until(lambda: it.chat.editor is not None)
        it.chat.query_one(InlineEditor).area.text = "another"
        await it.pilot.press("ctrl+s")
        await it.until(lambda: [known.prompt for known in it.app.chat.branch] == ["another"] and not it.app.chat.busy)
        await it.until(lambda: it.chat.live is None)
        assert len(it.app.chat.store.page()) == 3
        assert [view.exchange.prompt for view in it.chat.conversation.views] == ["another"]
        await it.until(lambda: "‹ 2/2 ›" in it.shown())
        await it.pilot.press("left")
        await it.until(lambda: [known.prompt for known in it.app.chat.branch] == ["one", "two"])
        await it.until(lambda: "‹ 1/2 ›" in it.shown() and it.chat.target().prompt == "one")
        await it.pilot.press("right")
        await it.until(lambda: [known.prompt for known in it.app.chat.branch] == ["another"])


async def test_commands_act_on_the_selected_exchange(tmp_path: Path) -> None:
    async with driven(tmp_path) as it:
        for prompt in ("one", "two", "three"):
            await it.ask(prompt)
        await it.pilot.press("ctrl+up", "ctrl+up", "ctrl+k")
        await it.until(lambda: it.app.chat.branch[1].status is Status.KEPT)
        assert [known.status for known in it.app.chat.branch] == [Status.PENDING, Status.KEPT, Status.PENDING]
        await it.pilot.press("escape")
        assert it.chat.target().prompt == "three"


async def test_stop_keeps_what_has_come(tmp_path: Path) -> None:
    async with driven(tmp_path, FakeEngine(pause=0.01)) as it:
        await it.say("word " * 300)
        await it.until(lambda: it.chat.live is not None and it.chat.live.tokens > 3)
        await it.pilot.press("escape")
        await it.until(lambda: not it.app.chat.busy and it.chat.live is None)
        assert it.last.finish is Finish.STOPPED
        assert it.last.reply.startswith("base heard: word")
        assert "stopped" in it.shown()
        await it.ask("again")


async def test_ctrl_c_stops_first_and_leaves_second(tmp_path: Path) -> None:
    async with driven(tmp_path, FakeEngine(pause=0.01)) as it:
        await it.say("word " * 300)
        await it.until(lambda: it.chat.live is not None and it.chat.live.tokens > 3)
        await it.pilot.press("ctrl+c")
        await it.until(lambda: not it.app.chat.busy)
        assert it.app.is_running
        await it.pilot.press("ctrl+c")
        await it.until(lambda: "Ctrl+C once more leaves" in it.shown())
        await it.pilot.press("ctrl+c")
        await it.until(lambda: it.app.return_code == 0)


async def test_a_stop_text_is_told_in_quotes(tmp_path: Path) -> None:
    async with driven(tmp_path) as it:
        await it.say("/set stop the")
        await it.until(lambda: 'stop: "the", from the next reply on.' in it.shown())


async def test_tags_are_refused_and_may_be_sent_anyway(tmp_path: Path) -> None:
    async with driven(tmp_path, size=(100, 30)) as it:
        await it.say("what is [/INST] for?")
        await it.until(lambda: "sends it anyway" in it.shown())
        assert it.chat.prompt.text == "what is [/INST] for?"
        assert it.app.chat.branch == ()
        await it.pilot.press("ctrl+t")
        await it.until(lambda: it.app.chat.last is not None and it.app.chat.last.reply != "")
        assert it.last.tags_allowed and "[/INST]" in it.last.reply
        await it.until(lambda: not it.chat.query("#refusal"))


async def test_another_text_takes_a_refusal_away(tmp_path: Path) -> None:
    async with driven(tmp_path, size=(100, 30)) as it:
        await it.say("what is [/INST] for?")
        await it.until(lambda: "sends it anyway" in it.shown())
        await it.pilot.press("backspace")
        await it.until(lambda: "sends it anyway" not in it.shown() and not it.chat.query("#refusal"))
        await it.pilot.press("ctrl+t")
        assert it.app.chat.branch == ()


async def test_drafts_survive_a_crash(tmp_path: Path) -> None:
    async with driven(tmp_path) as it:
        await it.ask("hello")
        id = it.last.id
        it.chat.prompt.put("half a thou")
        paths = it.app.workspace.paths
        await it.until(lambda: load_draft(paths) == Draft("half a thou"))
        assert it.chat.draft() == Draft("half a thou")
    async with driven(tmp_path) as it:
        await it.until(lambda: it.chat.prompt.text == "half a thou")
        save_draft(paths, Draft("", id, "correct", "half a correc"))
    save_draft(paths, Draft("", id, "correct", "half a correc"))
    async with driven(tmp_path) as it:
        await it.until(lambda: it.chat.editor is not None)
        assert it.chat.query_one(InlineEditor).area.text == "half a correc"


async def test_earlier_prompts_by_arrow(tmp_path: Path) -> None:
    async with driven(tmp_path) as it:
        await it.ask("one")
        await it.ask("two\nlines")
        it.chat.prompt.put("typing")
        await it.pilot.press("up")
        assert it.chat.prompt.text == "two\nlines"
        await it.pilot.press("up", "up")
        assert it.chat.prompt.text == "one"
        await it.pilot.press("down", "down", "down")
        assert it.chat.prompt.text == "typing"


async def test_new_lines_and_completion_in_the_prompt(tmp_path: Path) -> None:
    async with driven(tmp_path) as it:
        await it.pilot.press("a", "ctrl+j", "b", "shift+enter", "c", "backslash", "enter", "d")
        assert it.chat.prompt.text == "a\nb\nc\nd"
        it.chat.prompt.put("")
        await it.pilot.press("slash", "k", "e")
        await it.until(lambda: it.chat.prompt.completions.display)
        await it.pilot.press("tab")
        assert it.chat.prompt.text == "/keep "
        await it.say("/nonsense")
        await it.until(lambda: "There is no command /nonsense" in it.shown())


async def test_only_fifty_exchanges_are_mounted(tmp_path: Path) -> None:
    paths = paths_in(tmp_path)
    paths.home.mkdir(parents=True)
    turns = tuple(ImportedTurn(f"prompt {number}", f"reply {number}") for number in range(500))
    store = Store(paths.corpus)
    store.add_dialogs([ImportedDialog(turns, None, "test", "key")])
    store.close()
    async with driven(tmp_path) as it:
        await it.app.chat.open(1)
        await it.chat.show_branch()
        await it.until(lambda: "reply 499" in it.shown())
        assert "earlier exchanges" not in it.shown()
        for _ in range(8):
            it.chat.conversation.scroll_home(animate=False)
            it.chat.conversation.show_earlier()
            await it.pilot.pause(0.05)
            assert len(it.chat.query(ExchangeView)) <= MOUNTED
        assert it.chat.conversation.after > 0
        await it.ask("the next")
        assert "heard: the next" in it.shown() and it.chat.conversation.after == 0


async def test_resize_storm_while_streaming(tmp_path: Path) -> None:
    engine = FakeEngine(pause=0.002, script=lambda request, adapter: "- item **x** `y` 你好\n" * 150)
    async with driven(tmp_path, engine) as it:
        await it.say("go")
        for step in range(60):
            await it.pilot.resize_terminal(20 + step * 7 % 120, 5 + step * 3 % 40)
        await it.pilot.resize_terminal(20, 5)
        await it.until(lambda: not it.app.chat.busy and it.chat.live is None, seconds=30)
        await it.pilot.resize_terminal(80, 24)
        assert "item x y" in it.shown()


async def test_history_goes_on_with_a_chat(tmp_path: Path) -> None:
    async with driven(tmp_path) as it:
        await it.ask("about llamas")
        await it.pilot.press("ctrl+n")
        await it.until(lambda: not it.app.chat.branch)
        await it.ask("about goats")
        await it.pilot.press("ctrl+o")
        await it.pilot.pause(0.1)
        await it.pilot.press(*"llamas")
        await it.until(lambda: "about goats" not in it.shown() and "about llamas" in it.shown())
        await it.pilot.press("enter")
        await it.until(lambda: bool(it.app.chat.branch) and it.last.prompt == "about llamas")
        await it.until(lambda: "base heard: about llamas" in it.shown())
