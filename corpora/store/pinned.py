"""The store's part for pinned tests and the replies of each version to them."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from corpora.errors import StoreError, UsageError
from corpora.pinned import PinnedResult, PinnedTest, Rule
from corpora.store.connection import Connection
from corpora.store.rows import PINNED_TEST, clean, dialog_json, pinned_test_of
from corpora.store.undoing import Steps
from corpora.store.values import content_key


class PinnedPart(Connection):
    """Pinned tests. Adding, changing and removing are actions that `undo` takes back."""

    def pinned_tests(self) -> tuple[PinnedTest, ...]:
        """Return all tests, the oldest first; `Store.verify` reports damaged ones."""
        found = []
        for row in self._read(f"SELECT {PINNED_TEST} FROM pinned_tests ORDER BY id"):
            try:
                found.append(pinned_test_of(row))
            except (ValueError, TypeError, KeyError):
                continue
        return tuple(found)

    def pinned_test(self, test_id: int) -> PinnedTest:
        """Return one test. Raises StoreError where there is none, or where it is damaged."""
        rows = self._read(f"SELECT {PINNED_TEST} FROM pinned_tests WHERE id = ?", (test_id,))
        if not rows:
            raise _missing(test_id)
        try:
            return pinned_test_of(rows[0])
        except (ValueError, TypeError, KeyError) as error:
            raise StoreError(f"Pinned test {test_id} is damaged: {error}.", remedy="Remove it.") from error

    def add_pinned_test(self, test: PinnedTest) -> tuple[PinnedTest, bool]:
        """Save a test; returns it with its id, and False where the same test existed already.

        Raises UsageError or DialogError for a test that cannot be asked or judged.
        """
        test.check()
        created = test.created or time.time()
        values = (_key(test), dialog_json(test.dialog), test.rule.kind, clean(test.rule.text), created)
        with self._write() as db:
            found = db.execute(f"SELECT {PINNED_TEST} FROM pinned_tests WHERE key = ?", values[:1]).fetchone()
            if found is not None:
                return pinned_test_of(found), False
            added = db.execute(
                "INSERT INTO pinned_tests (key, dialog, kind, text, created) VALUES (?, ?, ?, ?, ?)", values
            )
            steps = Steps(db, "pinned test")
            steps.added("pinned_tests", added.lastrowid)
            steps.save()
        return self.pinned_test(added.lastrowid or 0), True

    def change_pinned_test(self, test_id: int, rule: Rule) -> PinnedTest:
        """Give a test another rule; stored replies are judged anew.

        Raises UsageError for a rule that does not work, or where another test has this prompt and rule.
        """
        rule.check()
        before = self.pinned_test(test_id)
        changed = PinnedTest(before.dialog, Rule(rule.kind, clean(rule.text)), before.id, before.created)
        if changed == before:
            return before
        with self._write() as db:
            _refuse_duplicate(db, changed)
            steps = Steps(db, "change of a pinned test")
            steps.will_change("pinned_tests", test_id, ("key", "kind", "text"))
            db.execute(
                "UPDATE pinned_tests SET key = ?, kind = ?, text = ? WHERE id = ?",
                (_key(changed), changed.rule.kind, changed.rule.text, test_id),
            )
            for result_id, reply in _results_of(db, test_id, "id, reply"):
                steps.will_change("pinned_results", result_id, ("passed",))
                db.execute("UPDATE pinned_results SET passed = ? WHERE id = ?", (changed.passes(reply), result_id))
            steps.save()
        return changed

    def remove_pinned_tests(self, test_ids: Sequence[int]) -> None:
        """Remove tests with their results, as one action. Raises StoreError where one does not exist."""
        with self._write() as db:
            count = len(test_ids)
            steps = Steps(db, "removal of a pinned test" if count == 1 else f"removal of {count:,} pinned tests")
            for test_id in test_ids:
                if db.execute("SELECT id FROM pinned_tests WHERE id = ?", (test_id,)).fetchone() is None:
                    raise _missing(test_id)
                for (result_id,) in _results_of(db, test_id, "id"):
                    steps.will_remove("pinned_results", result_id)
                steps.will_remove("pinned_tests", test_id)
                db.execute("DELETE FROM pinned_tests WHERE id = ?", (test_id,))
            steps.save()

    def save_pinned_results(self, digest: str, model: str, results: Iterable[PinnedResult]) -> None:
        """Save the replies of one version of `model` (`base`, or its content digest) over earlier ones.

        Results of tests that were removed meanwhile are ignored.
        """
        rows = [
            (digest, model, each.passed, clean(each.reply), each.created or time.time(), each.test_id)
            for each in results
        ]
        with self._write() as db:
            db.executemany(
                "INSERT INTO pinned_results (digest, model, passed, reply, created, test_id)"
                " SELECT ?, ?, ?, ?, ?, id FROM pinned_tests WHERE id = ?"
                " ON CONFLICT (test_id, digest, model) DO UPDATE"
                " SET passed = excluded.passed, reply = excluded.reply, created = excluded.created",
                rows,
            )

    def pinned_results(self, model: str) -> Mapping[tuple[int, str], PinnedResult]:
        """Return the results of all versions of a model, by test id and digest."""
        rows = self._read(
            "SELECT test_id, digest, reply, passed, created FROM pinned_results WHERE model = ?", (model,)
        )
        return {(row[0], row[1]): PinnedResult(row[0], row[2], bool(row[3]), row[4]) for row in rows}


def _key(test: PinnedTest) -> str:
    return content_key([dialog_json(test.dialog), test.rule.kind, clean(test.rule.text)])


def _results_of(db: sqlite3.Connection, test_id: int, columns: str) -> list[Any]:
    return db.execute(f"SELECT {columns} FROM pinned_results WHERE test_id = ?", (test_id,)).fetchall()


def _refuse_duplicate(db: sqlite3.Connection, test: PinnedTest) -> None:
    same = db.execute("SELECT id FROM pinned_tests WHERE key = ? AND id <> ?", (_key(test), test.id)).fetchone()
    if same is not None:
        raise UsageError(
            f"Pinned test {same[0]} has the same prompt and rule.",
            data="Nothing was changed.",
            remedy="Choose another rule, or remove one of the two.",
        )


def _missing(test_id: int) -> StoreError:
    return StoreError(
        f"There is no pinned test {test_id}.",
        data="Nothing was changed.",
        remedy="`llama-tui tests list` or /tests shows the tests with their numbers.",
    )
