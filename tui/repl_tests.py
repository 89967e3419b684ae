"""The line REPL's commands on pinned tests. Independent of how a test is stored or judged."""

from __future__ import annotations

import asyncio

from corpora.errors import UsageError
from sessions.pinned_matrix import read_matrix
from sessions.pinning import edit_tests, parse_rule, pin, pinned_in_words, proposed_rule
from sessions.protocol import BASE
from tui.repl_session import Session
from tui.verbs.tests import asked, show_matrix

SHOWN = 4
"""Versions beside the base that /tests shows."""


class PinActions:
    """`/pin` and `/tests` of `tui.commands.Actions`."""

    session: Session

    async def pin(self, rest: str) -> None:
        """Pin the last prompt with the rule given, else with one that is taken from the reply."""
        session, chat = self.session, self.session.chat
        session.last()
        assert chat.last is not None
        last = chat.last
        rule = parse_rule(rest) if rest else proposed_rule(last.reply)
        made = await asyncio.to_thread(pin, chat.store, chat.branch, last, rule)
        session.output.note(pinned_in_words(made, last.reply))
        session.output.note(
            f"/tests change {made.test.id} contains TEXT changes the rule; /tests run asks the versions."
        )

    async def tests(self, rest: str) -> None:
        """Show tests and results, run them, remove or change one."""
        session = self.session
        word, _, named = rest.partition(" ")
        if word == "run":
            await self._run_tests(named.split())
        elif rest:
            session.output.note(await asyncio.to_thread(edit_tests, session.chat.store, rest))
        else:
            registry, model = session.workspace.registry, session.client.model
            matrix = await asyncio.to_thread(read_matrix, session.chat.store, registry, model)
            if not matrix.tests:
                session.output.note("There is no pinned test yet. /pin makes one of the last prompt and its reply.")
                return
            shown = [BASE, *(version.address for version in matrix.versions[1:][-SHOWN:])]
            show_matrix(
                session.output, await asyncio.to_thread(read_matrix, session.chat.store, registry, model, shown)
            )

    async def _run_tests(self, named: list[str]) -> None:
        session, store = self.session, self.session.chat.store
        registry, model = session.workspace.registry, session.client.model
        versions = [registry.resolve(each) for each in named] or [BASE, session.chat.adapter]
        matrix = await asyncio.to_thread(read_matrix, store, registry, model, versions)
        if not matrix.tests:
            raise UsageError(
                "There is no pinned test to run.", remedy="/pin makes one of the last prompt and its reply."
            )
        await asked(
            session.output, session.client, store, [(test, each) for each in matrix.versions for test in matrix.tests]
        )
        show_matrix(session.output, await asyncio.to_thread(read_matrix, store, registry, model, versions))
