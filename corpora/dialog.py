"""The values that everything else passes around: messages, dialogs, exchanges, verdicts, pairs.

Frozen; knows nothing of storage, tokens or screens.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal, TypeAlias, cast

from corpora.errors import DialogError

Role: TypeAlias = Literal["system", "user", "assistant"]
ROLES: tuple[Role, ...] = ("system", "user", "assistant")


@dataclass(frozen=True, slots=True)
class Message:
    """One message. `kept` says whether a reply is trained on; `tags_allowed` lifts the tag check once."""

    role: Role
    content: str
    kept: bool = True
    tags_allowed: bool = False


MessageLike: TypeAlias = Message | Mapping[str, Any]
Dialog: TypeAlias = Sequence[MessageLike]


def message(value: MessageLike) -> Message:
    """A `Message` out of itself or a `{"role", "content"}` mapping.

    OpenAI's `weight: 0` on a reply means `kept=False`. Raises DialogError on anything else.
    """
    if isinstance(value, Message):
        return value
    try:
        role, content = value["role"], value["content"]
    except (KeyError, TypeError) as error:
        raise DialogError(f"A message needs a role and a content; this one is {value!r:.80}.") from error
    if role not in ROLES or not isinstance(content, str):
        raise DialogError(f"A message's role is one of {', '.join(ROLES)} and its content is text, not {value!r:.80}.")
    return Message(cast(Role, role), content, kept=value.get("weight", 1) != 0)


def messages(dialog: Dialog) -> tuple[Message, ...]:
    """The dialog as a tuple of `Message`."""
    return tuple(message(value) for value in dialog)


def turns(dialog: Dialog) -> tuple[Message | None, tuple[tuple[Message, Message | None], ...]]:
    """(system prompt, [(prompt, reply)]), the last reply None where it is awaited.

    Raises DialogError where the roles are in another order.
    """
    said = messages(dialog)
    system, rest = (said[0], said[1:]) if said and said[0].role == "system" else (None, said)
    for index, each in enumerate(rest):
        if each.role != ("user", "assistant")[index % 2]:
            raise DialogError("A dialog goes: an optional system prompt, then user and assistant in turn.")
    if system is not None and not rest:
        raise DialogError("A system prompt needs a message of the user after it.")
    ends = (*rest[1::2], None) if len(rest) % 2 else rest[1::2]
    return system, tuple(zip(rest[::2], ends, strict=True))


class Status(StrEnum):
    """What a person decided about an exchange."""

    PENDING = "pending"
    KEPT = "kept"
    REJECTED = "rejected"
    DEFERRED = "deferred"


class Finish(StrEnum):
    """How a reply ended. A reply that is being written, or was when a process died, is PARTIAL."""

    EOS = "eos"
    LENGTH = "length"
    STOPPED = "stopped"
    PARTIAL = "partial"
    FAILED = "failed"
    IMPORTED = "imported"


@dataclass(frozen=True, slots=True)
class Exchange:
    """One prompt and one reply, with the exchange before it as `parent_id`.

    A conversation is a tree of exchanges: versions of a reply are siblings with one prompt, an edited
    prompt is a sibling with another. `original` is the reply as the model wrote it where `reply` is a
    correction. Times are seconds since the epoch; `adapter` names the version that replied: `base`, `NAME/vN`, or
    `NAME/vN (removed)`. `instruction` counts the characters of the prompt that are an Alpaca instruction, where its
    `input` follows them.
    """

    id: int
    conversation_id: int
    parent_id: int | None
    prompt: str
    reply: str
    system: str | None = None
    status: Status = Status.PENDING
    original: str | None = None
    finish: Finish = Finish.PARTIAL
    model: str = ""
    adapter: str = "base"
    tokens: int = 0
    seconds: float = 0.0
    source: str = "chat"
    tags: tuple[str, ...] = ()
    note: str = ""
    rating: int | None = None
    tags_allowed: bool = False
    created: float = 0.0
    updated: float = 0.0
    instruction: int | None = None

    @property
    def corrected(self) -> bool:
        """True where a person rewrote the reply."""
        return self.original is not None


@dataclass(frozen=True, slots=True)
class Conversation:
    """A chat or an imported dialog; `exchanges` counts the whole tree."""

    id: int
    title: str
    source: str
    created: float
    updated: float
    exchanges: int = 0


def answered(path: Sequence[Exchange]) -> tuple[Exchange, ...]:
    """A branch without prompts that got no word of a reply: the model is not shown them as answered with nothing."""
    unanswered = (Finish.FAILED, Finish.STOPPED, Finish.PARTIAL)
    return tuple(each for each in path if each.reply or each.finish not in unanswered)


def dialog_of(path: Sequence[Exchange], kept: Collection[int] | None = None) -> tuple[Message, ...]:
    """A branch of exchanges as a dialog, under the system prompt of its last one.

    With `kept`, replies of other ids have `kept=False`. Earlier prompts without a reply are left out.
    """
    said: list[Message] = []
    if path and path[-1].system:
        said.append(Message("system", path[-1].system, tags_allowed=path[-1].tags_allowed))
    for each in (*answered(path[:-1]), *path[-1:]):
        trained = kept is None or each.id in kept
        said.append(Message("user", each.prompt, tags_allowed=each.tags_allowed))
        said.append(Message("assistant", each.reply, kept=trained, tags_allowed=each.tags_allowed))
    return tuple(said)


class Vote(StrEnum):
    """The verdict on two replies to one prompt."""

    LEFT = "left"
    RIGHT = "right"
    TIE = "tie"
    BOTH_BAD = "both_bad"


@dataclass(frozen=True, slots=True)
class Verdict:
    """One vote: two replies to one dialog (which ends with the prompt), and the versions that wrote them.

    `left_version` and `right_version` identify the versions by their digests; the adapters are their names.
    """

    dialog: tuple[Message, ...]
    left: str
    right: str
    left_adapter: str
    right_adapter: str
    vote: Vote
    blind: bool
    id: int = 0
    created: float = 0.0
    left_version: str = ""
    right_version: str = ""


@dataclass(frozen=True, slots=True)
class Preference:
    """A chosen and a rejected reply to one dialog (which ends with the prompt).

    `copy` tells equal rows of one imported file apart: 0 for the first, then 1, 2, …
    """

    dialog: tuple[Message, ...]
    chosen: str
    rejected: str
    source: str = "correction"
    exchange_id: int | None = None
    id: int = 0
    created: float = 0.0
    copy: int = 0


@dataclass(frozen=True, slots=True)
class Example:
    """Token ids and, for each, whether the loss counts it. Both lists have the same length."""

    ids: list[int] = field(default_factory=list)
    trained: list[bool] = field(default_factory=list)
