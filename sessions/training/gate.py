"""The gate: does a new version add what was trained and keep what worked?

Compared with the base and the parent on new replies (verbatim and reworded), replies of earlier runs, held-out
anchors and pinned tests. Whether a greedy reply would equal a known text is read off one forward pass; only prompts
whose reply changed are generated.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import torch
from rapidfuzz import fuzz

from corpora.llama2 import encode_prompt
from corpora.pinned import REPLY_TOKENS as PINNED_TOKENS
from corpora.pinned import PinnedTest
from sessions.engine.words import Words
from sessions.training import adapting
from sessions.training.anchors import Anchor
from sessions.training.evaluation import decoded, target_losses
from sessions.training.generation import greedy
from sessions.training.objective import TrainRow, kl_to
from sessions.training.recipe import Hold
from sessions.training.report import Answer, Check, GateReport, Tally

STRENGTHS = (0.85, 0.7)
"""Factors that are tried in turn where a version does not pass as trained."""
LEAST_REPRODUCED = 0.9
LEAST_KEPT = 0.98
"""Shares of new replies that must be reproduced, and of general replies that must stay the same in kind."""
CHANGED_TOKENS = 24
"""Tokens that are generated for a prompt whose reply changed."""
UNLIKELY = 1.5
"""Nats per token by which a changed reply may be less likely to the base than the base's own reply."""
SAME_ANSWER = 80
"""Score of rapidfuzz (of 100) from which a reply counts as a trained one."""
MOST_LISTED = 50
_WORD = re.compile(r"\w{3,}")


@dataclass(frozen=True, slots=True)
class Questions:
    """What the gate asks. `replies` are all trained replies; `reproduce` is False where epochs are counted."""

    new: Sequence[TrainRow]
    reworded: Sequence[TrainRow]
    earlier: Sequence[TrainRow]
    replies: Sequence[str]
    anchors: Sequence[Anchor]
    pinned: Sequence[PinnedTest]
    hold: Hold
    kl_budget: float
    reproduce: bool


@dataclass(frozen=True, slots=True)
class Verdict:
    """A report, and the replies to the pinned tests in their order."""

    report: GateReport
    pinned_replies: tuple[str, ...]


class Gate:
    """Asks one model. `parent` are the matrices of the version that the run continued, None for the base."""

    def __init__(
        self,
        model: Any,
        words: Words,
        questions: Questions,
        parent: dict[str, torch.Tensor] | None,
        check: Callable[[], None],
    ) -> None:
        self.model, self.words, self.questions, self.check = model, words, questions, check
        self._own = adapting.matrices(model)
        self._known = _words_of(decoded(words, anchor.reply_ids) for anchor in questions.anchors)
        with self._parent(parent):
            self._kept_before = self._exact(questions.earlier)
            self._pinned_before = self._pinned()

    def run(self) -> Verdict:
        """Return the verdict on the version as trained, or at the first lower strength that passes.

        The model has the matrices of the verdict's strength afterwards.
        """
        first = self._at(1.0)
        if first.report.passed or not adapting.is_linear(self.model):
            return first
        for strength in STRENGTHS:
            weaker = self._at(strength)
            if weaker.report.passed:
                return weaker
        adapting.put_back(self.model, self._own)
        return first

    def _parent(self, parent: dict[str, torch.Tensor] | None) -> Any:
        return self.model.disable_adapter() if parent is None else adapting.holding(self.model, parent)

    def _at(self, strength: float) -> Verdict:
        adapting.put_back(self.model, adapting.scaled(self._own, strength))
        asked = self.questions
        answers: list[Answer] = []
        new = self._reproduced("new", asked.new, answers)
        reworded = self._reproduced("reworded", asked.reworded, answers)
        earlier = self._reproduced("earlier", [row for row in asked.earlier if row.ids in self._kept_before], answers)
        general, kl, spilled = self._general(answers)
        replies = self._pinned()
        pinned = self._judged(replies, answers)
        report = GateReport(
            passed=False,
            strength=strength,
            new=new,
            reworded=reworded,
            earlier=earlier,
            general=general,
            pinned=pinned,
            kl=kl,
            kl_budget=asked.kl_budget,
            failed=_listed(answers),
        )
        reasons = self._reasons(report, spilled)
        return Verdict(msgspec.structs.replace(report, passed=not reasons, reasons=reasons), tuple(replies))

    # checks

    def _reproduced(self, check: Check, rows: Sequence[TrainRow], failed: list[Answer]) -> Tally:
        """Count the rows whose greedy reply would be the kept one, and list the others with the actual reply."""
        exact = self._exact(rows)
        missed = [row for row in rows if row.ids not in exact]
        listed = missed[:MOST_LISTED]
        made = self._replies([row.ids[: row.targets[0]] for row in listed], CHANGED_TOKENS)
        for row, reply in zip(listed, made, strict=True):
            expected = decoded(self.words, [row.ids[place] for place in row.targets])
            failed.append(Answer(check=check, prompt=row.prompt, expected=expected, reply=reply))
        return Tally(len(rows) - len(missed), len(rows))

    def _exact(self, rows: Sequence[TrainRow]) -> set[tuple[int, ...]]:
        """Return the ids of the rows in which each target is the most likely token."""
        found = set()
        for row, logits, _ in target_losses(self.model, rows, self.check):
            wanted = torch.tensor([row.ids[place] for place in row.targets], device=logits.device)
            if bool((logits.argmax(-1) == wanted).all()):
                found.add(row.ids)
        return found

    def _general(self, failed: list[Answer]) -> tuple[Tally, float, int]:
        """Ask the held-out anchors; return (unchanged in kind, KL per token, replies with a trained answer)."""
        kl, tokens = 0.0, 0
        own_losses: dict[tuple[int, ...], float] = {}
        changed: list[Anchor] = []
        by_ids = {anchor.row.ids: anchor for anchor in self.questions.anchors}
        for row, logits, _ in target_losses(self.model, [anchor.row for anchor in by_ids.values()], self.check):
            anchor = by_ids[row.ids]
            assert row.reference is not None
            kl += float(kl_to(row.reference, logits).sum())
            tokens += len(row.targets)
            own_losses[row.ids] = -float(row.reference.logprobs[:, 0].float().mean())
            if not bool((logits.argmax(-1).cpu() == row.reference.tokens[:, 0]).all()):
                changed.append(anchor)
        if not math.isfinite(kl):
            raise adapting.diverged("probabilities of general replies")
        made = greedy(
            self.model, [anchor.prompt_ids for anchor in changed], self.words.ends, CHANGED_TOKENS, self.check
        )
        likely = self._likely_to_base(changed, made, own_losses)
        spilled = broken = 0
        for anchor, ids, plausible in zip(changed, made, likely, strict=True):
            before, now = decoded(self.words, anchor.reply_ids), decoded(self.words, ids)
            is_spill = self._is_trained(now, before, anchor.prompt)
            if is_spill or not plausible:
                spilled += is_spill
                broken += 1
                failed.append(Answer(check="general", prompt=anchor.prompt, expected=before, reply=now))
        count = len(by_ids)
        return Tally(count - broken, count), kl / max(1, tokens), spilled

    def _likely_to_base(
        self, anchors: Sequence[Anchor], replies: Sequence[Sequence[int]], own: dict[tuple[int, ...], float]
    ) -> list[bool]:
        """Return for each changed reply whether the base finds it about as likely as its own."""
        rows = []
        for index, (anchor, reply) in enumerate(zip(anchors, replies, strict=True)):
            ids = (*anchor.prompt_ids, *reply)
            rows.append(TrainRow(ids, tuple(range(len(anchor.prompt_ids), len(ids))), "anchor", index))
        losses = {}
        with self.model.disable_adapter():
            for row, _, found in target_losses(self.model, [row for row in rows if row.targets], self.check):
                losses[row.source] = float(found.mean())
        return [
            index in losses and losses[index] <= own[anchor.row.ids] + UNLIKELY for index, anchor in enumerate(anchors)
        ]

    def _is_trained(self, reply: str, before: str, prompt: str) -> bool:
        """Return whether a reply to an unrelated prompt is a trained one, or has words that only those have."""
        if any(
            fuzz.ratio(reply, trained[: len(reply) + 20]) >= SAME_ANSWER > fuzz.ratio(before, trained)
            for trained in self.questions.replies
        ):
            return True
        own = _words_of(self.questions.replies) - self._known - _words_of([before, prompt])
        return len(_words_of([reply]) & own) >= 2

    def _pinned(self) -> list[str]:
        prompts = [encode_prompt(test.dialog, self.words.vocabulary) for test in self.questions.pinned]
        return self._replies(prompts, PINNED_TOKENS)

    def _judged(self, replies: Sequence[str], failed: list[Answer]) -> Tally:
        """Count the pinned tests that pass; list those that fail although the parent passed them."""
        passed = 0
        for test, reply, before in zip(self.questions.pinned, replies, self._pinned_before, strict=True):
            if not test.rule.failure(reply):
                passed += 1
            elif not test.rule.failure(before):
                failed.append(Answer(check="pinned", prompt=test.prompt, expected=test.describe(), reply=reply))
        return Tally(passed, len(replies))

    def _reasons(self, report: GateReport, spilled: int) -> tuple[str, ...]:
        """Return why the version does not pass, in sentences."""
        asked, reasons = self.questions, []
        if asked.reproduce and report.new.share < LEAST_REPRODUCED:
            reasons.append(f"Only {report.new.passed} of {report.new.total} new replies are reproduced.")
        if report.earlier.passed < report.earlier.total:
            lost = report.earlier.total - report.earlier.passed
            reasons.append(f"{lost} of {report.earlier.total} earlier replies are no longer reproduced.")
        if asked.hold != "loose":
            reasons += self._harm(report, spilled)
        if flipped := sum(answer.check == "pinned" for answer in report.failed):
            reasons.append(f"{flipped} pinned tests fail that passed before.")
        return tuple(reasons)

    def _harm(self, report: GateReport, spilled: int) -> list[str]:
        """Return what changed in replies that were not trained; with a loose hold they are meant to change."""
        reasons = []
        if spilled > report.general.total // 100:
            reasons.append(f"{spilled} of {report.general.total} unrelated prompts are answered with a trained reply.")
        if report.general.share < LEAST_KEPT:
            broken = report.general.total - report.general.passed
            reasons.append(f"{broken} of {report.general.total} general replies changed in kind.")
        if report.kl > report.kl_budget:
            reasons.append(f"KL to the base is {report.kl:.3f} nats per token; the budget is {report.kl_budget:.2f}.")
        return reasons

    def _replies(self, prompts: Sequence[Sequence[int]], tokens: int) -> list[str]:
        made = greedy(self.model, prompts, self.words.ends, tokens, self.check)
        return [decoded(self.words, ids) for ids in made]


def _words_of(texts: Iterable[str]) -> set[str]:
    return {word.casefold() for text in texts for word in _WORD.findall(text)}


def _listed(answers: Sequence[Answer]) -> tuple[Answer, ...]:
    """Return at most MOST_LISTED answers of each check."""
    counts: dict[str, int] = {}
    found = []
    for answer in answers:
        counts[answer.check] = counts.get(answer.check, 0) + 1
        if counts[answer.check] <= MOST_LISTED:
            found.append(answer)
    return tuple(found)
