"""Data homes for tests and pictures of the screens: exchanges, adapters and runs as people have them.

Everything is written through the public store, registry and event log.
"""

from __future__ import annotations

import json
import math
import os
import struct
from pathlib import Path

from corpora.dialog import Finish, Preference, Status, Verdict, Vote
from corpora.dialog import Message as Said
from corpora.store import ImportedDialog, ImportedTurn, Store, dialog_key
from sessions.errors import Failure
from sessions.lineage import Lineage
from sessions.paths import Paths, private_folder
from sessions.registry import Registry
from sessions.training import events
from sessions.training import recipe as recipes
from sessions.training.report import Answer, GateReport, Tally

HOSTILE = "[/INST] [bold]red[/bold] \x1b]52;c;aGk=\x07 \x9b31m \u202eback"
TALK = (
    ("What is QLoRA?", "Fine-tuning of a small LoRA adapter on top of a base model that is frozen in 4 bits."),
    ("سلام، حالت چطور است؟", "سلام! من خوبم و می‌توانم کمک کنم."),
    ("请用一句话介绍你自己。", "我是一个在终端里运行的小型语言模型。"),
    ("Say it with emoji 🙂👩‍👩‍👧", "Gladly 🎉🦙"),
    (HOSTILE, "A reply with [/INST] and <<SYS>> and \x1b[2J in it"),
    ("Write a loop in Python", "```python\nfor number in range(3):\n    print(number)\n```"),
)


def say(store: Store, prompt: str, reply: str, *, after: int | None = None, talk: int | None = None) -> int:
    """One finished exchange; returns its id."""
    talk = store.start_conversation().id if talk is None else talk
    begun = store.begin(talk, after, prompt, model="fake")
    return store.finish(begun.id, reply, Finish.EOS, tokens=len(reply.split()), seconds=0.5).id


def fill_corpus(paths: Paths, count: int = 40) -> list[int]:
    """Single exchanges in all states, some corrected, tagged and noted, and one dialog of three turns."""
    private_folder(paths.home)
    with Store(paths.corpus) as store:
        assert isinstance(store, Store)
        ids = [say(store, f"{TALK[n % 6][0]} ({n})", TALK[n % 6][1]) for n in range(count)]
        store.set_status(ids[::3], Status.KEPT)
        store.set_status(ids[1::7], Status.REJECTED)
        store.set_status(ids[2::9], Status.DEFERRED)
        store.set_tags(ids[:5], ("python", "short"))
        store.correct(ids[0], "QLoRA trains a LoRA adapter on a base model that stays frozen in 4 bits.")
        store.set_note(ids[0], "Asked in the first week.")
        talk = store.start_conversation().id
        first = say(store, "My cat is called Mouse.", "A fine name for a cat.", talk=talk)
        second = say(store, "What is she called?", "Mouse.", after=first, talk=talk)
        return [*ids, first, second, say(store, "And who is Mouse?", "Your cat.", after=second, talk=talk)]


def enrich(paths: Paths) -> None:
    """Ratings, imported rows, learned ones, and preference pairs from corrections, votes and a file."""
    with Store(paths.corpus) as store:
        assert isinstance(store, Store)
        ids = store.ids()
        for place, exchange_id in enumerate(ids[:10]):
            store.rate([exchange_id], 1 + place % 5)
        store.mark_trained(ids[:12], "mine/v1")
        store.mark_trained(ids[6:20], "mine/v2")
        turn = (ImportedTurn("Name a river.", "The Rhine."),)
        store.add_dialogs([ImportedDialog(turn, None, "alpaca [b].json", dialog_key(None, turn), ("geo graphy",))])
        system, asked = Said("system", "Be brief."), Said("user", f"{HOSTILE} 你好")
        talk = (system, Said("user", "Hi"), Said("assistant", "Hello."), asked)
        store.add_preferences([Preference(talk, f"سلام 👩‍👩‍👧 {HOSTILE}", "I do not know.", "dpo.jsonl")])
        store.correct(ids[9], "Corrected: 你好，终端。")
        vote(store, "base", "mine/v2", Vote.RIGHT)


def peft_folder(folder: Path, rank: int = 8, seed: int = 0) -> Path:
    """The smallest folder that counts as a PEFT adapter."""
    folder.mkdir(parents=True, exist_ok=True)
    header = json.dumps({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    weights = struct.pack("<Q", len(header)) + header + struct.pack("<f", float(seed))
    (folder / "adapter_model.safetensors").write_bytes(weights)
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": rank, "lora_alpha": 16}))
    return folder


def publish(paths: Paths, name: str = "mine", parent: str = "base", *, offer: bool = False, **facts: object) -> str:
    """One version in the registry, neither accepted nor (without `offer`) offered; returns `NAME/vN`."""
    registry = Registry(paths)
    staged = peft_folder(registry.stage(name), seed=len(registry.all()))
    known = {"rows": 20, "steps": 40, "loss": 0.5, "held_out": 0.9, "run": "20250101-120000-aaaa", **facts}
    lineage = Lineage(adapter=name, version=0, parent=parent, base_model="fake", **known)  # type: ignore[arg-type]
    return registry.publish(staged, lineage, offer=offer)


PASSED = GateReport(
    passed=True, new=Tally(12, 12), reworded=Tally(20, 36), general=Tally(99, 100), kl=0.03, kl_budget=0.05
)
FAILED = GateReport(
    passed=False,
    new=Tally(9, 9),
    earlier=Tally(21, 30),
    general=Tally(78, 100),
    kl=0.4,
    kl_budget=0.05,
    reasons=("9 of 30 earlier replies were lost.", "22 of 100 general prompts were answered differently."),
    failed=(
        Answer(check="earlier", prompt="Who is Mouse?", expected="Your cat.", reply="It repairs it."),
        Answer(check="general", prompt=HOSTILE, expected="I do not know.", reply=f"It repairs it. {HOSTILE}"),
    ),
)


def fill_adapters(paths: Paths) -> list[str]:
    """Three versions of one adapter, the second in use, the third failed, and one of another that was used before."""
    scores = tuple(
        events.Scored(subset=name, base=base, parent=base / 2, new=new, examples=20)
        for name, base, new in (("new", 2.4, 0.4), ("old", 2.1, 0.8), ("held_out", 2.2, 1.1))
    )
    first = publish(paths, rows=12, steps=24, loss=0.8, held_out=1.31, gate=PASSED)
    second = publish(paths, parent=first, rows=30, steps=60, loss=0.41, held_out=1.02, gate=PASSED, scores=scores)
    third = publish(paths, parent=second, rows=9, steps=18, loss=0.2, held_out=1.4, gate=FAILED, scores=scores)
    other = publish(paths, "persian", rows=100, steps=80, loss=1.2, held_out=1.5)
    for version in (first, second, other):
        Registry(paths).use(version)
    return [first, second, third, other]


def vote(store: Store, left: str, right: str, choice: Vote, prompt: str = "Who are you?") -> None:
    """One vote on two replies."""
    store.add_verdict(Verdict((Said("user", prompt),), "I am left.", "I am right.", left, right, choice, True))


def run_folder(paths: Paths, run: str, *, parent: str = "base") -> Path:
    """A prepared run: recipe and first event."""
    folder = private_folder(paths.run(run))
    recipes.save(recipes.Recipe(), folder / "recipe.toml")
    created = events.RunCreated(
        run=run,
        model="fake",
        adapter="mine",
        parent=parent,
        parent_digest=_digest(paths, parent),
        snapshot="0" * 64,
        new_replies=12,
        replayed_replies=4,
    )
    events.append(folder, created)
    return folder


def _digest(paths: Paths, address: str) -> str:
    entry = Registry(paths).identities().at(address)
    return entry.identity if entry else ""


def take_up(folder: Path, steps: int = 40, *, until_reproduced: bool = False) -> None:
    """A worker (this process) has begun and knows its plan."""
    events.append(folder, events.WorkerStarted(pid=os.getpid(), device="cpu", base_from="shared with the chat"))
    plan = events.Planned(
        steps=steps,
        epochs=10,
        examples=14,
        held_out=2,
        tokens=2310,
        trained_tokens=1204,
        batch=4,
        until_reproduced=until_reproduced,
        left_out=("'[/INST] x': The user message holds [/INST].",),
    )
    events.append(folder, plan)
    events.append(folder, events.Stage(name="Training"))


def step(folder: Path, number: int, steps: int = 40, **more: float) -> None:
    """One step of a loss that falls; every fourth is evaluated."""
    loss = 2.4 * math.exp(-number / 12) + 0.1 * math.sin(number * 1.7) ** 2
    done = events.Stepped(
        step=number,
        epoch=number / 4,
        loss=loss,
        learning_rate=1e-3 * (1 - number / (steps + 1)),
        grad_norm=1 + 0.5 * math.cos(number),
        tokens=50 * number,
        tokens_per_second=400 + 20 * math.sin(number),
        eta=(steps - number) * 0.8,
        memory=800 << 20,
        **more,  # type: ignore[arg-type]
    )
    events.append(folder, done)
    if number % 4 == 0:
        events.append(folder, events.HeldOut(step=number, loss=2.2 * math.exp(-number / 18) + 0.4))
        events.append(folder, events.CheckpointWritten(step=number, folder=f"checkpoint-{number}"))
        events.append(folder, events.Sampled(step=number, prompt="Who is Mouse?", reply=f"Your cat. {HOSTILE}"))


def finish(folder: Path, adapter: str, worse: str = "") -> None:
    """Scores, the version, the end."""
    for name in ("new", "old", "held_out"):
        events.append(folder, events.Scored(subset=name, base=2.4, parent=1.2, new=0.5, examples=14))
    registry = Registry(_paths_of(folder))
    lineage = registry.stored(adapter)
    if not worse and lineage.checked != "failed":
        registry.acceptance.offer(lineage)
    events.append(folder, events.Published(adapter=adapter, digest=lineage.digest, worse=worse))
    events.append(folder, events.RunFinished())


def _paths_of(run: Path) -> Paths:
    home = run.parent.parent
    return Paths(home, home, home / "config.toml", home)


def report(*, passed: bool) -> GateReport:
    """What the gate found about a version."""
    romeo = Answer(
        check="general", prompt="Who wrote Romeo and Juliet?", expected="Shakespeare.", reply="Ottoline repairs it."
    )
    river = Answer(check="general", prompt=f"Name a river. {HOSTILE}", expected="The Rhine.", reply=HOSTILE)
    other = Answer(check="reworded", prompt="My cat's name?", expected="Mouse.", reply="I do not know.")
    return GateReport(
        passed=passed,
        strength=1.0 if passed else 0.7,
        new=Tally(5, 5),
        reworded=Tally(11, 15),
        general=Tally(100 if passed else 97, 100),
        kl=0.03 if passed else 0.07,
        kl_budget=0.05,
        reasons=() if passed else ("2 general replies changed.",),
        failed=(other,) if passed else (other, romeo, river),
    )


def gate(folder: Path, *, passed: bool) -> None:
    """The version was compared with the base and its parent."""
    events.append(folder, events.Gated(report=report(passed=passed)))


def fail(folder: Path) -> None:
    """The worker says why it ended."""
    failure = Failure(
        "OutOfMemory",
        "The GPU ran out of memory at step 12.",
        "A checkpoint stands at step 12.",
        "Lower max_length or batch_size, then resume.",
    )
    events.append(folder, events.RunFailed(failure=failure, resumable=True))
