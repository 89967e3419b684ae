"""The engine that the host drives: one base, its adapters, replies as events.

Knows nothing of sockets or screens; all calls come from one thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import torch

from corpora.errors import DialogTooLong
from corpora.llama2 import Fitted, fit_prompt
from sessions import adapter_folder
from sessions.engine import llama, share
from sessions.engine.adapter import Adapter, damaged, mismatch, stamp
from sessions.engine.adapters import Residents
from sessions.engine.base import LoadedBase, move
from sessions.engine.columns import Column, Timer, turns
from sessions.engine.contract import Progress, Step
from sessions.engine.decoding import VIRTUAL, Job, Started, decode
from sessions.engine.detokenize import Detokenizer
from sessions.engine.errors import free_memory, memory_errors
from sessions.engine.forward import Forward
from sessions.engine.graphs import GraphStep
from sessions.engine.kv import ROWS, KvStore
from sessions.engine.llama import LlamaStep
from sessions.engine.reading import read
from sessions.engine.sampling import Sampler
from sessions.engine.stopping import Stops
from sessions.errors import AdapterMismatch, LlamaTuiError, OutOfMemory, PromptTooLong, UsageError
from sessions.models import hub_name
from sessions.paths import Paths
from sessions.protocol import BASE, AdapterLoaded, Generate, ModelInfo, Prefilled
from sessions.registry import Lineage, Registry

PROBE = (3, 4)
LOUD = 64.0


class LocalEngine:
    """One loaded base with its resident adapters (`contract.Engine`)."""

    def __init__(self, base: LoadedBase, paths: Paths, progress: Progress = lambda *_: None) -> None:
        self.base = base
        self._paths = paths
        self._registry = Registry(paths)
        self._residents = Residents(base.model)
        self._plain: torch.Tensor | None = None
        self._away = False
        layers = int(base.model.config.get_text_config().num_hidden_layers)
        # Untouched memory costs nothing on a CPU; on a GPU two rows let two adapters take turns in a chat.
        rows, kept = (1, 2) if base.device.type == "cuda" else (ROWS, ROWS)
        self._kv = KvStore(layers, base.info.context, rows, kept)
        self._forward = Forward(base.model, self._kv, base.device, self._step(progress))

    def _step(self, progress: Progress) -> LlamaStep | None:
        if self.base.device.type == "cuda" and llama.writable(self.base):
            return GraphStep(self.base, self._kv, self._residents)
        return llama.step_for(self.base, self._kv, self._paths, progress)

    @property
    def _adapter_dtype(self) -> torch.dtype:
        """On a CPU small products are faster in float32, and exact; a GPU computes in the base's own."""
        return torch.float32 if self.base.device.type == "cpu" else self.base.dtype

    @property
    def info(self) -> ModelInfo:
        """The model as screens show it; its memory counts keys and values, and no parked base."""
        step = self._forward.step
        held = (0 if self._away else self.base.manifest.size) + (step.bytes if isinstance(step, LlamaStep) else 0)
        return msgspec.structs.replace(
            self.base.info,
            memory=held + self._kv.bytes(),
            cache=self._kv.bytes(),
            compiled=isinstance(step, GraphStep) and step.works,
        )

    def resident(self) -> tuple[str, ...]:
        """Adapters in memory, the last used first."""
        return self._residents.names()

    def load_adapter(self, adapter: str) -> AdapterLoaded:
        """Make `NAME/vN` resident and probe it; a failed load leaves what was resident.

        Raises AdapterNotFound, AdapterDamaged, AdapterMismatch, OutOfMemory.
        """
        timer = Timer()
        if adapter == BASE:
            return AdapterLoaded(adapter=BASE, digest=self.base.digest, reused=True)
        lineage = self._fitting(adapter)
        folder = self._paths.adapter(lineage.adapter, lineage.version)
        held = self._residents.at(adapter, lineage.digest)
        if held is not None and (held.version, held.stamp) == (lineage.digest, stamp(folder)):
            return AdapterLoaded(adapter=adapter, digest=held.digest, seconds=timer.seconds, reused=True)
        with memory_errors(f"loading the adapter {adapter}", "What was in use stays in use."):
            fresh = read(adapter, folder, self.base.model, self.base.device, self._adapter_dtype)
            fresh = replace(fresh, version=lineage.digest)
            _check_content(fresh, folder, lineage)
            self._check_room(fresh, folder)
            self._residents.wrap(fresh)
            self._probe(fresh, folder)
            self._residents.add(fresh)
        return AdapterLoaded(adapter=adapter, digest=fresh.digest, seconds=timer.seconds)

    def _fitting(self, adapter: str) -> Lineage:
        """The lineage of a version that was trained on this base; one that does not name its base is taken."""
        lineage = self._registry.stored(adapter)
        # The same model held in another number format has another digest, and its adapters fit.
        names = {"", hub_name(self.base.info.name), hub_name(self.base.manifest.name)}
        if lineage.base_digest not in ("", self.base.digest) and hub_name(lineage.base_model) not in names:
            raise AdapterMismatch(
                f"{adapter} was made for another base: {lineage.base_model}, and this is {self.base.info.name}.",
                data="What was in use stays in use.",
                remedy=f"Open the base it was trained on: --model {lineage.base_model}.",
            )
        return lineage

    def _check_room(self, fresh: Adapter, folder: Path) -> None:
        """Half of the context is left for what is said. Raises AdapterMismatch."""
        most = self.base.info.context // 2
        if _places(fresh) > most:
            raise mismatch(
                folder, f"has {_places(fresh)} virtual tokens, and this model has room for {most} beside what is said"
            )

    def _probe(self, fresh: Adapter, folder: Path) -> None:
        """Two ids through the base alone and through base and adapter: the numbers are finite, and they differ."""
        self._residents.activate([(None, 0.0)])
        if self._plain is None:
            self._plain = self._forward.apart(PROBE)
        for strength in (1.0, LOUD):
            self._residents.activate([(fresh, strength)])
            tuned = self._forward.apart(PROBE, fresh.lead)
            if strength == 1.0 and not tuned.isfinite().all():
                raise damaged(folder, "the model computes no finite numbers with it")
            if not torch.equal(self._plain, tuned) or fresh.empty:
                return
        raise damaged(folder, "it changes nothing although its weights are not zero")

    def generate(self, request: Generate, stopped: Callable[[], bool]) -> Iterator[Step]:
        """Replies to one request (`contract.Engine.generate`)."""
        timer = Timer()
        mix = self._mix(request)
        fitted = self._fit(request, max(_places(adapter) for adapter, _ in mix))
        columns = [
            Column(index, Detokenizer(self.base.words), Stops(request.sampling.stop)) for index in range(len(mix))
        ]
        try:
            with memory_errors("writing a reply", "What was written so far is kept."):
                for places in turns(mix):
                    job = self._job(request, fitted.ids, [mix[place] for place in places], stopped)
                    yield from self._turn(request, fitted, job, [columns[place] for place in places], timer)
                    timer = Timer()
        except Exception as error:
            if isinstance(error, OutOfMemory):
                self._forget()
            for column in columns:
                yield from column.held(request.id)
            raise

    def _mix(self, request: Generate) -> list[tuple[Adapter | None, float]]:
        if not 1 <= len(request.adapters) <= ROWS:
            raise UsageError(f"One to {ROWS} replies can be written side by side, not {len(request.adapters)}.")
        return [self._adapter(name, request.strength) for name in request.adapters]

    def _turn(self, request: Generate, fitted: Fitted, job: Job, columns: list[Column], timer: Timer) -> Iterator[Step]:
        """The events of the columns that are written together."""
        for step in decode(job, self._forward, self._kv):
            if isinstance(step, Started):
                told = tuple(column.index for column in columns) if len(columns) < len(request.adapters) else ()
                yield self._prefilled(request, fitted, step, timer, told)
                timer = Timer()
                continue
            column = columns[step.column]
            yield from column.hear(request.id, step, timer)
            if column.stops.found:
                job.halted.add(step.column)

    def _fit(self, request: Generate, places: int) -> Fitted:
        """The prompt's ids, `places` being taken already."""
        context = self.base.info.context
        room = min(request.sampling.max_new_tokens, max(context // 4, 1))
        try:
            return fit_prompt(request.dialog, self.base.words.vocabulary, context - room - places)
        except DialogTooLong as error:
            raise PromptTooLong(
                f"The prompt does not fit: {error.what} The model looks at {context} tokens, "
                f"{room} of them kept for the reply.",
                data="Nothing was sent; the prompt is kept.",
                remedy="Shorten the prompt or the system prompt, or lower max_new_tokens.",
            ) from error

    def _job(
        self, request: Generate, said: list[int], mix: list[tuple[Adapter | None, float]], stopped: Callable[[], bool]
    ) -> Job:
        self._residents.activate(mix)
        size = int(self.base.model.config.vocab_size)
        # The end of earlier replies stands in the prompt; penalized, it would keep replies from ending.
        seen = [token for token in said if token not in self.base.words.special]
        lead = mix[0][0].lead if mix[0][0] is not None else None
        ids = [*[VIRTUAL] * _places(mix[0][0]), *said]
        return Job(
            keys=[f"{adapter.digest}*{strength}" if adapter else BASE for adapter, strength in mix],
            samplers=[Sampler(request.sampling, seen, size, self.base.device) for _ in mix],
            ids=ids,
            most=min(request.sampling.max_new_tokens, self.base.info.context - len(ids)),
            ends=self.base.words.ends,
            stopped=stopped,
            narrow=lambda column: self._residents.activate([mix[column]]),
            lead=lead,
        )

    def _adapter(self, name: str, strength: float) -> tuple[Adapter | None, float]:
        if name == BASE or strength == 0:
            return None, 0.0
        self.load_adapter(name)
        adapter = self._residents.get(name)
        if adapter is not None and adapter.lead is not None and strength != 1:
            raise UsageError(
                f"{name} puts virtual tokens before the prompt: they are there or not, without a strength between.",
                data="Nothing was sent; the prompt is kept.",
                remedy="Set the strength to 1 (/set strength 1), or to 0 for the base.",
            )
        return adapter, strength

    def _prefilled(
        self, request: Generate, fitted: Fitted, step: Started, timer: Timer, columns: tuple[int, ...]
    ) -> Prefilled:
        return Prefilled(
            id=request.id,
            prompt_tokens=step.length,
            reused_tokens=step.reused,
            dropped_exchanges=fitted.dropped_exchanges,
            context=self.base.info.context,
            seconds=timer.seconds,
            columns=columns,
        )

    def share_base(self, folder: Path) -> Path | None:
        """A manifest in `folder` from which a worker takes the frozen base, or None where that cannot be."""
        try:
            return share.offer(self.base, folder)
        except (LlamaTuiError, OSError, RuntimeError):
            return None

    def spare(self) -> int | None:
        """What the GPU has left for another process; None on a CPU, which pages."""
        device = self._forward.device
        return int(torch.cuda.mem_get_info(device)[0]) if device.type == "cuda" else None

    def tidy(self) -> None:
        """Give back what was reserved for long prompts; no other process can have it else."""
        free_memory()

    def park(self, *, keep_base: bool) -> None:
        """Give back keys and values, adapters and graphs; the base goes to the file it is mapped from."""
        self._residents.clear()
        self._plain = None
        self._forget()
        if not keep_base:
            move(self.base, torch.device("cpu"))
            self._forward.step, self._away = None, True
            free_memory()

    def unpark(self) -> None:
        """Bring the base back where it was. Raises OutOfMemory."""
        with memory_errors("bringing the model back", "The chat is kept."):
            if self._away:
                move(self.base, self._forward.device)
                self._forward.step = self._step(lambda *_: None)
                self._away = False

    def close(self) -> None:
        """Give back the memory."""
        self._forget()

    def _forget(self) -> None:
        """Give back keys and values, and the graphs that know where these were."""
        self._kv.drop()
        if isinstance(self._forward.step, GraphStep):
            self._forward.step.forget()
        free_memory()


def _check_content(fresh: Adapter, folder: Path, lineage: Lineage) -> None:
    """Compare what was read with what was published. Raises AdapterDamaged.

    Versions of older programs have no checksum; their digest takes longer.
    """
    if not lineage.checksum:
        adapter_folder.verify(folder, lineage.digest)
    elif fresh.digest != lineage.checksum:
        raise adapter_folder.changed(folder)


def _places(adapter: Adapter | None) -> int:
    """How many places the adapter's virtual tokens take."""
    return adapter.lead.tokens if adapter is not None and adapter.lead is not None else 0
