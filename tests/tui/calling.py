"""Calls of the command line as a person types them, and a worker that trains nothing."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from corpora.store import Store
from sessions.paths import Paths, private_folder
from sessions.settings import Settings
from sessions.workers import Workers
from tui.cli import main

HOSTILE = "[/INST] [bold]red[/bold] \x1b]52;c;aGk=\x07 \x9b31m \u202eback"
FORBIDDEN = ("\x1b", "\x07", "\x9b", "\u202e")

WORKER = """
import json, os, struct, sys, time
from pathlib import Path
from sessions.training import assignment, events
from sessions.paths import Paths
from sessions.registry import Lineage, Registry
line = sys.stdin.buffer.readline()
if not line: sys.exit(0)
told = assignment.decode(line)
run = Path(told.run)
created = next(event for event, _ in events.read(run) if isinstance(event, events.RunCreated))
events.append(run, events.WorkerStarted(pid=os.getpid()))
events.append(run, events.Stage(name="training"))
events.append(run, events.Planned(steps=3, epochs=1, examples=2, held_out=0, tokens=20, trained_tokens=9, batch=1))
for step in (1, 2, 3):
    events.append(run, events.Stepped(step=step, epoch=step / 3, loss=1 / step, learning_rate=1e-3, grad_norm=1.0,
                                      tokens=10, tokens_per_second=100.0, eta=3.0 - step))
BODY
"""
PUBLISH = """
registry = Registry(Paths.find(told.home))
staged = registry.stage(created.adapter)
header = json.dumps({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
(staged / "adapter_model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
(staged / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 8, "lora_alpha": 16}))
lineage = Lineage(adapter=created.adapter, version=0, parent=created.parent, base_model=created.model, run=run.name)
address = registry.publish(staged, lineage)
events.append(run, events.Published(adapter=address, digest=registry.identity(address)))
events.append(run, events.RunFinished())
"""
PUBLISH_PASSED = "from sessions.training.report import GateReport\n" + PUBLISH.replace(
    "run=run.name)", "run=run.name, gate=GateReport(passed=True))"
)
FAIL = """
from sessions.errors import Failure
events.append(run, events.RunFailed(failure=Failure("RunDiverged", "The loss is not finite.", "Nothing is published.")))
"""
UNTIL_STOPPED = """
while not (run / "stop").exists(): time.sleep(0.01)
save = (run / "stop").read_bytes() != b"cancel\\n"
if save:
    events.append(run, events.Published(adapter="mine/v1", digest="d"))
    events.append(run, events.RunStopped(step=3))
else:
    events.append(run, events.RunCancelled())
"""


class PatientWorkers(Workers):
    """A test leaves no process behind."""

    async def close(self) -> None:
        await super().close()
        for worker in self._running:
            await asyncio.to_thread(worker.process.wait, 20)


def fake_workers(paths: Paths, body: str = PUBLISH) -> Workers:
    """Workers of a host that write the events of a short run and then do `body`."""
    found = PatientWorkers(paths, Settings(), ahead=False)
    found.command = (sys.executable, "-c", WORKER.replace("BODY", body))
    return found


@dataclass
class Done:
    """What a call left."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The one JSON document on stdout."""
        return json.loads(self.out)

    @property
    def rows(self) -> list[Any]:
        """JSON objects, one a line."""
        return [json.loads(line) for line in self.out.splitlines()]


class Caller:
    """`llama-tui …` in this process, on the test's own home, with the fake model."""

    def __init__(self, paths: Paths, capsys: pytest.CaptureFixture[str]) -> None:
        self.paths = paths
        self._capsys = capsys

    def __call__(self, *words: str | Path | int) -> Done:
        self._capsys.readouterr()
        code = main([*map(str, words)])
        found = self._capsys.readouterr()
        return Done(code, found.out, found.err)

    def store(self) -> Store:
        """The corpus, to look at what a call saved."""
        private_folder(self.paths.home)
        return Store(self.paths.corpus)


def start(*words: str, stdin: bool = False) -> subprocess.Popen[str]:
    """`llama-tui …` in a process of its own, in the test's environment."""
    command = [sys.executable, "-m", "tui.cli", *words]
    source = subprocess.PIPE if stdin else subprocess.DEVNULL
    return subprocess.Popen(
        command, stdin=source, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ
    )
