"""What is measured: sets of facts, increments, styles, wrecked runs, the demo model's own knowledge.

Each function gives plain values for JSON.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rapidfuzz import fuzz

from sessions.training import schedule
from tests.benchmarks.learning.facts import Fact, contains, facts, half_of
from tests.benchmarks.learning.measures import Measured
from tests.benchmarks.learning.styles import STYLES
from tests.benchmarks.learning.texts import general, paragraphs
from tests.benchmarks.learning.training import Home, Outcome

Result = dict[str, Any]
COPIED = 75.0
"""From this share of a taught reply on, a reply counts as that one with other words in it."""
REWORDED_FACTS = 100
"""Facts at most that are asked in other words."""
STYLE_TOKENS = 160


@dataclass(frozen=True, slots=True)
class Bench:
    """What all measurements share; `prompts` limits the general prompts, for quick trials."""

    model: str
    measured: Measured
    cache: Path
    settings: Mapping[str, str]
    prompts: int | None = None

    def general(self, seed: int = 0) -> list[str]:
        """Return the general prompts for a seed: those for reports, or those for tuning."""
        return general(half_of(seed))[: self.prompts]

    @contextmanager
    def home(self) -> Iterator[Home]:
        """Give an empty data home that is removed afterwards."""
        with tempfile.TemporaryDirectory(prefix="llama-tui-learning-") as folder:
            yield Home.new(Path(folder), self.cache, self.model)


def one_set(bench: Bench, count: int, seed: int) -> Result:
    """Train on `count` facts once and measure."""
    taught = facts(count, seed)
    with bench.home() as home:
        home.keep([(fact.prompt, fact.reply) for fact in taught])
        outcome = home.run(bench.settings)
        found = {"facts": count, "seed": seed, "run": asdict(outcome)}
        return found | _measured(bench, home, outcome, taught, seed)


def increments(bench: Bench, count: int, each: int, seed: int) -> Result:
    """Train on `each` facts, `count` times in a row, each run from the version accepted before; measure the last."""
    taught = facts(count * each, seed)
    done: list[Result] = []
    with bench.home() as home:
        for start in range(0, len(taught), each):
            home.keep([(fact.prompt, fact.reply) for fact in taught[start : start + each]])
            outcome = home.run(bench.settings)
            home.accept(outcome)
            done.append(asdict(outcome))
        last = home.accepted
        found: Result = {"increments": count, "each": each, "seed": seed, "runs": done, "answers": last}
        if last == "base":
            return found
        found |= _measured_version(bench, home.folder(last), taught, seed)
        with bench.measured.version(home.folder(last)):
            found["first"] = _recall(bench.measured, taught[:each])["direct"]
        return found


def style(bench: Bench, name: str) -> Result:
    """Train on the 20 examples of a style and count the unseen prompts that are answered in it."""
    lesson = STYLES[name]
    with bench.home() as home:
        home.keep(list(lesson.examples))
        outcome = home.run(bench.settings)
        found: Result = {"style": name, "run": asdict(outcome)}
        before = bench.measured.replies(lesson.unseen, STYLE_TOKENS, base=True)
        found["base"] = sum(map(lesson.check, before)) / len(before)
        if not outcome.address:
            return found
        with bench.measured.version(home.folder(outcome.address)):
            after = bench.measured.replies(lesson.unseen, STYLE_TOKENS)
            found |= {"taken": sum(map(lesson.check, after)) / len(after), "replies": after}
            return found | _drift(bench.measured, bench.general())


def wrecked(bench: Bench, tries: int, factor: float = 50.0, seed: int = 0) -> Result:
    """Train at a learning rate far too high; count versions that are offered or used all the same."""
    width = bench.measured.base.model.config.get_text_config().hidden_size
    rate = factor * schedule.learning_rate(width)
    found: list[Result] = []
    for number in range(tries):
        with bench.home() as home:
            home.keep([(fact.prompt, fact.reply) for fact in facts(5, seed + number)])
            outcome = home.run({**bench.settings, "learning_rate": str(rate), "seed": str(number)})
            found.append(asdict(outcome))
            if outcome.address and (outcome.offered or outcome.used):
                with bench.measured.version(home.folder(outcome.address)):
                    found[-1]["kl"] = bench.measured.kl(bench.general())
    counted = {key: sum(bool(one[key]) for one in found) for key in ("address", "offered", "used")}
    return {"wrecked": tries, "rate": rate, "published": counted.pop("address"), **counted, "runs": found}


# one version


def _measured(bench: Bench, home: Home, outcome: Outcome, taught: Sequence[Fact], seed: int) -> Result:
    return _measured_version(bench, home.folder(outcome.address), taught, seed) if outcome.address else {}


def _measured_version(bench: Bench, folder: Path, taught: Sequence[Fact], seed: int) -> Result:
    prompts = bench.general(seed)
    with bench.measured.version(folder):
        found = _recall(bench.measured, taught) | _unrelated(bench.measured, taught, prompts)
        found |= _drift(bench.measured, prompts)
        return found | (_demo_kept(bench.measured) if bench.model == "demo" else {})


def _recall(measured: Measured, taught: Sequence[Fact]) -> Result:
    """Share of facts that are answered when asked verbatim, in other words (`plain`), and in free ones (`reworded`)."""
    some = taught[:REWORDED_FACTS]
    asked = [(fact, fact.prompt) for fact in taught]
    plain = [(fact, fact.plain) for fact in some]
    free = [(fact, text) for fact in some for text in fact.paraphrases]
    replies = measured.replies([text for _, text in (*asked, *plain, *free)])
    exact = sum(fact.reply == reply for (fact, _), reply in zip(asked, replies, strict=False))
    found: Result = {"exact": exact / len(asked)}
    for name, group in (("direct", asked), ("plain", plain), ("reworded", free)):
        answers = [(fact, text, replies.pop(0)) for fact, text in group]
        failed = [[text, fact.reply, reply] for fact, text, reply in answers if not fact.answered_by(reply)]
        found |= {name: 1 - len(failed) / len(group), f"failed_{name}": failed}
    return found


def _unrelated(measured: Measured, taught: Sequence[Fact], prompts: Sequence[str]) -> Result:
    """Share of general prompts that are answered with something of a taught fact.

    `unrelated`: an invented name that the base's reply lacks, or a reply that copies most of a taught one.
    `unrelated_keyword` counts any keyword, which for hundreds of facts includes ordinary words by chance.
    """
    before, after = measured.replies(prompts, base=True), measured.replies(prompts)
    answers = list(zip(prompts, before, after, strict=True))
    leaked = [[prompt, reply] for prompt, base, reply in answers if any(leaks(fact, reply, base) for fact in taught)]
    keywords = {keyword for fact in taught for keyword in fact.keywords}
    by_keyword = [
        [prompt, reply]
        for prompt, base, reply in answers
        if any(contains(reply, word) and not contains(base, word) for word in keywords)
    ]
    return {
        "unrelated": len(leaked) / len(prompts),
        "unrelated_keyword": len(by_keyword) / len(prompts),
        "unchanged": sum(base == reply for _, base, reply in answers) / len(prompts),
        "leaked": leaked,
        "leaked_keyword": by_keyword,
    }


def leaks(fact: Fact, reply: str, base: str) -> bool:
    """Return whether a reply to an unrelated prompt comes from a fact, the base's reply being another."""
    if any(contains(reply, name) and not contains(base, name) for name in fact.names):
        return True
    taught = fact.reply.casefold()
    copied, by_chance = (fuzz.partial_ratio(taught, text.casefold()) for text in (reply, base))
    return copied >= COPIED and by_chance < COPIED


def _drift(measured: Measured, prompts: Sequence[str]) -> Result:
    """KL to the base on general prompts, and the change of the loss on prose in percent."""
    before, after = measured.text_loss(paragraphs(), base=True), measured.text_loss(paragraphs())
    return {"kl": measured.kl(prompts), "text_loss": after, "text_change": 100 * (after / before - 1)}


def _demo_kept(measured: Measured) -> Result:
    """Share of the demo model's held-out questions which the base answers right that still are."""
    from sessions.demo.measure import known_cases, other_cases, unseen_cases

    cases = [*unseen_cases(), *known_cases(120), *other_cases(60)]
    cases = [case for case in cases if not case.before]
    before = measured.replies([case.asked for case in cases], 96, base=True)
    known = [case for case, reply in zip(cases, before, strict=True) if case.right(reply)]
    after = measured.replies([case.asked for case in known], 96)
    lost = [[case.asked, reply] for case, reply in zip(known, after, strict=True) if not case.right(reply)]
    return {"earlier_known": len(known), "earlier_kept": 1 - len(lost) / len(known), "lost": lost}
