"""The gate: a good version passes, and each kind of damage is found and named. With a small model that knows things."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch

from corpora.dialog import Message
from corpora.llama2 import encode_example
from corpora.pinned import Kind, PinnedTest, Rule
from sessions.engine.base import LoadedBase, load_base
from sessions.errors import Cancelled, RunDiverged
from sessions.paths import Paths
from sessions.settings import Settings
from sessions.training import adapting, anchors, gate
from sessions.training.anchors import Anchor
from sessions.training.gate import Gate, Questions
from sessions.training.objective import TrainRow, step_loss
from sessions.training.recipe import Recipe
from tests.models import taught_llama
from tests.sessions.training_help import FACTS, GENERAL

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
LESSONS = FACTS[:3]
Matrices = dict[str, torch.Tensor]


@dataclass
class World:
    """A base that answers GENERAL, a PEFT model on it, and the matrices of a good and of a damaging version."""

    base: LoadedBase
    model: Any
    general: list[Anchor]
    rows: list[TrainRow]
    none: Matrices
    good: Matrices
    wild: Matrices

    def gate(self, version: Matrices, parent: Matrices | None = None, check: Any = lambda: None, **asked: Any) -> Gate:
        """A gate for this version that asks everything unless it is said otherwise."""
        adapting.put_back(self.model, version)
        questions = Questions(
            new=self.rows,
            reworded=(),
            earlier=(),
            replies=[reply for _, reply in LESSONS],
            anchors=self.general,
            pinned=(),
            hold="normal",
            kl_budget=0.2,
            reproduce=True,
        )
        return Gate(self.model, self.base.words, replace(questions, **asked), parent, check)

    def has(self, matrices: Matrices) -> bool:
        own = adapting.matrices(self.model)
        return all(torch.equal(own[name], value) for name, value in matrices.items())


def row_of(base: LoadedBase, prompt: str, reply: str, index: int = 0) -> TrainRow:
    dialog = [{"role": "user", "content": prompt}, {"role": "assistant", "content": reply}]
    return TrainRow.of(encode_example(dialog, base.words.vocabulary), "new", index, prompt=prompt)


def trained(model: Any, rows: list[TrainRow], steps: int) -> Matrices:
    """The matrices after a short training on all rows at once."""
    model.train()
    parameters = [one for one in model.parameters() if one.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=5e-3, betas=(0.9, 0.95), weight_decay=0.0)
    ce_tokens = sum(len(row.targets) for row in rows if row.reference is None)
    kl_tokens = max(1, sum(len(row.targets) for row in rows if row.reference is not None))
    for _ in range(steps):
        step_loss(model, rows, ce_tokens=ce_tokens, kl_tokens=kl_tokens, kl_weight=4.0).loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
    model.eval()
    return adapting.matrices(model)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    torch.set_num_threads(1)
    place = tmp_path_factory.mktemp("gate")
    paths = Paths(place / "home", place / "cache", place / "config.toml", place)
    folder = taught_llama(place / "model", GENERAL)
    base = load_base(str(folder), paths, Settings(quantization="none"), lambda *_: None, dtype=torch.float32)
    general = anchors.compute(base.model, base, [prompt for prompt, _ in GENERAL], lambda: None)
    rows = [row_of(base, prompt, reply, index) for index, (prompt, reply) in enumerate(LESSONS)]
    model, _ = adapting.attach(base.model, Recipe(), "tiny", None)
    none = adapting.matrices(model)
    wild = trained(model, rows, 30)
    adapting.put_back(model, none)
    good = trained(model, [*rows, *(anchor.row for anchor in general)], 60)
    return World(base, model, general, rows, none, good, wild)


def test_a_good_version_passes_as_trained(world: World) -> None:
    verdict = world.gate(world.good).run()
    report = verdict.report
    assert report.passed and not report.reasons and not report.failed, report.reasons
    assert report.strength == 1.0 and 0 <= report.kl <= report.kl_budget
    assert (report.new.passed, report.new.total) == (3, 3)
    assert (report.general.passed, report.general.total) == (len(GENERAL), len(GENERAL))
    assert "3 of 3 reproduced" in report.summary
    assert world.has(world.good)


def test_replies_that_are_not_given_back(world: World) -> None:
    report = world.gate(world.none).run().report
    assert not report.passed and report.new.passed == 0 and report.strength == 1.0
    assert any("0 of 3 new replies" in reason for reason in report.reasons) and len(report.reasons) == 1
    listed = [answer for answer in report.failed if answer.check == "new"]
    assert [answer.expected for answer in listed] == [reply for _, reply in LESSONS]
    assert [answer.prompt for answer in listed] == [prompt for prompt, _ in LESSONS]
    assert all(answer.reply != answer.expected for answer in listed)
    assert world.gate(world.none, reproduce=False).run().report.passed  # where epochs are counted


def test_other_wordings_are_counted_and_never_fail(world: World) -> None:
    others = [row_of(world.base, "Is snow a cat?", "It certainly is."), world.rows[0]]
    report = world.gate(world.good, reworded=others).run().report
    assert report.passed and (report.reworded.passed, report.reworded.total) == (1, 2)
    assert [answer.check for answer in report.failed] == ["reworded"]


def test_earlier_replies_that_are_lost(world: World) -> None:
    """Only replies that the parent gave back can be lost."""
    never_known = row_of(world.base, "Is snow a cat?", "It certainly is.")
    asked = {"new": (), "earlier": [*world.rows, never_known], "reproduce": False}
    report = world.gate(world.none, world.good, **asked).run().report
    assert not report.passed and (report.earlier.passed, report.earlier.total) == (0, 3)
    assert any("3 of 3 earlier replies" in reason for reason in report.reasons)
    assert sorted(answer.expected for answer in report.failed) == sorted(reply for _, reply in LESSONS)
    kept = world.gate(world.good, world.good, **asked).run().report
    assert kept.passed and (kept.earlier.passed, kept.earlier.total) == (3, 3)


def test_a_trained_reply_that_comes_for_unrelated_prompts(world: World) -> None:
    report = world.gate(world.wild, kl_budget=1e9).run().report
    assert not report.passed and report.new.passed == 3
    assert any("answered with a trained reply" in reason for reason in report.reasons)
    listed = [answer for answer in report.failed if answer.check == "general"]
    assert len(listed) == report.general.total - report.general.passed > 0
    known = dict(GENERAL)
    assert all(known[answer.prompt] == answer.expected != answer.reply for answer in listed)
    firm = world.gate(world.wild, kl_budget=1e9, hold="firm").run().report
    assert not firm.passed


def test_lessons_of_style_may_change_other_replies(world: World) -> None:
    """With a loose hold a spilled reply alone is no reason; it is still listed."""
    spills = world.gate(world.wild, kl_budget=1e9, hold="loose").run().report
    assert not any("trained reply" in reason for reason in spills.reasons)
    assert any(answer.check == "general" for answer in spills.failed)


def test_a_version_that_is_too_far_from_the_base(world: World) -> None:
    report = world.gate(world.good, kl_budget=1e-7).run().report
    assert not report.passed and report.kl > 1e-7
    assert any("KL to the base" in reason for reason in report.reasons) and len(report.reasons) == 1


def pinned(prompt: str, text: str, kind: Kind = Kind.CONTAINS) -> PinnedTest:
    return PinnedTest((Message("user", prompt),), Rule(kind, text))


def test_a_pinned_test_that_fails_and_passed_before(world: World) -> None:
    (prompt, reply), (other, _) = GENERAL[0], GENERAL[1]
    tests = (pinned(prompt, reply), pinned(other, "nowhere"), pinned(prompt, "nowhere", Kind.NOT_CONTAINS))
    asked = {"pinned": tests, "kl_budget": 1e9, "hold": "loose"}
    broken = world.gate(world.wild, **asked).run()
    assert any("1 pinned tests fail" in reason for reason in broken.report.reasons)
    (answer,) = [each for each in broken.report.failed if each.check == "pinned"]
    assert answer.prompt == prompt and answer.expected == tests[0].describe() and reply not in answer.reply
    fine = world.gate(world.good, **asked).run()
    assert fine.report.passed and (fine.report.pinned.passed, fine.report.pinned.total) == (2, 3)
    assert fine.pinned_replies == (GENERAL[0][1], GENERAL[1][1], GENERAL[0][1])
    from_parent = world.gate(world.wild, world.wild, **asked).run()  # the parent failed as well
    assert not any("pinned" in reason for reason in from_parent.report.reasons)


@pytest.mark.parametrize("strength", gate.STRENGTHS)
def test_a_lower_strength_is_chosen_where_it_passes(world: World, strength: float) -> None:
    """Matrices that are too strong by a factor pass at its inverse."""
    strong = adapting.scaled(world.good, 1 / strength)
    tried = [scale for scale in (1.0, *gate.STRENGTHS) if scale >= strength]
    distances = [world.gate(adapting.scaled(strong, scale), kl_budget=1e9).run().report.kl for scale in tried]
    assert distances == sorted(distances, reverse=True)
    budget = (distances[-1] + distances[-2]) / 2
    verdict = world.gate(strong, kl_budget=budget).run()
    assert verdict.report.passed and verdict.report.strength == strength
    assert world.has(adapting.scaled(strong, strength))


def test_matrices_are_as_trained_where_no_strength_passes(world: World) -> None:
    report = world.gate(world.wild).run().report
    assert not report.passed and report.strength == 1.0
    assert world.has(world.wild)


def test_methods_that_cannot_be_scaled_are_judged_as_trained(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world.model.peft_config[adapting.ADAPTER], "use_dora", True)
    found = world.gate(world.good, kl_budget=1e-7)
    monkeypatch.setattr(found, "_at", counting(found._at, calls := []))
    assert not found.run().report.passed and calls == [1.0]


def counting(method: Any, calls: list[float]) -> Any:
    def called(strength: float) -> Any:
        calls.append(strength)
        return method(strength)

    return called


def test_numbers_that_are_not_finite_end_the_run(world: World) -> None:
    broken = {name: torch.full_like(value, float("nan")) for name, value in world.good.items()}
    with pytest.raises(RunDiverged):
        world.gate(broken, new=(), reproduce=False).run()


def test_nothing_to_ask_is_no_reason(world: World) -> None:
    report = world.gate(world.good, new=(), anchors=(), replies=()).run().report
    assert report.passed and report.kl == 0 and report.new.share == report.general.share == 1.0


def test_what_failed_is_listed_up_to_a_limit(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "MOST_LISTED", 2)
    report = world.gate(world.none).run().report
    assert report.new.total - report.new.passed == 3
    assert len(report.failed) == 2


def test_earlier_replies_are_looked_up_in_one_pass(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many there are: a set of 200 would else take 200 passes."""
    passes = []
    original = gate.target_losses
    monkeypatch.setattr(gate, "target_losses", lambda *given: passes.append(1) or original(*given))
    world.gate(world.good, world.good, earlier=world.rows)
    assert len(passes) == 1


def test_a_check_can_be_cancelled(world: World) -> None:
    def check() -> None:
        raise Cancelled("The run was given up.", data="Nothing was published.")

    with pytest.raises(Cancelled):
        world.gate(world.good, check=check).run()


def test_the_model_is_in_training_afterwards_if_it_was_before(world: World) -> None:
    found = world.gate(world.good)
    world.model.train()
    found.run()
    assert world.model.training
    world.model.eval()
