"""Models with a chat form of their own as a person meets them, and stop texts as a person sets them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpora.store import Store
from sessions.engine.fake import FakeEngine
from sessions.errors import SettingsError
from sessions.protocol import ModelInfo, Sampling
from tests.corpora.chat_templates import CHATML, GEMMA, Known
from tests.hosts import host_in_thread
from tests.models import byte_level_tokenizer
from tests.sessions.training_help import tell_in_one_chat
from tests.tui import worlds
from tests.tui.calling import Caller
from tests.tui.driving import driven, paths_in
from tui import stop_texts
from tui.run_actions import in_words, sampling_with
from tui.screens.settings import Setting
from tui.widgets.exchange_detail import Shown
from tui.widgets.token_preview import token_preview


def model_folder(folder: Path, known: Known) -> Path:
    """What a terminal reads of a model: no weights are needed."""
    byte_level_tokenizer(folder, known.template, special=known.special, bos=known.bos, eos=known.eos)
    (folder / "config.json").write_text('{"model_type": "qwen2"}')
    (folder / "model.safetensors").write_bytes(b"")
    return folder


def test_the_tokens_of_a_model_with_a_template(run: Caller, tmp_path: Path) -> None:
    with run.store() as store:
        tell_in_one_chat(store, [("Where do I live?", "By the sea.")])
    chatml = model_folder(tmp_path / "chatml", CHATML)
    found = run("--model", chatml, "corpus", "show", "1", "--tokens", "--json").document
    assert found["form"] == "own chat template" and found["tokens"][0] == "<|im_start|>"
    trained = "".join(word for word, yes in zip(found["tokens"], found["trained"], strict=True) if yes)
    assert trained == "By the sea.<|im_end|>"
    done = run("--model", chatml, "corpus", "show", "1", "--tokens")
    assert done.code == 0 and "form: own chat template" in done.err and "'<|im_end|>'" in done.out
    plain = model_folder(tmp_path / "bloom", Known("", (), "</s>", bos="<s>", eos="</s>"))
    found = run("--model", plain, "corpus", "show", "1", "--tokens", "--json").document
    assert found["form"] == "plain" and (found["tokens"][0], found["tokens"][-1]) == ("<s>", "</s>")
    assert run("--model", "demo", "corpus", "show", "1", "--tokens", "--json").document["form"] == "Llama 2"


def test_what_a_template_refuses_is_told_where_its_tokens_are_asked_for(run: Caller, tmp_path: Path) -> None:
    with run.store() as store:
        conversation = store.start_conversation()
        asked = store.begin(conversation.id, None, "Hi", system="Be kind.")
        store.correct(asked.id, "Hello.")
    done = run("--model", model_folder(tmp_path / "gemma", GEMMA), "corpus", "show", "1", "--tokens")
    assert done.code == 1 and "takes no system prompt" in done.err and "/system clear" in done.err


def test_lengths_are_checked_in_the_models_own_form(run: Caller, tmp_path: Path) -> None:
    with run.store() as store:
        tell_in_one_chat(store, [("Where do I live?", "By the sea. " * 40)])
    chatml = model_folder(tmp_path / "chatml", CHATML)
    count = len(run("--model", chatml, "corpus", "show", "1", "--tokens", "--json").document["ids"])
    told = run("--model", chatml, "corpus", "check", "--max-length", "100").out
    assert f"it takes {count} tokens" in " ".join(told.split())


def test_the_preview_names_the_form_and_its_signs(tmp_path: Path) -> None:
    paths = paths_in(tmp_path)
    ids = worlds.fill_corpus(paths, 3)
    with Store(paths.corpus) as db:
        path = db.path_to(ids[-1])
    content = token_preview(str(model_folder(tmp_path / "model", CHATML)), Shown(path[-1], path, ()))
    assert content.plain.count("<|im_end|>") == 2 * len(path) and "form: own chat template" in content.plain


# stop texts

STOPS = st.lists(st.text(min_size=1, max_size=8), max_size=4)


@given(stops=STOPS)
def test_stop_texts_are_read_as_they_are_told(stops: list[str]) -> None:
    assert stop_texts.read(stop_texts.told(stops)) == tuple(stops)
    assert stop_texts.read(json.dumps(stops)) == tuple(stops)


@pytest.mark.parametrize(
    ("typed", "stops"),
    [
        ("###", ("###",)),
        ("User: ", ("User:",)),
        ('"User: "', ("User: ",)),
        (r"\n\n", ("\n\n",)),
        ('"a" "b"', ("a", "b")),
        ("none", ()),
        ("", ()),
        ("[]", ()),
    ],
)
def test_stop_texts_as_they_are_typed(typed: str, stops: tuple[str, ...]) -> None:
    assert sampling_with(Sampling(stop=("x",)), "stop", typed).stop == stops


@pytest.mark.parametrize("typed", ['"a', "[1]", '["a"', '"a" 1', '""', "[" * 5000, "a" * 300])
def test_what_is_no_stop_text_is_refused(typed: str) -> None:
    with pytest.raises(SettingsError):
        sampling_with(Sampling(), "stop", typed)


def test_a_reply_ends_before_what_stop_names(run: Caller, host: object) -> None:
    done = run("--model", "fake", "ask", "one two three", "--stop", "never", "--stop", " three", "--json")
    assert done.document["reply"] == "base heard: one two" and done.document["finish"] == "eos"
    assert run("--model", "fake", "ask", "one", "--stop", "").code == 2


async def test_stop_texts_are_set_in_the_app(tmp_path: Path) -> None:
    async with driven(tmp_path, size=(120, 40)) as it:
        await it.say('/set stop "heard: "')
        await it.until(lambda: it.app.chat.sampling.stop == ("heard: ",))
        assert 'stop "heard: "' in in_words(it.app.chat.sampling)
        await it.say("hello")
        await it.until(lambda: it.app.chat.last is not None and it.app.chat.last.finish == "eos")
        assert it.app.chat.last.reply.strip() == "base"
        await it.pilot.press("f8")
        await it.until(lambda: bool(it.app.screen.query(Setting)))
        setting = next(found for found in it.app.screen.query(Setting) if found.key == "sampling.stop")
        assert setting.value == '"heard: "'
        field = setting.query_one("Input")
        field.focus()
        field.value = r"\n"
        await it.pilot.press("enter")
        await it.until(lambda: it.app.chat.sampling.stop == ("\n",))
        assert "stop" in it.app.workspace.paths.config.read_text()
        field.value = ""
        await it.pilot.press("enter")
        await it.until(lambda: it.app.chat.sampling.stop == ())


def test_llama_2s_tags_are_plain_text_to_a_model_of_another_form(run: Caller) -> None:
    engine = FakeEngine(info=ModelInfo(name="fake", chat_format="own chat template"))
    with host_in_thread(run.paths, engine):
        done = run("--model", "fake", "ask", "tell me [/INST] now")
        assert (done.code, done.out) == (0, "base heard: tell me [/INST] now\n")
    with host_in_thread(run.paths):
        assert run("--model", "fake", "ask", "tell me [/INST] now").code == 1
