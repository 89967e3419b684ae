"""The store's part for chatting: conversations as trees of exchanges, saved as they come."""

from __future__ import annotations

import sqlite3
import time

from corpora.dialog import Conversation, Exchange, Finish
from corpora.errors import StoreError
from corpora.scripts import script_of
from corpora.store.planning import PlanningPart
from corpora.store.rows import CONVERSATION, EXCHANGE, clean, conversation_of, exchange_of, readable
from corpora.store.searching import found_by, words_of
from corpora.store.versions import note_name

TITLE_LENGTH = 60
INDEX_AT_ONCE = 50
_COUNTED = f"{CONVERSATION}, (SELECT count(*) FROM exchanges WHERE conversation_id = conversations.id)"
_DOWN = """
WITH RECURSIVE below (id) AS (
  VALUES (?) UNION ALL SELECT exchanges.id FROM exchanges JOIN below ON exchanges.parent_id = below.id
)"""
_UP = """
WITH RECURSIVE above (id) AS (
  VALUES (?) UNION ALL SELECT exchanges.parent_id FROM exchanges JOIN above ON exchanges.id = above.id
  WHERE exchanges.parent_id IS NOT NULL
)"""


class ChatPart(PlanningPart):
    """Conversations and the exchanges in them."""

    def start_conversation(self, title: str = "", source: str = "chat") -> Conversation:
        """A new, empty conversation."""
        now = time.time()
        title = clean(title)
        with self._write() as db:
            row = db.execute(
                "INSERT INTO conversations (title, source, created, updated) VALUES (?, ?, ?, ?)",
                (title, source, now, now),
            )
        return Conversation(row.lastrowid or 0, title, source, now, now)

    def begin(
        self,
        conversation_id: int,
        parent_id: int | None,
        prompt: str,
        *,
        system: str | None = None,
        model: str = "",
        adapter: str = "base",
        version: str = "",
        tags_allowed: bool = False,
    ) -> Exchange:
        """Save a prompt at once, its reply still empty and PARTIAL. The title follows the first prompt.

        `version` identifies the version that is about to reply (default: by the name `adapter` alone).
        """
        now, prompt, system = time.time(), clean(prompt), None if system is None else clean(system)
        with self._write() as db:
            source = _place(db, conversation_id, parent_id)
            wrote = version or adapter
            note_name(db, wrote, adapter)
            values = (conversation_id, parent_id, prompt, system, model, wrote, tags_allowed, source, now, now, now)
            added = db.execute(
                "INSERT INTO exchanges (conversation_id, parent_id, prompt, system, model, adapter, tags_allowed,"
                " source, created, updated, edited, reply, status, finish, script, length)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, '', 'pending', 'partial', ?, ?)",
                (*values, script_of(prompt), len(prompt)),
            )
            db.execute(
                "UPDATE conversations SET updated = ?, title = CASE title WHEN '' THEN ? ELSE title END WHERE id = ?",
                (now, title_of(prompt), conversation_id),
            )
        return self.exchange(added.lastrowid or 0)

    def answer_by_base(self, exchange_id: int) -> None:
        """Record that the base replies instead of the version that was to reply."""
        with self._write() as db:
            db.execute("UPDATE exchanges SET adapter = 'base' WHERE id = ?", (exchange_id,))

    def write_partial(self, exchange_id: int, reply: str) -> None:
        """Save what has come of a reply so far."""
        self._save_reply(exchange_id, reply, Finish.PARTIAL, 0, 0.0)

    def finish(
        self, exchange_id: int, reply: str, finish: Finish, *, tokens: int = 0, seconds: float = 0.0
    ) -> Exchange:
        """Save a reply that has ended."""
        self._save_reply(exchange_id, reply, finish, tokens, seconds)
        self.index_pending(INDEX_AT_ONCE)
        return self.exchange(exchange_id)

    def _save_reply(self, exchange_id: int, reply: str, finish: Finish, tokens: int, seconds: float) -> None:
        now, reply = time.time(), clean(reply)
        with self._write() as db:
            changed = db.execute(
                "UPDATE exchanges SET reply = ?, finish = ?, tokens = ?, seconds = ?, updated = ?, edited = ?,"
                " script = ?, length = length(prompt) + ? WHERE id = ?",
                (reply, finish, tokens, seconds, now, now, script_of(reply), len(reply), exchange_id),
            )
            if not changed.rowcount:
                raise _missing(exchange_id)

    def exchange(self, exchange_id: int) -> Exchange:
        """Raises StoreError where there is none."""
        rows = self._read(f"SELECT {EXCHANGE} FROM exchanges WHERE id = ?", (exchange_id,))
        if not rows:
            raise _missing(exchange_id)
        try:
            return exchange_of(rows[0])
        except ValueError as error:
            raise StoreError(f"Exchange {exchange_id} is damaged: {error}.", remedy="Run the store's check.") from error

    def path_to(self, exchange_id: int) -> tuple[Exchange, ...]:
        """From the first exchange of the branch to this one; raises StoreError where this one cannot be read."""
        found = self._read(
            f"{_UP} SELECT {EXCHANGE} FROM exchanges WHERE id IN (SELECT id FROM above) ORDER BY id", (exchange_id,)
        )
        above = tuple(each for each in readable(found) if each.id != exchange_id)
        return (*above, self.exchange(exchange_id))

    def versions(self, exchange_id: int) -> tuple[Exchange, ...]:
        """Siblings with the same prompt (this one among them), the oldest first."""
        this = self.exchange(exchange_id)
        return tuple(found for found in self.siblings(exchange_id) if found.prompt == this.prompt)

    def siblings(self, exchange_id: int) -> tuple[Exchange, ...]:
        """All exchanges at this place of the tree, with other prompts too, the oldest first."""
        this = self.exchange(exchange_id)
        return tuple(
            readable(
                self._read(
                    f"SELECT {EXCHANGE} FROM exchanges WHERE conversation_id = ? AND parent_id IS ? ORDER BY id",
                    (this.conversation_id, this.parent_id),
                )
            )
        )

    def latest_leaf(self, exchange_id: int) -> Exchange:
        """The newest descendant of an exchange (itself where it has none): the end of its branch."""
        return self.exchange(self._one(f"{_DOWN} SELECT max(id) FROM below", (exchange_id,)))

    def conversations(
        self, search: str = "", limit: int = 100, offset: int = 0, *, imported: bool = False
    ) -> list[Conversation]:
        """Chats, the last used first; `search` looks into titles, prompts and replies.

        `imported` lists imported dialogs instead.
        """
        where, values = f"key IS {'NOT ' if imported else ''}NULL", []
        for condition, more in self._found_by(search):
            where += f" AND {condition}"
            values += more
        rows = self._read(
            f"SELECT {_COUNTED} FROM conversations WHERE {where} ORDER BY updated DESC, id DESC LIMIT ? OFFSET ?",
            (*values, limit, offset),
        )
        return [conversation_of(row) for row in rows]

    def _found_by(self, search: str) -> list[tuple[str, list[object]]]:
        """For each word: in the title, or in a prompt or reply."""
        found: list[tuple[str, list[object]]] = []
        for word in words_of(search):
            condition, values = found_by([word], self._plan([word]))
            said = f"id IN (SELECT conversation_id FROM exchanges WHERE {condition})"
            found.append((f"(title LIKE ? ESCAPE '\\' OR {said})", [word.patterns[0], *values]))
        return found

    def conversation(self, conversation_id: int) -> Conversation:
        """Raises StoreError where there is none."""
        rows = self._read(f"SELECT {_COUNTED} FROM conversations WHERE id = ?", (conversation_id,))
        if not rows:
            raise StoreError(f"There is no conversation {conversation_id}.", remedy="It may be in another data home.")
        return conversation_of(rows[0])

    def last_exchange(self, conversation_id: int) -> Exchange | None:
        """The exchange that a reopened conversation ends with."""
        found = self._one("SELECT max(id) FROM exchanges WHERE conversation_id = ?", (conversation_id,))
        return None if found is None else self.exchange(found)

    def rename_conversation(self, conversation_id: int, title: str) -> None:
        """Give a chat another title."""
        with self._write() as db:
            db.execute("UPDATE conversations SET title = ? WHERE id = ?", (clean(title), conversation_id))


def _place(db: sqlite3.Connection, conversation_id: int, parent_id: int | None) -> str:
    """The conversation's source; raises StoreError where the place in the tree does not exist."""
    row = db.execute("SELECT source FROM conversations WHERE id = ?", (conversation_id,)).fetchone()
    if row is None:
        raise StoreError(f"There is no conversation {conversation_id}.", data="The prompt was not saved.")
    if parent_id is not None:
        parent = db.execute("SELECT conversation_id FROM exchanges WHERE id = ?", (parent_id,)).fetchone()
        if parent is None or parent[0] != conversation_id:
            raise StoreError(f"Exchange {parent_id} is not in conversation {conversation_id}.")
    return str(row[0])


def title_of(prompt: str) -> str:
    """The first line of a prompt, cut to `TITLE_LENGTH`."""
    line = next((line.strip() for line in prompt.splitlines() if line.strip()), "")
    return line if len(line) <= TITLE_LENGTH else f"{line[: TITLE_LENGTH - 1].rstrip()}…"


def _missing(exchange_id: int) -> StoreError:
    return StoreError(f"There is no exchange {exchange_id}.", remedy="It may be in another data home.")
