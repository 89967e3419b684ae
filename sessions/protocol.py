"""Commands and events between a terminal and its host: newline-delimited JSON of msgspec structs.

Every command has an id and ends exactly once: `Finished`, `Failed` or `Cancelled`. Knows nothing of
sockets, models or screens.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from corpora.dialog import Finish, Message
from sessions.errors import Failure, SettingsError

PROTOCOL = 1
BASE = "base"
"""The name of the model without an adapter; adapters are `NAME/vN`."""


class Sampling(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How the next token is drawn. Temperature 0 is greedy; top_k 0 and top_p 1 are off.

    A reply ends before any of the texts in `stop`, which is no part of it.
    """

    temperature: float = 0.7
    top_p: float = 0.9
    top_k: int = 50
    repetition_penalty: float = 1.1
    max_new_tokens: int = 512
    seed: int | None = None
    stop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check(0 <= self.temperature <= 5, "temperature is between 0 (greedy) and 5")
        _check(0 < self.top_p <= 1, "top_p is above 0 and at most 1 (off)")
        _check(self.top_k >= 0, "top_k is 0 (off) or more")
        _check(0.5 <= self.repetition_penalty <= 2, "repetition_penalty is between 0.5 and 2; 1 is off")
        _check(self.max_new_tokens >= 1, "max_new_tokens is 1 or more")
        _check(len(self.stop) <= 16, "there are at most 16 stop texts")
        _check(all(0 < len(text) <= 200 for text in self.stop), "a stop text has 1 to 200 characters")


def _check(holds: bool, rule: str) -> None:
    if not holds:
        raise SettingsError(f"That cannot be: {rule}.", data="Nothing was changed.")


# ── commands ────────────────────────────────────────────────────────────────────────────────────────


class Command(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """What a terminal asks; `id` is unique on its connection."""

    id: str


class Hello(Command, frozen=True, tag=True, kw_only=True):
    """First on every connection; answered by `Welcome` and the model's state."""

    version: str
    protocol: int = PROTOCOL


class Generate(Command, frozen=True, tag=True, kw_only=True):
    """One reply for each adapter (1 to 4 columns) to a dialog that ends with a prompt.

    Several columns come from one batch. `strength` scales the adapters' effect (0 is the base).
    """

    dialog: tuple[Message, ...]
    adapters: tuple[str, ...] = (BASE,)
    sampling: Sampling = Sampling()
    strength: float = 1.0


class Cancel(Command, frozen=True, tag=True, kw_only=True):
    """Stop another command. That one ends by itself: a generation as `Cancelled`, its columns kept."""

    target: str


class LoadAdapter(Command, frozen=True, tag=True, kw_only=True):
    """Make `NAME/vN` resident: load, probe, answer `AdapterLoaded`. The base is never reloaded."""

    adapter: str


class StartRun(Command, frozen=True, tag=True, kw_only=True):
    """Spawn a worker on a prepared run folder; finished as soon as it runs."""

    run: str


class StopRun(Command, frozen=True, tag=True, kw_only=True):
    """Stop a run: with `save` its adapter so far is published, without it the run is cancelled."""

    run: str
    save: bool = True


class AskStatus(Command, frozen=True, tag=True, kw_only=True):
    """Answered by `HostState`."""


class Shutdown(Command, frozen=True, tag=True, kw_only=True):
    """End the host; refused while another terminal or a run uses it, unless `force`."""

    force: bool = False


AnyCommand: TypeAlias = Hello | Generate | Cancel | LoadAdapter | StartRun | StopRun | AskStatus | Shutdown


# ── events ──────────────────────────────────────────────────────────────────────────────────────────


class Event(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """What a host says; `id` is the command's, or empty for what all terminals hear."""

    id: str = ""


class ModelInfo(msgspec.Struct, frozen=True, kw_only=True):
    """The loaded model, as screens show it. Sizes in bytes, times in seconds.

    `cache` is what is reserved for keys and values, part of `memory`; `compiled`: decoding replays a captured graph.
    """

    name: str
    architecture: str = ""
    parameters: int = 0
    context: int = 2048
    quantization: str = ""
    device: str = "cpu"
    chat_format: str = "Llama 2"
    memory: int = 0
    cache: int = 0
    load_seconds: float = 0.0
    from_cache: bool = False
    compiled: bool = False


class Welcome(Event, frozen=True, tag=True, kw_only=True):
    """The host's identity."""

    version: str
    pid: int
    model: str
    protocol: int = PROTOCOL


PARKED = "Parked until the run is done: the GPU has no room for both"


class Loading(Event, frozen=True, tag=True, kw_only=True):
    """Why the model cannot answer yet, or for a while; `fraction` of a load is None where it cannot be known."""

    stage: str
    fraction: float | None = None


class Ready(Event, frozen=True, tag=True, kw_only=True):
    """The model is loaded."""

    model: ModelInfo


class LoadFailed(Event, frozen=True, tag=True, kw_only=True):
    """The model could not be loaded; the host answers what it can and ends when asked."""

    failure: Failure


class Prefilled(Event, frozen=True, tag=True, kw_only=True):
    """The prompt is read: how long it is, how much of it was reused, what was cut from the front.

    `columns` are those that are written now, where others are written before or after them; else it is empty.
    """

    prompt_tokens: int
    reused_tokens: int = 0
    dropped_exchanges: int = 0
    context: int = 0
    seconds: float = 0.0
    columns: tuple[int, ...] = ()


class Token(Event, frozen=True, tag=True, kw_only=True):
    """A piece of a reply's text in one column: whole characters, never half of one."""

    text: str
    column: int = 0
    tokens: int = 1


class ColumnEnded(Event, frozen=True, tag=True, kw_only=True):
    """One column is complete; `seconds` counts from the first token."""

    finish: Finish
    column: int = 0
    tokens: int = 0
    seconds: float = 0.0


class AdapterLoaded(Event, frozen=True, tag=True, kw_only=True):
    """The adapter is resident, probed, and known by the digest of its content."""

    adapter: str
    digest: str
    seconds: float = 0.0
    reused: bool = False


class Preparing(Event, frozen=True, tag=True, kw_only=True):
    """How many anchors of the model are recorded. Not `active`: paused during a run, or ended by `failure`.

    Complete, and no longer to be shown, where `done` is `total` and there is no failure.
    """

    done: int
    total: int
    active: bool = True
    failure: Failure | None = None


class HostState(Event, frozen=True, tag=True, kw_only=True):
    """What `host status` and the screens show."""

    pid: int
    version: str
    model: str
    ready: ModelInfo | None = None
    clients: int = 0
    runs: tuple[str, ...] = ()
    resident: tuple[str, ...] = ()
    memory: int = 0
    gpu_memory: int = 0
    uptime: float = 0.0
    sharing: str = ""
    preparing: Preparing | None = None


class RunChanged(Event, frozen=True, tag=True, kw_only=True):
    """A run started or ended; its `events.jsonl` tells the rest."""

    run: str
    alive: bool


class Closing(Event, frozen=True, tag=True, kw_only=True):
    """The host is about to end, and why."""

    reason: str


class Finished(Event, frozen=True, tag=True, kw_only=True):
    """The command is done."""


class Failed(Event, frozen=True, tag=True, kw_only=True):
    """The command failed; nothing more comes for it."""

    failure: Failure


class Cancelled(Event, frozen=True, tag=True, kw_only=True):
    """The command was stopped."""


AnyEvent: TypeAlias = (
    Welcome
    | Loading
    | Ready
    | LoadFailed
    | Prefilled
    | Token
    | ColumnEnded
    | AdapterLoaded
    | Preparing
    | HostState
    | RunChanged
    | Closing
    | Finished
    | Failed
    | Cancelled
)
Ending: TypeAlias = Finished | Failed | Cancelled
ENDINGS = (Finished, Failed, Cancelled)

_encoder = msgspec.json.Encoder()
_commands = msgspec.json.Decoder(AnyCommand)
_events = msgspec.json.Decoder(AnyEvent)


def encode(value: Command | Event) -> bytes:
    """One line, newline included."""
    return _encoder.encode(value) + b"\n"


def decode_command(line: bytes) -> AnyCommand:
    """Raises msgspec.MsgspecError on a line that is no command."""
    command: AnyCommand = _commands.decode(line)
    return command


def decode_event(line: bytes) -> AnyEvent:
    """Raises msgspec.MsgspecError on a line that is no event."""
    event: AnyEvent = _events.decode(line)
    return event
