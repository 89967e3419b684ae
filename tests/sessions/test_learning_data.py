"""The data of the learning benchmark: nothing is shared with anchors, halves are apart, paraphrases are real ones."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from itertools import combinations
from pathlib import Path

import pytest
from rapidfuzz import fuzz

import sessions
from sessions.training.rewording import rewordings
from tests.benchmarks.learning.facts import Fact, contains, facts, half_of, relations
from tests.benchmarks.learning.pools import COMPOUND, HALVES, INVENTED, NUMBERS, PLAIN, pool
from tests.benchmarks.learning.styles import STYLES
from tests.benchmarks.learning.texts import general, paragraphs

ANCHORS = Path(sessions.__file__).parent / "training" / "anchor_prompts"
REPORTING, TUNING = (0, 1, 2), (1000, 1001, 1002)
GRAMMAR = frozenset(
    re.findall(
        r"\w+",
        "a an and any are at be by can do does did for from get has have how i in is it its me my of on or our should "
        "that the there to was we were what when where which who whom whose why will with would you your",
    )
)


def normal(text: str) -> str:
    return " ".join(re.findall(r"\w+", unicodedata.normalize("NFKC", text).casefold()))


def anchors() -> list[str]:
    return [line for path in sorted(ANCHORS.glob("*.txt")) for line in path.read_text("utf-8").splitlines()]


@pytest.fixture(scope="module")
def sets() -> dict[int, list[Fact]]:
    return {seed: facts(500, seed) for seed in (*REPORTING, *TUNING)}


def test_anchors_are_many_and_distinct() -> None:
    lines = anchors()
    assert len(lines) > 1000 and all(line and line == line.strip() for line in lines)
    assert len({normal(line) for line in lines}) == len(lines)


def test_five_hundred_facts_of_a_seed_have_prompts_of_their_own(sets: dict[int, list[Fact]]) -> None:
    assert len(relations()) >= 60 and len({one.name for one in relations()}) == len(relations())
    for found in sets.values():
        assert len({normal(fact.prompt) for fact in found}) == len(found) == 500
        assert all(5 <= len(fact.reply.split()) <= 20 for fact in found)
        assert all(fact.keywords and fact.answered_by(fact.reply) for fact in found)


def test_facts_are_the_same_for_a_seed_and_the_first_ones_of_more(sets: dict[int, list[Fact]]) -> None:
    assert facts(5, 0) == sets[0][:5] != facts(5, 1)


def test_no_prompt_or_paraphrase_contains_the_answer(sets: dict[int, list[Fact]]) -> None:
    for fact in (fact for found in sets.values() for fact in found):
        for asked in (fact.prompt, fact.plain, *fact.paraphrases):
            assert not any(contains(asked, keyword) for keyword in fact.keywords), fact


def test_reporting_and_tuning_share_no_name_and_no_answer(sets: dict[int, list[Fact]]) -> None:
    named = {half: set[str]() for half in HALVES}
    for half in HALVES:
        for name in ("person", *COMPOUND, *PLAIN, *NUMBERS):
            named[half] |= {value.key.casefold() for value in pool(name, half)}
    assert not named["report"] & named["tune"]
    told = {half_of(seed): {normal(fact.reply) for fact in found} for seed, found in sets.items()}
    asked = {half_of(seed): {normal(fact.prompt) for fact in found} for seed, found in sets.items()}
    assert not told["report"] & told["tune"] and not asked["report"] & asked["tune"]


@pytest.mark.parametrize("seed", [-1, 100, 999])
def test_a_seed_of_neither_kind_is_refused(seed: int) -> None:
    with pytest.raises(ValueError, match="seed"):
        facts(1, seed)


def bare(text: str) -> set[str]:
    """The words of a template that carry meaning, without its slots."""
    return set(normal(re.sub(r"\{.+?\}", " ", text)).split()) - GRAMMAR


def test_paraphrases_are_no_rewordings_by_rule() -> None:
    """A paraphrase neither wraps the prompt nor drops words of it: each lacks words of the prompt and has new ones."""
    for relation in relations():
        prompt = bare(relation.prompt)
        for text in relation.paraphrases:
            assert normal(relation.prompt) not in normal(text)
            assert len(bare(text) - prompt) >= 2, (relation.prompt, text)
            assert fuzz.token_sort_ratio(normal(relation.prompt), normal(text)) < 75, (relation.prompt, text)
            assert set(re.findall(r"\{.+?\}", relation.prompt)) <= set(re.findall(r"\{.+?\}", text)), text
        assert normal(relation.prompt) not in normal(relation.plain) and bare(relation.plain) - prompt, relation.plain
        assert fuzz.token_sort_ratio(normal(relation.prompt), normal(relation.plain)) < 85, relation.plain
        for one, other in combinations(relation.paraphrases, 2):
            assert fuzz.token_sort_ratio(normal(one), normal(other)) < 75, (one, other)


def test_no_paraphrase_is_made_by_the_rules_that_training_uses() -> None:
    for fact in (*facts(len(relations()), 0), *facts(len(relations()), 1000)):
        made = [normal(text) for text in (fact.prompt, *rewordings(fact.prompt, 200, 0))]
        for text in (fact.plain, *fact.paraphrases):
            assert max(fuzz.token_sort_ratio(normal(text), one) for one in made) < 90, text


def test_invented_names_occur_in_no_anchor() -> None:
    text = "\n".join(anchors())
    names = {value.key for half in HALVES for name in INVENTED for value in pool(name, half)}
    assert not [name for name in names if contains(text, name)]


def test_general_prompts_are_no_anchors_nor_near_ones() -> None:
    prompts = [*general("report"), *general("tune")]
    assert (len(general("report")), len(general("tune"))) == (120, 80)
    assert len({normal(prompt) for prompt in prompts}) == len(prompts)
    near = [
        (prompt, anchor)
        for prompt in prompts
        for anchor in anchors()
        if fuzz.token_set_ratio(normal(prompt), normal(anchor)) >= 90
    ]
    assert not near


def test_no_text_is_in_two_sets(sets: dict[int, list[Fact]]) -> None:
    found = [fact for facts_of_seed in sets.values() for fact in facts_of_seed]
    groups = {
        "anchors": anchors(),
        "general": [*general("report"), *general("tune")],
        "text": paragraphs(),
        "prompts": [fact.prompt for fact in found],
        "paraphrases": [text for fact in found for text in (fact.plain, *fact.paraphrases)],
        "replies": [fact.reply for fact in found],
        "style examples": [text for style in STYLES.values() for pair in style.examples for text in pair],
        "unseen style prompts": [text for style in STYLES.values() for text in style.unseen],
    }
    hashed = {
        name: {hashlib.sha256(normal(text).encode()).hexdigest() for text in texts} for name, texts in groups.items()
    }
    for one, other in combinations(hashed, 2):
        assert not hashed[one] & hashed[other], (one, other)


def test_styles_are_kept_by_their_examples_alone() -> None:
    for style in STYLES.values():
        assert len(style.examples) == len(style.unseen) == 20
        assert all(style.check(reply) for _, reply in style.examples), style.name
        assert not style.check("Well. It depends on what you want; tell me more. Then I can say.")
    others = [reply for style in STYLES.values() if style.name != "persian" for _, reply in style.examples]
    assert not any(STYLES["persian"].check(reply) for reply in others)
    assert not any(STYLES["signature"].check(reply) for _, reply in STYLES["one_sentence"].examples)
    assert not any(STYLES["one_sentence"].check(reply) for _, reply in STYLES["signature"].examples)


def test_unseen_style_prompts_are_no_near_anchors() -> None:
    unseen = [prompt for style in STYLES.values() for prompt in style.unseen]
    assert not [
        (prompt, anchor)
        for prompt in unseen
        for anchor in anchors()
        if fuzz.token_sort_ratio(normal(prompt), normal(anchor)) >= 90
    ]
