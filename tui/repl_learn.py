"""The line REPL's commands on learning: runs, adapters, comparisons and votes, the corpus as files.

Knows nothing of the chat's own commands.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from corpora.dialog import Message, Vote
from corpora.errors import UsageError
from corpora.transfer import import_files
from sessions.comparing import IN_TURN, Comparison, tally
from sessions.errors import Cancelled, GateFailed, NothingToTrain
from sessions.launch import resume_run, start_run
from sessions.protocol import BASE
from sessions.training import runs
from sessions.training.preview import Preview
from sessions.training.recipe import Recipe
from sessions.training.runs import RunState
from tui.glance import anchors_in_words, answers, size
from tui.output import Output
from tui.output_columns import streamed
from tui.plan import plan_of
from tui.repl_session import Session
from tui.train_request import Asked, read_words, target_of
from tui.verbs import progress
from tui.verbs.corpus import SHOWN, format_of, tell_import, write_out
from tui.verbs.following import settled, until_free
from tui.verbs.runs import day

HINTS = {"import": "/train imported=yes selects them."}
VOTES = {"left": Vote.LEFT, "right": Vote.RIGHT, "tie": Vote.TIE, "bad": Vote.BOTH_BAD}


class LearnActions:
    """The other half of `tui.commands.Actions`."""

    session: Session

    @property
    def output(self) -> Output:
        """Where results go."""
        return self.session.output

    # runs

    async def train(self, rest: str) -> None:
        """Show what would be trained and start a run; the chat continues. Without a terminal, wait for the end."""
        session, adapter, parent = self.session, *self._target()
        asked, recipe = read_words(rest)
        found = await asyncio.to_thread(self._preview, asked, adapter, parent, recipe)
        for text, style in plan_of(found, adapter, recipe, HINTS):
            if found.new or text != found.nothing:
                self.output.note(text, style)
        if found.nothing:
            raise NothingToTrain(found.nothing, data="No run was started.")
        await until_free(session.client)
        run = await start_run(
            session.workspace,
            session.client,
            adapter=adapter,
            recipe=recipe,
            parent=parent,
            selection=found.selection,
        )
        session.watch.follow(run)
        self.output.note(f"Run {run} trains {adapter}; the chat continues, /runs stop ends it.")
        if not session.surface.attended:
            await self._wait(run)

    def _target(self) -> tuple[str, str]:
        """The adapter that a run publishes, and the version that it continues: the one that answers."""
        return target_of(self.session.chat.adapter, self.session.workspace.settings.adapter)

    def _preview(self, asked: Asked, adapter: str, parent: str, recipe: Recipe) -> Preview:
        paths, store = self.session.workspace.paths, self.session.chat.store
        return runs.preview(
            paths,
            store,
            model=self.session.client.model,
            adapter=adapter,
            recipe=recipe,
            parent=parent,
            selection=asked.applied(runs.selection_for(paths, adapter, parent)),
        )

    async def _wait(self, run: str) -> None:
        """To the end of a run, and until the next one could start."""
        await self.session.watch.wait(run)
        await settled(self.session.client, run)

    async def runs(self, rest: str) -> None:
        """List runs; stop, cancel or resume one."""
        word, _, named = rest.partition(" ")
        if word in ("stop", "cancel"):
            state = await self._run(named.strip(), alive=True)
            await self.session.client.stop_run(state.id, save=word == "stop")
            self.output.note(f"Run {state.id} is asked to {'stop and publish' if word == 'stop' else 'give up'}.")
        elif word == "resume":
            await self._resume(await self._run(named.strip(), alive=False))
        elif word:
            raise UsageError(f"/runs cannot {word}.", remedy="/runs, /runs stop, /runs cancel or /runs resume")
        else:
            self._list(await asyncio.to_thread(runs.states, self.session.workspace.paths))

    async def _run(self, named: str, *, alive: bool) -> RunState:
        paths = self.session.workspace.paths
        if named:
            return await asyncio.to_thread(runs.state, paths, named)
        for state in await asyncio.to_thread(runs.states, paths):
            if state.alive if alive else state.resumable and not state.alive:
                return state
        raise UsageError("No run is going on." if alive else "There is no run to resume.")

    async def _resume(self, state: RunState) -> None:
        await resume_run(self.session.workspace, self.session.client, state.id)
        self.session.watch.follow(state.id)
        self.output.note(f"Run {state.id} goes on from step {state.checkpoint_step}.")
        if not self.session.surface.attended:
            await self._wait(state.id)

    def _list(self, states: list[RunState]) -> None:
        if not states:
            self.output.note("There is no run yet. /train starts one.")
            return
        rows = [
            (
                state.id,
                state.phase,
                f"{state.created.new_replies:,}" if state.created and state.created.new_replies else "",
                f"{state.steps[-1].step if state.steps else 0}/{state.plan.steps if state.plan else '?'}",
                f"{state.steps[-1].loss:.3f}" if state.steps else "",
                state.published.adapter if state.published else "",
                day(state.created.time) if state.created else "",
            )
            for state in states[:SHOWN]
        ]
        columns = ("RUN", "STATE", "NEW REPLIES", "STEPS", "LOSS", "PUBLISHED", "WHEN")
        self.output.table(columns, rows, right=("NEW REPLIES", "STEPS", "LOSS"))

    # adapters

    async def adapter(self, rest: str) -> None:
        """Show adapters, or accept a version (with `!` one that failed the gate, too)."""
        registry, chat = self.session.workspace.registry, self.session.chat
        asked, force = rest.removesuffix("!").strip(), rest.endswith("!")
        if not asked:
            self._list_adapters()
            return
        if asked == "rollback":
            name = chat.adapter.partition("/")[0] if chat.adapter != BASE else self.session.workspace.settings.adapter
            address = await asyncio.to_thread(registry.rollback, name)
            await self.session.switch(address)
        else:
            address = self._meant(asked)
            await self._accept(address, force=force)
        self.output.note(f"{address} answers from now on.")

    async def _accept(self, address: str, *, force: bool) -> None:
        """Use a version. Raises GateFailed for one that failed the gate, unless the person insists."""
        try:
            await self.session.use_adapter(address, force=force)
        except GateFailed as error:
            error.remedy = f"/adapter {address}! uses it all the same."
            if not self.session.surface.attended:
                raise
            if not await self.session.surface.ask(f"{error.what} Use it all the same?"):
                raise Cancelled("It is not used.") from error
            await self.session.use_adapter(address, force=True)

    def _meant(self, asked: str) -> str:
        """A name alone means the version of it that is offered, where one is."""
        offered = self.session.offered
        if offered is not None and offered.adapter == asked:
            return offered.address
        return self.session.workspace.registry.resolve(asked)

    def _list_adapters(self) -> None:
        registry, now = self.session.workspace.registry, self.session.chat.adapter
        rows: list[tuple[object, ...]] = [("answers" if now == BASE else "", BASE, "", "", "", "")]
        for branch in registry.tree():
            each = branch.lineage
            loss = "" if each.loss is None else f"{each.loss:.3f}"
            state = "answers" if each.address == now else branch.state
            rows.append((state, each.address, each.checked, each.parent, each.rows, loss))
        self.output.table(("STATE", "ADAPTER", "GATE", "FROM", "REPLIES", "LOSS"), rows, right=("REPLIES", "LOSS"))

    # comparisons

    async def compare(self, rest: str) -> None:
        """Answer a prompt (without one: the last again) with the base and the adapter."""
        session = self.session
        comparison = Comparison(self._dialog(rest), (BASE, self._tuned()))
        session.comparison, session.comparing = None, session.client.next_id()
        try:
            await self._stream(comparison)
        finally:
            session.comparing = ""
        session.comparison = comparison
        if comparison.in_turn:
            self.output.note(f"({IN_TURN})")
        self.output.note("/vote left, right, tie or bad")

    async def _stream(self, comparison: Comparison) -> None:
        session = self.session
        headings = [f"{side}: {name}" for side, name in zip(("left", "right"), comparison.columns, strict=True)]
        asked = comparison.ask(session.client, session.chat.sampling, id=session.comparing)
        await streamed(self.output, headings, asked)

    def _dialog(self, prompt: str) -> tuple[Message, ...]:
        chat = self.session.chat
        if prompt:
            dialog = chat.dialog((), prompt)
        elif chat.last is not None:
            dialog = chat.dialog(chat.branch[:-1], chat.last.prompt, chat.last.tags_allowed)
        else:
            raise UsageError("Which prompt?", remedy="/compare PROMPT")
        from corpora.llama2 import render

        if any(chat.client.tags_in(said.content) for said in dialog):
            render(dialog)
        return dialog

    def _tuned(self) -> str:
        session = self.session
        if session.offered is not None:
            return session.offered.address
        if session.chat.adapter != BASE:
            return session.chat.adapter
        found = session.workspace.registry.current(session.workspace.settings.adapter)
        if found == BASE:
            raise UsageError("There is no adapter to compare with yet.", remedy="Keep some exchanges, then /train")
        return found

    async def vote(self, rest: str) -> None:
        """Save a vote on the last comparison."""
        comparison = self.session.comparison
        if comparison is None:
            raise UsageError("There is nothing to vote on.", remedy="/compare PROMPT first; each is voted on once.")
        if rest not in VOTES:
            raise UsageError("A vote is left, right, tie or bad.")
        store = self.session.chat.store
        await comparison.cast(store, VOTES[rest])
        self.session.comparison = None
        counts = tally(await asyncio.to_thread(store.verdicts), *comparison.columns)
        self.output.note(
            f"{counts.first} {counts.first_wins} : {counts.second_wins} {counts.second} "
            f"({counts.ties} ties, {counts.both_bad} both bad)"
        )

    # the corpus

    async def corpus(self, rest: str) -> None:
        """Count what is kept; import or export a file."""
        word, _, name = rest.partition(" ")
        if word == "import" and name.strip():
            await self._import(name.strip())
        elif word == "export" and name.strip():
            await self._export(name.strip())
        elif word:
            raise UsageError(
                f"/corpus {word} needs a file." if word in ("import", "export") else "/corpus cannot that."
            )
        else:
            stats = await asyncio.to_thread(self.session.chat.store.stats)
            counts = [f"{count:,} {status.value}" for status, count in stats.by_status.items() if count]
            parts = [
                *counts,
                f"{stats.corrected:,} corrected",
                f"{stats.trained:,} trained",
                f"{stats.preferences:,} pairs",
            ]
            self.output.say(f"{stats.exchanges:,} exchanges: {', '.join(parts)}.")

    async def _import(self, name: str) -> None:
        store, path = self.session.chat.store, _path(name)
        tell_import(self.output, await asyncio.to_thread(import_files, store, [path]), False)

    async def _export(self, name: str) -> None:
        store, left_out = self.session.chat.store, list[str]()
        rows = await asyncio.to_thread(write_out, store, _path(name), format_of(name), left_out)
        for line in left_out[:SHOWN]:
            self.output.note(line, "yellow")
        self.output.note(f"{rows:,} rows written to {name}.")

    # the whole

    async def status(self, rest: str) -> None:
        """Model, adapter, memory, context and runs."""
        session = self.session
        host = await session.client.status()
        active = session.watch.active
        facts = [
            ("model", f"{host.model}, {'ready' if host.ready else 'loading'}"),
            ("on", f"{host.ready.quantization} on {host.ready.device}" if host.ready else ""),
            ("form", host.ready.chat_format if host.ready else ""),
            ("answers", answers(session.chat.adapter, session.chat.strength)),
            ("ready", f"{session.offered.address}: /adapter {session.offered.adapter}" if session.offered else ""),
            ("resident", ", ".join(host.resident)),
            ("context", f"{session.used} of {host.ready.context} tokens" if host.ready else ""),
            ("memory", size(host.memory) + (f", GPU {size(host.gpu_memory)}" if host.gpu_memory else "")),
            ("keys and values", size(host.ready.cache) if host.ready else ""),
            ("decoding", ("a captured graph" if host.ready.compiled else "not compiled") if host.ready else ""),
            ("last reply", str(session.pace)),
            ("run", progress.going(active) if active else ""),
            ("anchors", anchors_in_words(host.preparing)),
            ("terminals", str(host.clients)),
            ("home", str(session.workspace.paths.home)),
        ]
        for name, value in facts:
            if value:
                self.output.say(f"{name:<17}{value}")


def _path(name: str) -> Path:
    return Path(name).expanduser()
