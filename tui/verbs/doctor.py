"""`doctor`: what this machine can do, and what to do about what is missing.

The findings are made in `sessions.doctor`; a running host adds what it holds.
"""

from __future__ import annotations

from sessions.client import Client
from sessions.doctor import Finding, examine
from sessions.errors import HostError, SettingsError
from sessions.models import absolute, default_model
from sessions.paths import Paths
from sessions.places import records
from sessions.settings import Settings
from tui.glance import size
from tui.verbs.call import Call
from tui.verbs.progress import duration

MARKS = {"good": ("✓", "green"), "note": ("·", "yellow"), "bad": ("✗", "red")}


async def doctor(call: Call) -> int:
    """Print every finding; 1 where something will fail."""
    paths, settings, found = _settled(call)
    found += examine(paths, settings, absolute(call.given.model or default_model(settings)))
    for record, _ in records(paths):
        if record.home == str(paths.home):
            found.append(await _host(paths, record.model))
    if call.output.json:
        call.output.document(found)
    for finding in found:
        mark, style = MARKS[finding.judgement]
        call.output.say(f"{mark} {finding.name:<12}{finding.says}", style if finding.judgement != "good" else "")
        if finding.remedy:
            call.output.say(f"  {'':<12}→ {finding.remedy}")
    return int(any(finding.judgement == "bad" for finding in found))


def _settled(call: Call) -> tuple[Paths, Settings, list[Finding]]:
    """Also where config.toml cannot be used: that is a finding, not the end."""
    try:
        return call.workspace.paths, call.workspace.settings, []
    except SettingsError as error:
        return Paths.find(call.given.home), Settings(), [Finding("settings", "bad", error.what, error.remedy)]


async def _host(paths: Paths, model: str) -> Finding:
    client = Client(paths, model, start=False)
    try:
        state = await client.status()
    except HostError as error:
        return Finding("host", "note", error.what, error.remedy)
    finally:
        await client.close()
    about = f"{model}, up {duration(state.uptime)}, {size(state.memory)}"
    if state.ready is None:
        return Finding("host", "note", f"{about}; the model is not loaded", "`llama-tui host log` may have the reason.")
    return Finding("host", "good", f"{about}; the base is {state.sharing}")
