"""Every error meant for a person. Knows what to say; knows nothing of where it is shown.

LlamaTuiError                 what · data · remedy; exit code 1
├── UsageError                wrong command or argument; exit code 2
├── CorpusError               (corpora/errors.py)
│   ├── DialogError
│   │   ├── TagsInContent
│   │   └── DialogTooLong
│   ├── ImportRefused
│   └── StoreError
│       └── StoreIsNewer
├── SettingsError             config.toml or a recipe; exit code 2
├── HostError                 the host process
│   ├── HostUnreachable       cannot be started or reached
│   ├── HostDied              ended while a command was under way
│   └── HostIsOther           another version of the program owns the socket
├── ModelError                loading and running a model
│   ├── ModelNotFound         no such folder or hub name, or no access
│   ├── ModelUnusable         found, but damaged or not a causal language model
│   ├── PromptTooLong         does not fit the context even alone
│   └── OutOfMemory           the device or the machine ran out
├── AdapterError              one adapter
│   ├── AdapterNotFound
│   ├── AdapterDamaged        failed its check or its probe; never switched in
│   ├── AdapterMismatch       made for another base
│   └── GateFailed            broke what worked before; used only where the person insists
├── RunError                  one training run
│   ├── NothingToTrain
│   ├── RunDiverged           loss, gradients or weights are not finite
│   └── WorkerDied            ended without a word; the cause is told
├── DiskFull
└── Cancelled                 the person stopped it; exit code 130
"""

from __future__ import annotations

import msgspec

from corpora.errors import LlamaTuiError, UsageError

__all__ = ["UNREADABLE", "LlamaTuiError", "UsageError"]

UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""All that msgspec raises for a file that is not what it should be: bytes that are no text and endless nesting too."""


class SettingsError(LlamaTuiError):
    """`config.toml` or a recipe holds something unknown or contradictory."""

    exit_code = 2


class HostError(LlamaTuiError):
    """Something about the host process."""


class HostUnreachable(HostError):
    """The host cannot be started or reached."""


class HostDied(HostError):
    """The host ended while a command was under way."""


class HostIsOther(HostError):
    """A host of another version of the program owns the socket."""


class ModelError(LlamaTuiError):
    """Something about loading or running a model."""


class ModelNotFound(ModelError):
    """No such folder or hub name, or no access to it."""


class ModelUnusable(ModelError):
    """Found, but damaged or of a kind that cannot chat."""


class PromptTooLong(ModelError):
    """The last prompt alone does not fit the model's context."""


class OutOfMemory(ModelError):
    """The GPU or the machine ran out of memory; the model stays loaded."""


class AdapterError(LlamaTuiError):
    """Something about one adapter."""


class AdapterNotFound(AdapterError):
    """No adapter of that name or version."""


class AdapterDamaged(AdapterError):
    """Its files fail a check, or its probe fails; it is never switched in."""


class AdapterMismatch(AdapterError):
    """It was made for another base model."""


class GateFailed(AdapterError):
    """The version failed the gate when it was trained; `reasons` are the sentences of its report."""

    reasons: tuple[str, ...] = ()


class RunError(LlamaTuiError):
    """Something about one training run."""


class NothingToTrain(RunError):
    """No kept exchange that the run could learn from."""


class RunDiverged(RunError):
    """The loss, a gradient or a weight is not finite; nothing is published."""


class WorkerDied(RunError):
    """The worker ended without saying why; the cause found is told."""


class DiskFull(LlamaTuiError):
    """No space where something must be written."""


class Cancelled(LlamaTuiError):
    """The person stopped it."""

    exit_code = 130


class Failure(msgspec.Struct, frozen=True):
    """An error as it travels and is stored: the class's name and its three parts."""

    kind: str
    what: str
    data: str = ""
    remedy: str = ""

    @classmethod
    def of(cls, error: BaseException) -> Failure:
        """The failure of any exception; one that is not ours gets a sentence that points to the log."""
        if isinstance(error, LlamaTuiError):
            return cls(type(error).__name__, error.what, error.data, error.remedy)
        return cls(type(error).__name__, f"{type(error).__name__}: {error}"[:500], remedy="The log has the details.")

    def error(self) -> LlamaTuiError:
        """The exception again, of its own class where it is one of ours."""
        return _KINDS.get(self.kind, LlamaTuiError)(self.what, data=self.data, remedy=self.remedy)


def _tree(root: type[LlamaTuiError]) -> dict[str, type[LlamaTuiError]]:
    found = {root.__name__: root}
    for child in root.__subclasses__():
        found |= _tree(child)
    return found


_KINDS = _tree(LlamaTuiError)
REFUSALS = frozenset({PromptTooLong.__name__, UsageError.__name__})
"""Kinds of failures that the same prompt would meet again: it wants to be changed, or a setting does."""
