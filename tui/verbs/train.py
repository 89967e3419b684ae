"""`train`: train the adapter on the selected kept replies and follow the run to its end."""

from __future__ import annotations

from sessions.errors import NothingToTrain
from sessions.launch import start_run
from sessions.training import recipe as recipes
from sessions.training import runs
from sessions.training.preview import Preview
from sessions.training.recipe import Recipe
from tui.plan import plan_of
from tui.train_request import Asked, changed_recipe
from tui.verbs.call import Call
from tui.verbs.following import follow_run, until_free

HINTS = {
    "import": "--imported selects them, --filter source:FILE those of one file.",
    "warning": "`llama-tui corpus check` lists them.",
}


async def train(call: Call) -> int:
    """Train and wait, or return with `--no-wait`; non-zero where nothing was published."""
    given, workspace = call.given, call.workspace
    recipe = changed_recipe(recipes.load(given.recipe), given.set)
    if given.seed is not None:
        recipe = recipes.changed(recipe, seed=given.seed)
    name = given.adapter or workspace.settings.adapter
    parent = given.parent or runs.accepted(workspace.registry, name, call.model)
    usual = runs.selection_for(workspace.paths, name, parent)
    asked = Asked(given.filter, given.sample, given.seed, given.imported)
    found = runs.preview(
        workspace.paths,
        workspace.store,
        model=call.model,
        adapter=name,
        recipe=recipe,
        parent=parent,
        selection=asked.applied(usual),
    )
    _tell_plan(call, found, name, recipe)
    if given.dry_run:
        if call.output.json:
            call.output.document(found)
        return 0
    if found.nothing:
        raise NothingToTrain(found.nothing, data="No run was started.")
    async with call.client() as client:
        await call.ready(client)
        await until_free(client)
        run = await start_run(workspace, client, adapter=name, recipe=recipe, parent=parent, selection=found.selection)
        if not given.no_wait:
            return await follow_run(call, run, client)
    call.output.say(run)
    if call.output.json:
        call.output.document({"run": run})
    return 0


def _tell_plan(call: Call, found: Preview, adapter: str, recipe: Recipe) -> None:
    """The plan on stderr, with the flags that change it; with `--dry-run` it is the result."""
    for text, style in plan_of(found, adapter, recipe, HINTS):
        if call.given.dry_run:
            call.output.say(text, style)
        elif found.new or text != found.nothing:  # else the error says it
            call.output.note(text, style)
    if found.selection.narrowed and call.given.filter is None:
        call.output.note(f"The last run of {adapter} had this selection; --filter '' selects anew.", "dim")
