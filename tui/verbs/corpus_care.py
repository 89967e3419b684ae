"""`corpus backup|verify`: a whole copy of the store, and a look at every page and row of it."""

from __future__ import annotations

from pathlib import Path

from tui.verbs.call import Call


def backup(call: Call) -> int:
    """Write a copy to `backups/` or to the file named."""
    named = call.given.file
    path = call.workspace.store.backup(Path(named).expanduser() if named else None)
    if call.output.json:
        call.output.document({"backup": str(path)})
    call.output.say(f"Written to {path}.")
    return 0


def verify(call: Call) -> int:
    """List what is damaged; 1 where anything is."""
    problems = call.workspace.store.verify()
    if call.output.json:
        call.output.document({"problems": problems})
    for problem in problems:
        call.output.say(problem)
    if problems:
        call.output.note(
            "Damaged rows were set aside, not deleted; the rest stays usable. `backups/` holds older copies."
        )
    else:
        call.output.say("Every page and row is whole.")
    return 1 if problems else 0
