"""A model's own tokenizer and chat template, read without transformers and equal to what transformers makes of them."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import tracemalloc
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from corpora import sandbox
from corpora.dialog import Message
from corpora.errors import CorpusError, DialogError
from corpora.llama2 import encode_example, encode_prompt, fit_prompt
from corpora.model_tokenizer import ModelTokenizer, read_tokenizer
from corpora.templates import LLAMA_2, OWN, PLAIN, form_of, stop_ids
from tests.corpora.chat_templates import CHATML, KNOWN, Known
from tests.models import byte_level_tokenizer, tiny_tokenizer

DIALOG = [
    Message("user", "Hello, who are you?"),
    Message("assistant", "A small model.", kept=False),
    Message("user", "  And now? <b>&amp;\n\n"),
    Message("assistant", "Still the same: t."),
]
SYSTEM = Message("system", "Be kind. 你好")


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[ModelTokenizer, object]]:
    """Each known template's tokenizer, as we read it and as transformers does."""
    made = {}
    for name, known in KNOWN.items():
        folder = _folder(tmp_path_factory.mktemp("tokenizer"), known)
        made[name] = (read_tokenizer(folder), AutoTokenizer.from_pretrained(folder))
    return made


def _folder(folder: Path, known: Known) -> Path:
    return byte_level_tokenizer(folder, known.template, special=known.special, bos=known.bos, eos=known.eos)


def _said(dialog: list[Message]) -> list[dict[str, str]]:
    return [{"role": each.role, "content": each.content} for each in dialog]


def _dialog(known: Known) -> list[Message]:
    return [SYSTEM, *DIALOG] if known.knows_system else DIALOG


@pytest.mark.parametrize("name", KNOWN)
def test_ids_are_those_of_transformers(name: str, both: dict) -> None:
    ours, theirs = both[name]
    dialog = _dialog(KNOWN[name])
    # A template that tells the day is asked on one day.
    before = datetime.now().date()
    for said in (dialog[:-3], dialog[:-1], [*dialog, *DIALOG * 5, DIALOG[0]]):
        assert encode_prompt(said, ours) == theirs.apply_chat_template(
            _said(said), add_generation_prompt=True, return_dict=False
        )
    whole = theirs.apply_chat_template(_said(dialog), return_dict=False)
    assert encode_example(dialog, ours).ids == whole or datetime.now().date() != before
    assert encode_example(dialog, theirs) == encode_example(dialog, ours)


@pytest.mark.parametrize("name", ["mistral", "zephyr", "chatml"])
def test_the_same_with_a_vocabulary_of_llamas_make(name: str, tmp_path: Path) -> None:
    folder = tiny_tokenizer(tmp_path)
    (folder / "chat_template.jinja").write_text(KNOWN[name].template, "utf-8")
    ours, theirs = read_tokenizer(folder), PreTrainedTokenizerFast.from_pretrained(folder)
    dialog = [*DIALOG * 5, DIALOG[0]]
    ids = theirs.apply_chat_template(_said(dialog), add_generation_prompt=True, return_dict=False)
    assert form_of(ours) == OWN and encode_prompt(dialog, ours) == ids


@pytest.mark.parametrize("name", KNOWN)
def test_trained_are_the_kept_reply_and_its_end(name: str, both: dict) -> None:
    known, (ours, _) = KNOWN[name], both[name]
    example = encode_example(_dialog(known), ours)
    trained = [token for token, is_trained in zip(example.ids, example.trained, strict=True) if is_trained]
    thought = "<think>\n\n</think>\n\n" if name == "thinking" else ""
    assert ours.decode(trained, skip_special_tokens=False) == f"{thought}Still the same: t.{known.end}"
    assert stop_ids(ours) == (ours.backend.token_to_id(known.end),)
    assert form_of(ours) == OWN


texts = st.text(st.sampled_from("ab t Hello\n\té你👍.|"), min_size=1, max_size=12).filter(str.strip)


@given(said=st.lists(st.tuples(texts, texts, st.booleans()), min_size=1, max_size=4), name=st.sampled_from(list(KNOWN)))
@settings(max_examples=200, deadline=None, database=None)
def test_the_prompt_of_chat_is_the_prompt_part_of_training(
    said: list[tuple[str, str, bool]], name: str, both: dict
) -> None:
    tokenizer = both[name][0]
    dialog = [
        each
        for prompt, reply, kept in said
        for each in (Message("user", prompt), Message("assistant", reply, kept=kept))
    ]
    example, ends = encode_example(dialog, tokenizer), stop_ids(tokenizer)
    prompts = [encode_prompt(dialog[:end], tokenizer) for end in range(1, len(dialog), 2)]
    for prompt, reply, after in zip(prompts, dialog[1::2], [*prompts[1:], example.ids], strict=True):
        assert example.ids[: len(prompt)] == prompt == after[: len(prompt)]
        mask = example.trained[len(prompt) : len(after)]
        written = example.ids[len(prompt) : len(prompt) + sum(mask)]
        assert mask == [True] * len(written) + [False] * (len(mask) - len(written))
        assert bool(written) is reply.kept and (not written or written[-1] in ends)
        assert not written or reply.content.strip() in tokenizer.decode(written)


@pytest.mark.parametrize("name", [name for name, known in KNOWN.items() if not known.knows_system])
def test_a_template_without_system_prompts_says_so(name: str, both: dict) -> None:
    with pytest.raises(DialogError, match="takes no system prompt") as raised:
        encode_prompt([SYSTEM, *DIALOG[:1]], both[name][0])
    assert "/system clear" in raised.value.remedy and "Nothing was sent" in raised.value.data


@pytest.mark.parametrize("name", ["chatml", "mistral"])
def test_special_tokens_in_a_message_are_letters_where_they_are_allowed(name: str, both: dict) -> None:
    (tokenizer, _), end = both[name], KNOWN[name].end
    dialog = [
        Message("user", f"What is {end}?", tags_allowed=True),
        Message("assistant", f"{end} ends.", tags_allowed=True),
    ]
    example = encode_example(dialog, tokenizer)
    ends = tokenizer.backend.token_to_id(end)
    assert example.ids.count(ends) == encode_example(DIALOG[:2], tokenizer).ids.count(ends)
    written = [token for token, trained in zip(example.ids, example.trained, strict=True) if trained]
    assert written[-1] == ends and tokenizer.decode(written, skip_special_tokens=False) == f"{end} ends.{end}"
    assert encode_prompt(dialog[:1], tokenizer) == example.ids[: -len(written) - (name == "chatml")]


def test_a_template_that_leaves_the_system_prompt_out_says_so(tmp_path: Path) -> None:
    silent = "{% for m in messages if m.role != 'system' %}<|im_start|>{{ m.content }}<|im_end|>{% endfor %}"
    tokenizer = read_tokenizer(byte_level_tokenizer(tmp_path, silent, special=CHATML.special))
    with pytest.raises(DialogError, match="leaves the system prompt out"):
        encode_prompt([SYSTEM, *DIALOG[:1]], tokenizer)


def test_a_prompt_is_fitted_in_a_template(both: dict) -> None:
    tokenizer, said = both["qwen2"][0], DIALOG[:3]
    fitted = fit_prompt(said, tokenizer, len(encode_prompt(said, tokenizer)) - 1)
    assert fitted.dropped_exchanges == 1 and fitted.ids == encode_prompt(said[2:], tokenizer)


def test_a_template_in_a_file_of_its_own_goes_first(tmp_path: Path) -> None:
    folder = _folder(tmp_path, CHATML)
    (folder / "chat_template.jinja").write_text(KNOWN["qwen2"].template, "utf-8")
    assert read_tokenizer(folder).chat_template == KNOWN["qwen2"].template
    assert AutoTokenizer.from_pretrained(folder).chat_template == KNOWN["qwen2"].template


def test_of_named_templates_the_default_is_taken(tmp_path: Path) -> None:
    folder = _folder(tmp_path, CHATML)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    named = [{"name": "rag", "template": "x"}, {"name": "default", "template": CHATML.template}]
    (folder / "tokenizer_config.json").write_text(json.dumps({**config, "chat_template": named}))
    tokenizer = read_tokenizer(folder)
    assert tokenizer.chat_template == CHATML.template
    ids = AutoTokenizer.from_pretrained(folder).apply_chat_template(_said(DIALOG), return_dict=False)
    assert encode_example(DIALOG, tokenizer).ids == ids


def test_special_tokens_are_read_from_either_file(tmp_path: Path) -> None:
    folder = byte_level_tokenizer(tmp_path, bos="<s>", eos="</s>")
    (folder / "tokenizer_config.json").unlink()
    told = {"bos_token": {"content": "<s>", "lstrip": False}, "eos_token": "</s>", "additional_special_tokens": []}
    (folder / "special_tokens_map.json").write_text(json.dumps(told))
    assert read_tokenizer(folder).named == {"bos_token": "<s>", "eos_token": "</s>"}


def test_a_padding_token_without_an_embedding_is_left_out(tmp_path: Path) -> None:
    """Copies of Llama 2 add `<pad>` behind a vocabulary that the model's embeddings end with."""
    folder = tiny_tokenizer(tmp_path)
    backend = Tokenizer.from_file(str(folder / "tokenizer.json"))
    size = backend.get_vocab_size()
    backend.add_special_tokens(["<pad>"])
    backend.save(str(folder / "tokenizer.json"))
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**config, "pad_token": "<pad>"}))
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "vocab_size": size}))
    assert "pad_token" not in read_tokenizer(folder).named
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "vocab_size": size + 1}))
    assert read_tokenizer(folder).named["pad_token"] == "<pad>"


def test_bloom_without_a_template_has_the_plain_form(tmp_path: Path) -> None:
    folder = byte_level_tokenizer(tmp_path, special=("<unk>", "<pad>"), bos="<s>", eos="</s>")
    (folder / "config.json").write_text('{"model_type": "bloom"}')
    tokenizer = read_tokenizer(folder)
    assert form_of(tokenizer) == PLAIN and stop_ids(tokenizer) == (tokenizer.eos_id,)
    text = tokenizer.decode(encode_prompt([SYSTEM, DIALOG[0]], tokenizer), skip_special_tokens=False)
    assert text == "<s>Be kind. 你好\n\n### User:\nHello, who are you?\n\n### Assistant:\n"


@pytest.mark.parametrize(
    ("name", "kind", "form"),
    [
        ("Llama-2-7b-chat-hf", "llama", LLAMA_2),
        ("models--meta-llama--Llama-2-13b-chat-hf/snapshots/1a2b", "llama", LLAMA_2),
        ("my-own", "llama", LLAMA_2),
        ("my-own", "", LLAMA_2),
        ("Llama-2-7b-hf", "llama", PLAIN),
        ("Llama-2-70b", "llama", PLAIN),
        ("models--meta-llama--Llama-2-13b-hf/snapshots/1a2b", "llama", PLAIN),
        ("Mistral-7B-v0.1", "mistral", PLAIN),
    ],
)
def test_a_base_model_of_llamas_vocabulary_has_the_plain_form(tmp_path: Path, name: str, kind: str, form: str) -> None:
    folder = tiny_tokenizer(tmp_path / name)
    if kind:
        (folder / "config.json").write_text(json.dumps({"model_type": kind}))
    assert form_of(read_tokenizer(folder)) == form


def test_a_llama_2_template_is_written_by_hand(tmp_path: Path) -> None:
    folder = tiny_tokenizer(tmp_path / "Llama-2-7b-hf")
    (folder / "chat_template.jinja").write_text("{{ '[INST] <<SYS>>' }}")
    assert form_of(read_tokenizer(folder)) == LLAMA_2


NESTED = "{% set n = namespace(x=[1]) %}{% for i in range(60) %}{% set n.x = [n.x, n.x] %}{% endfor %}"
ENDLESS = {
    "loops": "{% set x = range(99999) | list %}{% for a in x %}{% for b in x %}{% endfor %}{% endfor %}",
    "times": "{{ 'a' * 10**10 }}",
    "powers": "{{ 9 ** 9 ** 9 }}",
    "doubles": "{% set n = namespace(x='aaaa') %}{% for i in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}",
    "sums": "{% set n = namespace(x='aaaa') %}{% for i in range(60) %}{% set n.x = n.x + n.x %}{% endfor %}",
    "joins": "{% set n = namespace(x='aaaa') %}{% for i in range(60) %}{% set n.x = [n.x, n.x] | join %}{% endfor %}",
    "nests": NESTED + "{{ n.x }}",
    "tells": NESTED + "{{ n.x | tojson }}",
    "widens": "{{ 'a' | center(10**9) }}",
    "pads": "{{ 'a'.ljust(1000000000) }}",
    "forms": "{{ '{:1000000000}'.format(1) }}",
    "per cent": "{{ '%1000000000d' % 1 }}",
    "writes": "{% for a in range(99999) %}{{ messages[0].content * 100 }}{% endfor %}",
    "recurses": "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "brackets": "{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}",
    "long": "a" * 500_000,
    "escapes": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "formats": "{{ '{0.__class__.__mro__[1]}'.format(1) }}",
    "names": "{% set n = namespace(__class__=1) %}",
    "breaks": "{% for %}",
}


MUCH = {
    "replaces": "{{ ('a' * 1000000) | replace('a', 'b' * 200) }}",
    "replaces, too": "{{ ('a' * 1000000).replace('a', 'b' * 200) }}",
    "joins": "{{ ('b' * 1000000).join(['a'] * 200) }}",
    "joins, too": "{{ (['a' * 100000] * 100) | join }}",
    "forms": "{{ ('{0}' * 100).format('b' * 1000000) }}",
    "per cent": "{{ ('%s' * 100) % (['b' * 1000000] * 100) | list }}",
    "translates": "{{ ('a' * 1000000).translate({97: 'b' * 200}) }}",
    "tabs": "{{ ('\\t' * 1000000).expandtabs(4000) }}",
    "indents": "{{ ('a\\n' * 100000) | indent('b' * 2000) }}",
}


@pytest.mark.parametrize("what", MUCH)
def test_a_template_that_makes_much_of_little_is_stopped_before(what: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(sandbox.TemplateFails) as told:
            sandbox.render(MUCH[what], [], {}, awaiting=True)
        assert isinstance(told.value.__cause__, sandbox.OutOfBounds)
        assert tracemalloc.get_traced_memory()[1] < 50_000_000
    finally:
        tracemalloc.stop()


def test_usual_operations_on_long_texts_go_through() -> None:
    text = "word <b>" * 20_000
    source = (
        "{{ messages[0].content.replace('<b>', '[bold]') | replace(' ', '  ') | length }} "
        "{{ messages[0].content.split() | join('\n') | length }} "
        "{{ ('%s: %s' % ('a', messages[0].content)) | length }} "
        "{{ '{}{}'.format(messages[0].content, 1) | length }} {{ messages[0].content | indent(4) | length }}"
    )
    told = sandbox.render(source, [{"role": "user", "content": text}], {}, awaiting=True)
    assert told == "240000 160000 160003 160001 160000"


@pytest.mark.parametrize("what", ENDLESS)
def test_a_template_that_goes_too_far_is_a_message(tmp_path: Path, what: str) -> None:
    tokenizer = read_tokenizer(byte_level_tokenizer(tmp_path, ENDLESS[what]))
    with pytest.raises(DialogError, match="refuses this dialog"):
        encode_prompt(DIALOG[:1], tokenizer)
    assert sys.gettrace() is None


@pytest.mark.parametrize("file", ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "config.json"])
@pytest.mark.parametrize("content", [b"\xff\xfe", b'{"a": ', b"[" * 100_000])
def test_a_damaged_file_is_named(tmp_path: Path, file: str, content: bytes) -> None:
    folder = _folder(tmp_path, CHATML)
    (folder / file).write_bytes(content)
    if file == "chat_template.jinja" and content[:1] != b"\xff":
        return
    with pytest.raises(CorpusError, match=file.replace(".", "[.]")):
        read_tokenizer(folder)


def test_neither_jinja_nor_transformers_is_loaded_before_a_template_needs_it(tmp_path: Path) -> None:
    folder = _folder(tmp_path, CHATML)
    code = (
        "import sys\nimport corpora.llama2, corpora.preview\nassert 'jinja2' not in sys.modules\n"
        "from pathlib import Path\nfrom corpora.model_tokenizer import read_tokenizer\n"
        "ids = corpora.llama2.encode_prompt([{'role': 'user', 'content': 'a'}], read_tokenizer(Path(sys.argv[1])))\n"
        "assert ids and 'jinja2' in sys.modules and not {'torch', 'transformers', 'numpy'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(folder)], check=True)


def test_threads_do_not_read_each_others_special_tokens_as_letters(tmp_path: Path) -> None:
    words = read_tokenizer(byte_level_tokenizer(tmp_path, CHATML.template, special=CHATML.special))
    over = threading.Event()

    def count() -> None:
        while not over.is_set():
            words.encode_batch(["one hundred, two hundred " * 40] * 50)

    counting = threading.Thread(target=count)
    counting.start()
    try:
        asked = [encode_prompt([Message("user", f"Count: {number}")], words) for number in range(20)]
    finally:
        over.set()
        counting.join()
    assert {ids[0] for ids in asked} == {words.backend.token_to_id("<|im_start|>")}
