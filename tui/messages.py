"""What has happened, for more than one widget: small past-tense messages.

`LlamaTuiApp.tell` hands each to the app and to every open screen (`on_…` handlers). Gauges may coalesce
(`can_replace`), history may not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from textual.message import Message

if TYPE_CHECKING:
    from corpora.errors import LlamaTuiError
    from sessions.lineage import Lineage
    from sessions.protocol import HostState, Loading, ModelInfo, Preparing
    from sessions.training.events import AnyRunEvent, Published
    from sessions.training.runs import RunState


@dataclass
class StoreOpened(Message, bubble=False):
    """The corpus can be used: `app.chat` and `app.workspace.store` are there."""


@dataclass
class ModelLoading(Message, bubble=False):
    """The host loads the model; prompts sent now wait."""

    progress: Loading

    def can_replace(self, message: Message) -> bool:
        """Only the newest progress counts."""
        return isinstance(message, ModelLoading)


@dataclass
class ModelReady(Message, bubble=False):
    """The model can answer."""

    model: ModelInfo


@dataclass
class AnchorsPrepared(Message, bubble=False):
    """The host has recorded more anchors of the model, or has stopped doing so."""

    state: Preparing

    def can_replace(self, message: Message) -> bool:
        """Only the newest state counts."""
        return isinstance(message, AnchorsPrepared)


@dataclass
class HostLost(Message, bubble=False):
    """The host has ended or cannot be used; the next command starts one again."""

    error: LlamaTuiError


@dataclass
class HostStateRead(Message, bubble=False):
    """Fresh figures of the host."""

    state: HostState

    def can_replace(self, message: Message) -> bool:
        """Only the newest figures count."""
        return isinstance(message, HostStateRead)


@dataclass
class AdapterInUseChanged(Message, bubble=False):
    """The chat answers with `base` or `NAME/vN` from now on, at a strength."""

    adapter: str
    strength: float = 1.0


@dataclass
class AdaptersChanged(Message, bubble=False):
    """A version was published, removed, renamed, imported or made current."""


@dataclass
class CorpusChanged(Message, bubble=False):
    """Exchanges were added, curated or imported. `ids` are those known to have changed; empty: any."""

    ids: tuple[int, ...] = ()


@dataclass
class RunEventHappened(Message, bubble=False):
    """One event of an active run, and the state folded up to it. Never coalesced."""

    run: str
    event: AnyRunEvent
    state: RunState


@dataclass
class RunEnded(Message, bubble=False):
    """A run has ended, whichever way: `state.phase` and `state.failure` say how."""

    state: RunState


@dataclass
class OfferChanged(Message, bubble=False):
    """Another version waits to be accepted, or none."""

    offered: Lineage | None


@dataclass
class VersionRefused(Message, bubble=False):
    """A run published a version that failed the gate and is not offered; `published.worse` says why."""

    published: Published


@dataclass
class PromptHandedOver(Message, bubble=False):
    """Another screen hands a prompt to the Compare screen."""

    prompt: str
