"""What the checks find, what they leave alone, and their fixes."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from corpora.curation import Finding, Fix, Kind, apply, check_exchange, survey
from corpora.dialog import Exchange, Finish, Status
from corpora.preview import preview
from corpora.scripts import script_of
from corpora.secrets import found_secrets, luhn, masked
from corpora.statistics import token_lengths
from corpora.store import ImportedDialog, ImportedTurn, Store


def exchange(prompt: str = "What is it?", reply: str = "It is a thing.", **more: object) -> Exchange:
    return Exchange(1, 1, None, prompt, reply, **({"finish": Finish.EOS} | more))


def kinds(found: Exchange) -> set[Kind]:
    return {finding.kind for finding in check_exchange(found)}


@pytest.mark.parametrize(
    ("found", "kind"),
    [
        (exchange(reply=" \n"), Kind.EMPTY),
        (exchange(prompt=""), Kind.EMPTY),
        (exchange(finish=Finish.LENGTH), Kind.CUT_OFF),
        (exchange(reply="It is a thing that we use with"), Kind.CUT_OFF),
        (exchange(reply="```python\nprint(1)"), Kind.CUT_OFF),
        (exchange(reply="As an AI language model, I have no legs."), Kind.REFUSAL),
        (exchange(reply="I'm sorry, but I can't help with that."), Kind.REFUSAL),
        (exchange(reply="抱歉，我无法回答"), Kind.REFUSAL),
        (exchange(reply="so [/INST] it is"), Kind.TAGS),
        (exchange(reply="done</s>"), Kind.TAGS),
        (exchange(reply="\x1b[31mred\x1b[0m"), Kind.CONTROL_CODES),
        (exchange(prompt="a\u202eb"), Kind.CONTROL_CODES),
        (exchange(reply="write to me at jane@corp.com"), Kind.SECRET),
        (exchange(prompt="什么是科学？"), Kind.SCRIPT),
    ],
)
def test_what_is_found(found: Exchange, kind: Kind) -> None:
    assert kind in kinds(found)


@pytest.mark.parametrize(
    "found",
    [
        exchange(),
        exchange(reply="Sorry to hear that! Take a rest."),
        exchange(reply="می\u200cتوان گفت: بله.", prompt="آیا می\u200cشود؟"),
        exchange(prompt="Translate to Chinese: good", reply="好"),
        exchange(reply="42"),
        exchange(reply="tab\tand\nnewline"),
        exchange(reply="the tag [/INST]", tags_allowed=True),
        exchange(reply="rewritten", finish=Finish.LENGTH, original="cut"),
        exchange(reply="mail user@example.com or call 1234567890123456"),
    ],
)
def test_what_is_left_alone(found: Exchange) -> None:
    assert kinds(found) == set()


SECRETS = {
    "AKIAIOSFODNN7EXAMPLE": "an AWS key",
    "ghp_" + "a1B2" * 9: "a GitHub token",
    "hf_" + "aB" * 17: "a Hugging Face token",
    "sk-proj-" + "abcDEF123" * 4: "an API key",
    "4111 1111 1111 1111": "a card number",
    "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----": "a private key",
    "password: hunter2hunter2": "a password",
    "a.b+c@mail.corp.io": "an e-mail address",
}


@pytest.mark.parametrize(("secret", "kind"), list(SECRETS.items()))
def test_secrets_are_found_and_masked(secret: str, kind: str) -> None:
    text = f"before {secret} after"
    assert [found.kind for found in found_secrets(text)] == [kind]
    clean = masked(text)
    assert clean.startswith("before [") and clean.endswith(" after")
    assert found_secrets(clean) == []


@given(digits=st.text("0123456789", min_size=12, max_size=18))
@settings(max_examples=200, deadline=None, database=None)
def test_one_check_digit_of_ten_fits(digits: str) -> None:
    assert sum(luhn(digits + str(digit)) for digit in range(10)) == 1


@given(text=st.text(max_size=80))
@settings(max_examples=300, deadline=None, database=None)
def test_checks_take_any_text_and_a_fix_settles_what_it_fixes(text: str) -> None:
    for finding in check_exchange(exchange(prompt=text, reply=text)):
        if finding.fix is Fix.REPLACE and finding.kind is not Kind.TAGS:
            fixed = exchange(prompt=finding.prompt or "", reply=finding.reply or "")
            assert finding.kind not in kinds(fixed)


def add(store: Store, *turns: tuple[str, str]) -> None:
    rows = (ImportedDialog((ImportedTurn(*turn),), None, "f", str(number)) for number, turn in enumerate(turns))
    store.add_dialogs(rows)


def test_duplicates_near_duplicates_and_conflicts(store: Store) -> None:
    long = "The river runs from the mountains to the sea and carries stones, sand and stories with it every spring. "
    add(
        store,
        ("Tell me of the river", long),
        ("Tell me  of the River", long + " "),
        ("Tell me about the river", long + "Yes."),
        ("Tell me of the river", "Another answer altogether, short and dry."),
        ("Something else", "Nothing like the others in any way."),
    )
    found = [finding for finding in survey(store).findings if finding.other]
    assert [(finding.kind, finding.exchange_id, finding.other) for finding in found] == [
        (Kind.CONFLICT, 4, 1),
        (Kind.DUPLICATE, 2, 1),
        (Kind.NEAR_DUPLICATE, 3, 1),
    ]


def test_near_duplicates_in_scripts_without_blanks(store: Store) -> None:
    text = "科学方法是一种系统性的求知过程，包括观察、提出假设、设计实验和验证结果，最后得出结论并与他人分享。"
    add(store, ("请介绍科学方法", text), ("请介绍一下科学方法", text + "谢谢"), ("你好", "我很好，谢谢你的关心"))
    assert [finding.kind for finding in survey(store).findings] == [Kind.NEAR_DUPLICATE]


def test_the_same_words_in_another_dialog_are_no_duplicate(store: Store) -> None:
    for key, first in (("a", "Shall we go?"), ("b", "Shall we stay?")):
        turns = (ImportedTurn(first, "As you like it."), ImportedTurn("Yes", "Then we do that right away."))
        store.add_dialogs([ImportedDialog(turns, None, "f", key)])
    assert [finding for finding in survey(store).findings if finding.kind in (Kind.DUPLICATE, Kind.CONFLICT)] == []


def test_fixes_are_carried_out_and_undone(store: Store) -> None:
    add(store, ("red?", "\x1b[31mred\x1b[0m it is"), ("me?", "As an AI, I am nothing."), ("什么？", "Nothing at all."))
    outcomes = {finding.kind: apply(store, finding) for finding in survey(store).findings}
    assert outcomes == {Kind.CONTROL_CODES: True, Kind.REFUSAL: True, Kind.SCRIPT: False}
    assert store.exchange(1).reply == "red it is"
    assert store.exchange(2).status is Status.REJECTED
    assert store.preferences() == []
    assert {finding.kind for finding in survey(store).findings} == {Kind.SCRIPT}
    store.undo()
    store.undo()
    assert store.exchange(1).reply == "\x1b[31mred\x1b[0m it is"


def test_what_is_too_long_is_told_with_a_tokenizer(store: Store, words: Tokenizer) -> None:
    add(store, ("short", "one."), ("long", "many words " * 100 + "."))
    found = survey(store, tokenizer=words, max_length=100).findings
    assert [finding.exchange_id for finding in found if finding.kind is Kind.TOO_LONG] == [2]


def test_advice_is_in_words() -> None:
    assert Finding(1, Kind.EMPTY, "", Fix.REJECT).advice == "reject it"
    assert Finding(1, Kind.SECRET, "", Fix.REPLACE, prompt="x", reply="y").advice == "clean the prompt and the reply"
    assert Finding(1, Kind.CONFLICT, "").advice == "look at it"


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("hello", "latin"), ("“quoted” – text", "latin"), ("你好 world", "latin"), ("你好世界吗 ok", "han"),
        ("سلام", "arabic"), ("こんにちは世界世界", "kana"), ("안녕", "hangul"), ("Привет", "cyrillic"),
        ("123 !?", ""), ("", ""), ("👍", ""),
    ],
)  # fmt: skip
def test_scripts(text: str, script: str) -> None:
    assert script_of(text) == script


def test_a_preview_shows_every_token(words: Tokenizer) -> None:
    dialog = [{"role": "user", "content": "Grüße </s>"}, {"role": "assistant", "content": "ok 👍"}]
    pieces = preview(dialog, words)
    assert (pieces[0].text, pieces[-1].text) == ("<s>", "</s>")
    trained = [piece.text for piece in pieces if piece.trained]
    assert trained == [" ok", " ", "<0xF0>", "<0x9F>", "<0x91>", "<0x8D>", " ", "</s>"]
    assert sum(piece.id in (1, 2) for piece in pieces) == 2


def test_lengths_in_tokens(store: Store, words: Tokenizer) -> None:
    assert token_lengths(store, words) == []
    add(store, *((f"p{number}", "word " * number) for number in range(1, 60)), ("[INST]", "no"))
    bars = token_lengths(store, words, bars=5)
    assert (len(bars), bars[0].start) == (5, 0)
    assert abs(sum(bar.count for bar in bars) - 60) <= 2
    assert sum(bar.count for bar in token_lengths(store, words, bars=5, sample=10)) in range(50, 71)


def test_a_preview_of_another_form(shared: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(shared / "llama2-tokenizer")
    tokenizer.chat_template = (
        "{% for m in messages %}({{ m['content'] }}){% if m['role'] == 'assistant' %}</s>{% endif %}{% endfor %}"
    )
    dialog = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    pieces = preview(dialog, tokenizer)
    assert "".join(piece.text for piece in pieces if piece.trained) == " (b)</s>"
