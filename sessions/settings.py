"""config.toml: every setting, typed and documented. Unknown keys are refused.

Independent of screens and models.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import tomlkit

from sessions.errors import SettingsError
from sessions.paths import write_atomic
from sessions.protocol import Sampling
from sessions.wording import line_of, misfit

Text = Annotated[str, msgspec.Meta(max_length=20_000)]


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """What a person can set for good. Each field is a key of config.toml."""

    model: Text = ""
    """Model to open: `smollm2`, `demo`, a folder, a .gguf file, or a hub name. Empty: the best one on this disk."""

    adapter: Text = "mine"
    """Name under which training publishes, and the adapter whose accepted version answers in new chats."""

    use_adapter: bool = True
    """Start chat with the accepted version of `adapter`; false starts with the base."""

    system: Text = ""
    """System prompt of new chats; empty means none."""

    sampling: Sampling = Sampling()
    """How replies are sampled."""

    auto_use: Literal["never", "passed"] = "never"
    """When a run is done: `never` use its version without being asked, or use it if it `passed` the gate."""

    keep_alive: Annotated[float, msgspec.Meta(ge=0)] = 300.0
    """Seconds that a host without terminals and runs stays."""

    chat_share: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.8
    """While a reply is written, the share of time that training leaves to chat."""

    prepare_anchors: bool = True
    """Record in the background, once per model, how it answers general prompts; training then starts sooner."""

    theme: Text = "textual-dark"
    """Theme of the screens."""

    quantization: Literal["nf4", "int8", "none"] = "nf4"
    """How the base is held: 4 bit, 8 bit, or 16 bit."""

    editor: Text = ""
    """Command that edits long texts; empty means $VISUAL or $EDITOR."""

    keys: dict[str, str] = {}
    """Other keys for actions, by the action's id."""


def load(path: Path) -> Settings:
    """The settings in a file; the defaults where there is none. Raises SettingsError with the line."""
    text = ""
    try:
        text = path.read_text("utf-8")
        return msgspec.convert(tomllib.loads(text), Settings)
    except FileNotFoundError:
        return Settings()
    except msgspec.ValidationError as error:
        line = line_of(error, text)
        raise _unusable(path, (f"line {line}: " if line else "") + misfit(error, Settings)) from error
    except SettingsError as error:
        raise _unusable(path, error.what.removeprefix("That cannot be: ").rstrip(".")) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise _unusable(path, str(error)) from error


def _unusable(path: Path, why: str) -> SettingsError:
    return SettingsError(
        f"{path} cannot be used: {why}.",
        data="Nothing was changed; no chat or data is touched.",
        remedy="Correct that line, or move the file away to start from the defaults.",
    )


def save(path: Path, **changes: Any) -> Settings:
    """Change some keys in the file, comments and order kept; returns the new settings.

    Raises SettingsError for a value that cannot be; the file is then untouched.
    """
    settings = changed(load(path), **changes)
    document = tomlkit.parse(path.read_text("utf-8")) if path.exists() else tomlkit.document()
    for key, value in changes.items():
        document[key] = msgspec.to_builtins(value)
    write_atomic(path, tomlkit.dumps(document).encode())
    return settings


def changed(settings: Settings, **changes: Any) -> Settings:
    """The settings with some keys changed, nothing written. Raises SettingsError."""
    try:
        return msgspec.convert({**msgspec.to_builtins(settings), **changes}, Settings)
    except msgspec.ValidationError as error:
        raise SettingsError(
            f"That setting cannot be: {misfit(error, Settings)}.",
            data="Nothing was changed.",
            remedy="F1 or /help explains the settings.",
        ) from error
