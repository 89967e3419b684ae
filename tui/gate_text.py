"""The report of the gate as lines: for the command line, the line REPL and the screens."""

from __future__ import annotations

from typing import Literal, NamedTuple

from sessions.training.report import Answer, Check, GateReport
from tui import render

CHECKS: dict[Check, str] = {
    "new": "not reproduced",
    "earlier": "earlier reply lost",
    "general": "general reply changed",
    "pinned": "pinned test failed",
    "reworded": "in other words (does not count)",
}
"""What the failure of each check means, in the order in which they are shown."""
LONGEST = 300


class Line(NamedTuple):
    """One line and how it is shown: `good`, `bad`, `dim` or plain."""

    text: str
    style: Literal["", "good", "bad", "dim"] = ""


def result_of(report: GateReport) -> list[Line]:
    """Whether a version passed, the counts, KL against its budget, and the reasons against it."""
    word = Line("The gate was passed.", "good") if report.passed else Line("The gate was not passed.", "bad")
    lines = [word, Line(report.summary)] if report.summary else [word]
    if kl := kl_of(report):
        lines.append(Line(kl, "" if report.kl <= report.kl_budget else "bad"))
    if report.strength != 1:
        lines.append(Line(f"Published at {report.strength:g} of the strength that was trained."))
    return lines + [Line(reason, "bad") for reason in report.reasons]


def kl_of(report: GateReport) -> str:
    """`KL to the base 0.03 of 0.05 nats/token`; empty where it was not measured."""
    return f"KL to the base {report.kl:.2g} of {report.kl_budget:.2g} nats/token" if report.kl_budget else ""


def failed_in(report: GateReport) -> list[Answer]:
    """The prompts that failed, those that count first."""
    order = list(CHECKS)
    return sorted(report.failed, key=lambda each: order.index(each.check))


def failures(report: GateReport) -> int:
    """The number of failed prompts that count."""
    return sum(each.check != "reworded" for each in report.failed)


def answer_lines(answer: Answer) -> list[Line]:
    """A prompt with the reply that was expected and the one that came."""
    return [
        Line(f"{CHECKS[answer.check]}: {render.line(answer.prompt, LONGEST)}", "bad"),
        Line(f"  expected  {render.line(answer.expected, LONGEST)}"),
        Line(f"  reply     {render.line(answer.reply, LONGEST) or '(empty)'}"),
    ]
