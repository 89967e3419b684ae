"""Writers killed at any moment: what they were told is saved is there, and the store is whole.

LLAMA_TUI_KILLS sets how many kills there are in all (some dozens without).
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from corpora.dialog import Finish, Status
from corpora.store import Filter, Store

KILLS = int(os.environ.get("LLAMA_TUI_KILLS", "12"))
WRITERS = 2
WRITER = """
import sys
from pathlib import Path
from corpora.dialog import Finish, Status
from corpora.store import ImportedDialog, ImportedTurn, Store

name = sys.argv[2]
store = Store(Path(sys.argv[1]))
conversation = store.start_conversation(source=name)
number = 0
def told(*words):
    sys.stdout.write(" ".join(map(str, words)) + "\\n")
    sys.stdout.flush()
while True:
    number += 1
    key = f"{name}-{number}"
    exchange = store.begin(conversation.id, None, key).id
    told("begun", exchange, key)
    store.write_partial(exchange, f"half of {key}")
    store.finish(exchange, f"reply to {key}", Finish.EOS)
    told("finished", exchange, key)
    store.set_status([exchange], Status.KEPT)
    told("kept", exchange, key)
    if number % 3 == 0:
        store.correct(exchange, f"correction of {key}")
        told("corrected", exchange, key)
    if number % 5 == 0:
        keys = [f"{key}/{n}" for n in range(50)]
        store.add_dialogs(ImportedDialog((ImportedTurn(key, "r"),), None, "import", key) for key in keys)
        told("imported", number, key)
"""


@pytest.mark.slow
@pytest.mark.timeout(max(300, 15 * KILLS))
def test_what_was_acknowledged_survives_kill_9(tmp_path: Path) -> None:
    path, chance, kills = tmp_path / "corpus.db", random.Random(1), 0
    told: list[tuple[str, int, str]] = []
    Store(path).close()
    while kills < KILLS:
        running = [_start(path, f"w{kills + number}") for number in range(WRITERS)]
        _wait_for_words(running)
        for process in running:
            time.sleep(chance.uniform(0.0, 0.12))
            process.send_signal(signal.SIGKILL)
            kills += 1
        for process in running:
            told += _told(process)
    assert len(told) > KILLS
    _check(path, told)


def _start(path: Path, name: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", WRITER, str(path), name], stdout=subprocess.PIPE)


def _wait_for_words(running: list[subprocess.Popen[bytes]]) -> None:
    """Until each has been told of its first save: a kill before that proves nothing."""
    for process in running:
        assert process.stdout is not None
        assert process.stdout.peek(1), "the writer ended by itself"


def _told(process: subprocess.Popen[bytes]) -> list[tuple[str, int, str]]:
    """What the writer was told; a last line that the kill cut is none."""
    out, _ = process.communicate()
    whole = out.decode()[: out.rfind(b"\n") + 1]
    return [(kind, int(number), key) for kind, number, key in (line.split() for line in whole.splitlines())]


def _check(path: Path, told: list[tuple[str, int, str]]) -> None:
    with Store(path) as store:
        assert store.verify() == []
        for kind, number, key in told:
            if kind == "imported":
                assert store.known_keys([f"{key}/{n}" for n in range(50)]) == {f"{key}/{n}" for n in range(50)}
                continue
            found = store.exchange(number)
            assert found.prompt == key
            if kind == "finished":
                assert (found.finish, found.original or found.reply) == (Finish.EOS, f"reply to {key}")
            elif kind == "kept":
                assert found.status is Status.KEPT
            elif kind == "corrected":
                assert (found.reply, found.original) == (f"correction of {key}", f"reply to {key}")
        partial = [each for each in store.walk() if each.finish is Finish.PARTIAL]
        assert all(each.reply in ("", f"half of {each.prompt}") for each in partial)
        while store.index_pending():
            pass
        assert store.count(Filter(text="correction")) == len(store.ids(Filter(corrected=True)))
