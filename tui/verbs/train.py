"""`train`: a run on what is kept, followed to its end.

Knows nothing of how a run is done.
"""

from __future__ import annotations

from collections.abc import Sequence

from sessions.errors import UsageError
from sessions.launch import start_run
from sessions.training import recipe as recipes
from sessions.training import runs
from sessions.training.recipe import Recipe
from tui.verbs.call import Call
from tui.verbs.following import follow_run, until_free


async def train(call: Call) -> int:
    """Train and wait, or leave with `--no-wait`; non-zero where nothing was published."""
    recipe = changed_recipe(recipes.load(call.given.recipe), call.given.set)
    name = call.given.adapter or call.workspace.settings.adapter
    parent = call.given.parent
    found = runs.preview(
        call.workspace.paths, call.workspace.store, model=call.model, adapter=name, recipe=recipe, parent=parent
    )
    for problem in found.problems:
        call.output.note(f"Left out: {problem}", "yellow")
    if found.warning:
        call.output.note(f"{found.warning} `llama-tui corpus check` lists them.", "yellow")
    async with call.client() as client:
        if found.new_rows:  # else it is refused before a model is needed
            await call.ready(client)
            await until_free(client)
        run = await start_run(call.workspace, client, adapter=name, recipe=recipe, parent=parent)
        call.output.note(
            f"Run {run}: {found.new_rows} new and {found.replayed_rows} replayed rows, from {found.parent}."
        )
        if not call.given.no_wait:
            return await follow_run(call, run, client)
    call.output.say(run)
    if call.output.json:
        call.output.document({"run": run})
    return 0


def changed_recipe(recipe: Recipe, changes: Sequence[str]) -> Recipe:
    """The recipe with `key=value` changes. Raises UsageError, SettingsError."""
    pairs = {}
    for change in changes:
        key, sign, value = change.partition("=")
        if not sign or not key.strip():
            raise UsageError(f"{change!r} is no `key=value`.", remedy="For example: --set learning_rate=2e-4")
        pairs[key.strip().replace("-", "_")] = value.strip()
    return recipes.changed(recipe, **pairs)
