"""The commands that concern runs, adapters, votes, files and the host; the others stand in `tui/actions.py`."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from corpora.errors import UsageError
from sessions import launch
from sessions.errors import NothingToTrain, SettingsError
from sessions.protocol import HostState, ModelInfo, Sampling
from sessions.training import runs
from sessions.training.preview import Preview, counted
from sessions.training.recipe import Recipe
from tui import render, stop_texts
from tui.glance import anchors_in_words, answers, model_details, size
from tui.messages import CorpusChanged
from tui.plan import plan_of
from tui.train_request import Asked, read_words, target_of

HINTS = {"import": "F4 selects them.", "warning": "h on Corpus (F3) lists them."}
VOTES = {"left": "left", "right": "right", "tie": "tie", "bad": "both_bad"}

if TYPE_CHECKING:
    from tui.app import LlamaTuiApp
    from tui.screens.chat import ChatScreen


class RunActions:
    """Train, runs, adapter, votes, the corpus as files, status."""

    def __init__(self, app: LlamaTuiApp) -> None:
        self.app = app

    @property
    def screen(self) -> ChatScreen:
        """The chat screen, whatever is shown."""
        if self.app.chat_screen is None:
            raise UsageError("The chat is not open yet.")
        return self.app.chat_screen

    async def train(self, rest: str) -> None:
        """Show what a run would train on, and start it where the person wants it."""
        from tui.widgets.plan_dialog import PlanDialog

        await self.app.until_open()
        asked, recipe = read_words(rest)
        adapter, parent = target_of(self.app.adapter, self.app.workspace.settings.adapter)
        self.screen.say("Counting kept replies…", lasting=True)
        try:
            found = await asyncio.to_thread(self._preview, asked, adapter, parent, recipe)
        finally:
            self.screen.say("")
        if found.nothing:
            raise NothingToTrain(
                found.nothing, data="No run was started.", remedy="f4 shows all kept replies and how to select them."
            )
        if not await self.app.push_screen_wait(PlanDialog(plan_of(found, adapter, recipe, HINTS))):
            return
        run = await launch.start_run(
            self.app.workspace,
            self.app.client,
            adapter=adapter,
            recipe=recipe,
            parent=parent,
            selection=found.selection,
        )
        self.app.bridge.follow(run)
        self.screen.say(f"Training {adapter} on {counted(found.new)}; the chat continues. f4 shows the run.")

    def _preview(self, asked: Asked, adapter: str, parent: str, recipe: Recipe) -> Preview:
        workspace = self.app.workspace
        return runs.preview(
            workspace.paths,
            workspace.store,
            model=self.app.model_name,
            adapter=adapter,
            recipe=recipe,
            parent=parent,
            selection=asked.applied(runs.selection_for(workspace.paths, adapter, parent)),
        )

    async def runs(self, rest: str) -> None:
        """Stop, cancel or resume the last run; else go and see."""
        active = self.app.bridge.active
        if rest in ("stop", "cancel"):
            if active is None:
                raise UsageError("No run is going on.")
            await self.app.client.stop_run(active.id, save=rest == "stop")
        elif rest == "resume":
            await self._resume()
        else:
            await self.app.switch_mode("train")

    async def _resume(self) -> None:
        states = await asyncio.to_thread(runs.states, self.app.workspace.paths)
        run = next((state for state in states if state.resumable and not state.alive), None)
        if run is None:
            raise UsageError("There is no run to resume.")
        await launch.resume_run(self.app.workspace, self.app.client, run.id)
        self.app.bridge.follow(run.id)

    async def adapter(self, rest: str) -> None:
        """Accept a version (with `!` one that failed the gate, too); without a name, show them all."""
        asked, force = rest.removesuffix("!").strip(), rest.endswith("!")
        if not asked:
            await self.app.switch_mode("adapters")
        elif asked == "rollback":
            name = self.app.adapter.rpartition("/")[0] or self.app.workspace.settings.adapter
            await self.app.answering.roll_back(name)
        else:
            await self.app.answering.accept(await asyncio.to_thread(self._meant, asked), force=force)

    def _meant(self, asked: str) -> str:
        """A name alone means the version of it that is offered, where one is."""
        offered = self.app.answering.offered
        if offered is not None and offered.adapter == asked:
            return offered.address
        return self.app.workspace.registry.resolve(asked)

    def _offer(self) -> str:
        offered = self.app.answering.offered
        return f" · {offered.address} is ready: ctrl+g uses it" if offered is not None else ""

    async def vote(self, rest: str) -> None:
        """Vote on the comparison that is on its screen; without a word, go and see."""
        from tui.screens.compare import CompareScreen

        await self.app.switch_mode("compare")
        if not rest:
            return
        if rest not in VOTES:
            raise UsageError("A vote is left, right, tie or bad.")
        screen = self.app.screen
        if not isinstance(screen, CompareScreen) or not screen.check_action("vote", (VOTES[rest],)):
            raise UsageError("There is nothing to vote on.", remedy="/compare PROMPT first; each is voted on once.")
        screen.action_vote(VOTES[rest])

    async def corpus(self, rest: str) -> None:
        """Import or export a file; without a word, go and see."""
        verb, _, name = rest.partition(" ")
        if not verb:
            await self.app.switch_mode("corpus")
        elif verb in ("import", "export") and name.strip():
            self.screen.say(f"{verb.capitalize()} …", lasting=True)
            work = self._import if verb == "import" else self._export
            try:
                said = await asyncio.to_thread(work, name.strip())
            except BaseException:
                self.screen.say("")
                raise
            self.screen.say(said)
            self.app.tell(CorpusChanged())
        else:
            raise UsageError("Import or export which file?", remedy="/corpus import FILE, or /corpus export FILE.")

    def _import(self, name: str) -> str:
        from corpora.transfer import import_files

        report = import_files(self.app.chat.store, [Path(name).expanduser()])
        refused = f", {report.refused_rows:,} refused (f3 imports with the reasons)" if report.refused_rows else ""
        return f"{report.new:,} new, {report.duplicates:,} known already, {report.preferences:,} pairs{refused}."

    def _export(self, name: str) -> str:
        from tui.verbs.corpus import format_of, write_out

        left_out: list[str] = []
        rows = write_out(self.app.chat.store, Path(name).expanduser(), format_of(name), left_out)
        return f"{rows:,} rows written to {name}" + (f"; {len(left_out):,} left out" if left_out else "")

    async def status(self, rest: str) -> None:
        """Model, adapter, memory and runs."""
        from tui.widgets.dialogs import Reading

        state = await self.app.client.status()
        self.app.push_screen(Reading("Status", [render.text("\n".join(self._lines(state)))]))

    def _lines(self, state: HostState) -> list[str]:
        chat = self.app.chat
        context = self.screen.status
        return [
            f"model      {self.app.model_name} · {model_details(self.app.model) or 'loading'}",
            f"form       {self.app.model.chat_format if self.app.model else 'not known yet'}",
            f"answers    {answers(self.app.adapter, chat.strength)}{self._offer()}",
            f"sampling   {in_words(chat.sampling)}",
            f"system     {render.line(chat.system, 60) if chat.system else 'none'}",
            f"context    {context.used:,} of {context.context:,} tokens",
            f"memory     {size(state.memory)}"
            + (f" · {size(state.gpu_memory)} on the GPU" if state.gpu_memory else ""),
            *(_engine(state.ready) if state.ready else ()),
            f"last reply {str(self.screen.pace) or 'none yet'}",
            f"runs       {', '.join(state.runs) or 'none'}",
            *([f"anchors    {anchors}"] if (anchors := anchors_in_words(state.preparing)) else ()),
            f"resident   {', '.join(state.resident) or 'none'}",
            f"host       {state.version}, pid {state.pid}, up {state.uptime / 60:.0f} min · terminals: {state.clients}",
            f"home       {self.app.workspace.paths.home}",
        ]


def in_words(sampling: Sampling) -> str:
    """Every field with its value."""
    return " · ".join(f"{name} {told(sampling, name)}" for name in msgspec.structs.asdict(sampling))


def told(sampling: Sampling, name: str) -> str:
    """One field's value; stop texts in quotes, as `/set stop` takes them."""
    value = stop_texts.told(sampling.stop) if name == "stop" else getattr(sampling, name)
    return "none" if value is None else str(value)


def sampling_with(sampling: Sampling, name: str, value: str) -> Sampling:
    """The sampling with one field set from text. Raises SettingsError."""
    values = msgspec.structs.asdict(sampling)
    if name not in values:
        raise SettingsError(f"There is no setting {render.line(name, 40)}.", remedy=f"One of: {', '.join(values)}.")
    try:
        return msgspec.convert({**values, name: _read(name, value.strip())}, Sampling)
    except msgspec.MsgspecError as error:
        raise SettingsError(
            f"{name} cannot be {render.line(value, 40) or 'empty'}: {error}.", data=f"It is still {values[name]}."
        ) from error


def _read(name: str, value: str) -> Any:
    if name == "stop":
        return stop_texts.read(value)
    return None if name == "seed" and value in ("", "none") else msgspec.json.decode(value or "null")


def _engine(model: ModelInfo) -> list[str]:
    """How replies are computed."""
    how = "a captured graph" if model.compiled else "not compiled"
    return [f"engine     {size(model.cache)} reserved for keys and values · decoding {how}"]
