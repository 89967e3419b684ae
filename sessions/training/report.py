"""The result of the gate: how a new version answers what it was trained on and what it was not. Torch-free.

Stored in the lineage of the version and sent as a run event.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

Check: TypeAlias = Literal["new", "reworded", "earlier", "general", "pinned"]
"""`new` and `reworded`: replies of this run, asked verbatim and in other words. `earlier`: replies of earlier runs.
`general`: prompts that were never trained. `pinned`: the person's own tests."""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """One prompt of the gate with the expected reply (or the rule of a pinned test) and the actual one."""

    check: Check
    prompt: str
    expected: str
    reply: str


class Tally(msgspec.Struct, frozen=True):
    """How many prompts of one check passed, out of how many; a total of 0 means that the check did not run."""

    passed: int = 0
    total: int = 0

    @property
    def share(self) -> float:
        """The fraction that passed; 1 for an empty check."""
        return self.passed / self.total if self.total else 1.0


class GateReport(msgspec.Struct, frozen=True, kw_only=True):
    """Counts per check, KL(base ‖ version) in nats per token on held-out prompts, and what failed.

    `strength` is the factor that was applied to the adapter before publishing (1: as trained). `reasons` are
    sentences, empty where the version passed. `failed` lists the prompts that failed, at most 50 per check;
    `reworded` ones are listed but never fail the gate.
    """

    passed: bool
    strength: float = 1.0
    new: Tally = Tally()
    reworded: Tally = Tally()
    earlier: Tally = Tally()
    general: Tally = Tally()
    pinned: Tally = Tally()
    kl: float = 0.0
    kl_budget: float = 0.0
    reasons: tuple[str, ...] = ()
    failed: tuple[Answer, ...] = ()

    @property
    def summary(self) -> str:
        """One line for screens and logs, such as `5 of 5 reproduced · 11 of 15 reworded · 97 of 100 general`."""
        counted = (
            (self.new, "reproduced"),
            (self.reworded, "reworded"),
            (self.earlier, "earlier replies kept"),
            (self.general, "general replies unchanged"),
            (self.pinned, "pinned tests passed"),
        )
        return " · ".join(f"{tally.passed:,} of {tally.total:,} {what}" for tally, what in counted if tally.total)
