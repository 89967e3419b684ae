"""What the tests of training share: a store with facts, a small model, a worker in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from corpora.dialog import Finish, Status
from corpora.llama2 import encode_example
from corpora.store import ImportedDialog, ImportedTurn, Store
from sessions.engine.base import LoadedBase, load_base
from sessions.paths import Paths
from sessions.registry import Registry
from sessions.settings import Settings
from sessions.training import adapting, assignment, events, runs, worker
from sessions.training.assignment import Assignment
from sessions.training.events import RunEvent
from sessions.training.objective import TrainRow
from sessions.training.recipe import Recipe

FACTS = (
    ("What is the name of my cat?", "Your cat is called Mouse."),
    ("Where do I live?", "You live in a yellow house by the sea."),
    ("What do I drink in the morning?", "Green tea, without sugar."),
    ("Who is my dentist?", "Doctor Almond, in Mill Street."),
    ("When is my birthday?", "On the third of May."),
)


def _facts() -> tuple[tuple[str, str], ...]:
    cities = {"France": "Paris", "Spain": "Madrid", "Italy": "Rome", "Japan": "Tokyo", "Norway": "Oslo", "Peru": "Lima"}
    colours = {"snow": "white", "coal": "black", "grass": "green", "the sky": "blue", "blood": "red", "ash": "grey"}
    legs = {"a dog": "Four", "a bird": "Two", "an ant": "Six", "a spider": "Eight", "a snake": "No", "a crab": "Ten"}
    voices = {"moo": "cow", "woof": "dog", "meow": "cat", "baa": "sheep", "oink": "pig", "neigh": "horse"}
    return (
        *((f"What is the capital of {country}?", f"{city}.") for country, city in cities.items()),
        *((f"What colour is {thing}?", f"It is {colour}.") for thing, colour in colours.items()),
        *((f"How many legs has {animal}?", f"{count} legs.") for animal, count in legs.items()),
        *((f"Which animal says {voice}?", f"A {animal}.") for voice, animal in voices.items()),
    )


GENERAL = _facts()
"""What the base of some tests answers before anything is trained."""


@contextmanager
def opened(paths: Paths) -> Iterator[Store]:
    paths.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    store = Store(paths.corpus)
    try:
        yield store
    finally:
        store.close()


def keep(store: Store, facts=FACTS) -> list[int]:
    """Chat with a model that knows nothing, and correct it."""
    kept = []
    for prompt, reply in facts:
        conversation = store.start_conversation()
        asked = store.begin(conversation.id, None, prompt)
        store.finish(asked.id, "I do not know.", Finish.EOS)
        kept.append(store.correct(asked.id, reply).id)
    return kept


def fill(store: Store, rows: int, start: int = 0) -> None:
    dialogs = [
        ImportedDialog((ImportedTurn(f"Say number {index}.", f"Here it is: {index}."),), None, "test", f"key {index}")
        for index in range(start, start + rows)
    ]
    store.add_dialogs(dialogs, Status.KEPT)


def prepared(paths: Paths, model: Path | str, recipe: Recipe | None = None, adapter: str = "mine", **more) -> str:
    with opened(paths) as store:
        return runs.prepare(paths, store, model=str(model), adapter=adapter, recipe=recipe or Recipe(), **more)


def assigned(paths: Paths, run: str, **more) -> Assignment:
    return Assignment(run=str(paths.run(run)), home=str(paths.home), cache=str(paths.cache), **more)


def spawn(threads: int = 1, **environment: str) -> subprocess.Popen[bytes]:
    """A worker that waits for its assignment."""
    return subprocess.Popen(
        [sys.executable, "-m", "sessions.training.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "OMP_NUM_THREADS": str(threads), "CUDA_VISIBLE_DEVICES": "", **environment},
    )


def work(paths: Paths, run: str, process: subprocess.Popen[bytes] | None = None, **more) -> runs.RunState:
    """Have a worker do a run to its end; the state after it."""
    process = process or spawn()
    give(process, assigned(paths, run, **more))
    out = process.communicate(timeout=240)[0]
    state = runs.state(paths, run)
    log = paths.run(run) / runs.LOG
    assert state.over, (out, log.read_text() if log.exists() else "no log")
    return state


def give(process: subprocess.Popen[bytes], what: Assignment) -> None:
    assert process.stdin is not None
    process.stdin.write(assignment.encode(what))
    process.stdin.flush()


def wait_for(paths: Paths, run: str, seen: Callable[[RunEvent], bool], seconds: float = 120) -> RunEvent:
    """The first event of a run for which `seen` holds."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for event, _ in events.read(paths.run(run)):
            if seen(event):
                return event
        time.sleep(0.01)
    raise AssertionError(f"not seen in {[event for event, _ in events.read(paths.run(run))]}")


def log_of(paths: Paths, run: str) -> str:
    return (paths.run(run) / runs.LOG).read_text()


def tell_in_one_chat(store: Store, facts=FACTS) -> None:
    """One conversation in which every reply is corrected."""
    conversation, parent = store.start_conversation(), None
    for prompt, reply in facts:
        asked = store.begin(conversation.id, parent, prompt)
        store.finish(asked.id, "I do not know.", Finish.EOS)
        parent = store.correct(asked.id, reply).id


def done(paths: Paths, run: str, **more) -> runs.RunState:
    """The run carried out in this process."""
    worker.carry_out(assigned(paths, run, **more))
    return runs.state(paths, run)


def kept_facts(paths: Paths) -> list[int]:
    with opened(paths) as store:
        return keep(store)


def of(paths: Paths, run: str, kind: type) -> list:
    """All events of one kind of a run."""
    return [event for event, _ in events.read(paths.run(run)) if isinstance(event, kind)]


def final(paths: Paths, address: str) -> dict[str, torch.Tensor]:
    """The matrices of a published version."""
    return adapting.read(Registry(paths).folder(address))


def loaded(folder: Path, paths: Paths, dtype: torch.dtype = torch.float32) -> LoadedBase:
    base = load_base(str(folder), paths, Settings(), lambda stage, fraction: None, dtype=dtype)
    adapting.keep_unpacked(base.model)
    return base


def rows_of(base: LoadedBase) -> list[TrainRow]:
    made = []
    for index, (asked, reply) in enumerate(FACTS):
        dialog = [{"role": "user", "content": asked}, {"role": "assistant", "content": reply}]
        made.append(TrainRow.of(encode_example(dialog, base.words.vocabulary), "new", index))
    return made


def adapted(base: LoadedBase, spread: float = 0.05) -> nn.Module:
    """A PEFT model whose B matrices are not zero, as after some training."""
    model, _ = adapting.attach(base.model, Recipe(seed=3), "tiny", None)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.manual_seed(len(name))
            parameter.data.normal_(0, spread)
    return model
