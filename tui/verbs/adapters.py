"""`adapters`: list, show, use, roll back, rename, remove, import and export versions."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from sessions.errors import Cancelled, GateFailed, UsageError
from sessions.lineage import ADDRESS, Branch, Lineage
from sessions.protocol import BASE
from tui.verbs.call import Call, known_name
from tui.verbs.following import tell_gate
from tui.verbs.runs import day


@dataclass(frozen=True, slots=True)
class Version:
    """One version of `adapters list --json`."""

    adapter: str
    identity: str
    current: bool
    offered: bool
    gate: str
    gate_summary: str
    gate_reasons: tuple[str, ...]
    parent: str
    parent_identity: str
    base_model: str
    replies: int
    steps: int
    method: str
    rank: int
    loss: float | None
    held_out: float | None
    accepted: float
    created: float
    run: str


def list_versions(call: Call) -> int:
    """Every version below its parent; damaged ones are listed on stderr."""
    registry = call.workspace.registry
    tree = registry.tree()
    for name in registry.names():
        for error in registry.damaged(name):
            call.output.problem(error)
    if call.output.json:
        call.output.document([_version(branch) for branch in tree])
    elif tree:
        call.output.table(
            ("VERSION", "STATE", "GATE", "FROM", "REPLIES", "STEPS", "LOSS", "HELD OUT", "BASE MODEL", "WHEN"),
            [(_indented(branch), *_cells(branch)) for branch in tree],
            right=("REPLIES", "STEPS", "LOSS", "HELD OUT"),
        )
    else:
        call.output.note("There is no adapter yet. `llama-tui train` makes one out of what is kept.")
    return 0


def show(call: Call) -> int:
    """One version's lineage."""
    lineage = call.workspace.registry.lineage(call.given.adapter)
    if call.output.json:
        call.output.document(lineage)
        return 0
    for name, value in _facts(call, lineage):
        if value:
            call.output.say(f"{name:<14}{value}")
    if lineage.gate is not None:
        call.output.say()
        tell_gate(call.output.say, lineage.gate)
    return 0


def use(call: Call) -> int:
    """Accept a version, or go back to the base; new chats answer with it."""
    workspace = call.workspace
    address = workspace.registry.resolve(call.given.adapter)
    try:
        workspace.accept(address, force=call.given.force)
    except GateFailed as error:
        error.remedy = "Use another version, or train again; --force uses this one all the same."
        raise
    when = "is in use from the next chat on."
    if address != BASE and not workspace.settings.use_adapter:
        when = "is accepted; chats start with the base, as use_adapter is false."
    unchecked = address != BASE and workspace.registry.stored(address).gate is None
    return _report(call, {"adapter": address}, f"{address} {when}{' The gate did not check it.' if unchecked else ''}")


def rollback(call: Call) -> int:
    """Go back to the version that was accepted before."""
    now = call.workspace.registry.rollback(call.given.name)
    return _report(call, {"adapter": now}, f"The accepted version of {call.given.name} is {now} now.")


def rename(call: Call) -> int:
    """Rename an adapter with all its versions."""
    call.workspace.rename(call.given.name, call.given.new)
    return _report(call, {"adapter": call.given.new}, f"{call.given.name} is called {call.given.new} now.")


def remove(call: Call) -> int:
    """Remove a version or a name."""
    asked = call.given.adapter
    if asked == BASE:
        raise UsageError(f"{BASE} is the model without an adapter; it cannot be removed.", data="Nothing was removed.")
    if ADDRESS.fullmatch(asked):
        call.workspace.registry.resolve(asked)  # what is not there is refused before anything is asked
    else:
        known_name(call, asked)
    _confirm(call, f"Remove {asked} for good?")
    call.workspace.remove(asked)
    return _report(call, {"removed": asked}, f"{asked} is removed.")


def bring_in(call: Call) -> int:
    """Copy a PEFT folder in."""
    folder = Path(call.given.folder).expanduser()
    address = call.workspace.registry.import_folder(folder, call.given.name or folder.resolve().name)
    return _report(call, {"adapter": address}, f"{address} is imported; `llama-tui adapters use {address}` uses it.")


def export(call: Call) -> int:
    """Copy a version out."""
    target = Path(call.given.folder).expanduser()
    call.workspace.registry.export(call.given.adapter, target)
    return _report(call, {"folder": str(target)}, f"{call.given.adapter} is written to {target}.")


def _report(call: Call, document: dict[str, str], text: str) -> int:
    if call.output.json:
        call.output.document(document)
    call.output.say(text)
    return 0


def _confirm(call: Call, question: str) -> None:
    """Ask where a person sits there. Raises Cancelled; UsageError where nobody can be asked and `--yes` lacks."""
    if call.given.yes:
        return
    if not (sys.stdin.isatty() and call.output.err.isatty()):
        raise UsageError("Nobody is there to be asked.", data="Nothing was removed.", remedy="Add --yes to remove it.")
    call.output.note(f"{question} [y/N]")
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise Cancelled("Nothing was removed.")


def _version(branch: Branch) -> Version:
    lineage, gate = branch.lineage, branch.lineage.gate
    return Version(
        adapter=lineage.address,
        identity=lineage.digest,
        current=branch.current,
        offered=branch.offered,
        gate=lineage.checked,
        gate_summary=gate.summary if gate else "",
        gate_reasons=gate.reasons if gate else (),
        parent=lineage.parent,
        parent_identity=lineage.parent_digest,
        base_model=lineage.base_model,
        replies=lineage.rows,
        steps=lineage.steps,
        method=lineage.method,
        rank=lineage.rank,
        loss=lineage.loss,
        held_out=lineage.held_out,
        accepted=lineage.accepted,
        created=lineage.created,
        run=lineage.run,
    )


def _indented(branch: Branch) -> str:
    return ("└" + "─" * (branch.depth - 1) + " " if branch.depth else "") + branch.lineage.address


def _cells(branch: Branch) -> tuple[object, ...]:
    lineage = branch.lineage
    return (
        branch.state,
        lineage.checked,
        lineage.parent,
        lineage.rows,
        lineage.steps,
        _figure(lineage.loss),
        _figure(lineage.held_out),
        lineage.base_model,
        day(lineage.created),
    )


def _facts(call: Call, lineage: Lineage) -> list[tuple[str, str]]:
    scores = [
        f"{score.subset}: base {score.base:.3f}, parent {score.parent:.3f}, this {score.new:.3f}"
        for score in lineage.scores
    ]
    return [
        ("version", lineage.address),
        ("from", lineage.parent),
        ("base model", lineage.base_model),
        ("run", lineage.run),
        ("replies", str(lineage.rows)),
        ("steps", str(lineage.steps)),
        ("method", lineage.method),
        ("rank", str(lineage.rank or "")),
        ("loss", _figure(lineage.loss)),
        ("held out", _figure(lineage.held_out)),
        ("scores", " · ".join(scores)),
        ("gate", lineage.checked),
        ("accepted", day(lineage.accepted) if lineage.accepted else "never"),
        ("note", lineage.note),
        ("content", lineage.digest),
        ("made", day(lineage.created)),
        ("folder", str(call.workspace.registry.folder(lineage.address))),
    ]


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
