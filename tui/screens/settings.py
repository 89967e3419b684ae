"""Every setting with what it means; a change is checked, saved and used at once."""

from __future__ import annotations

import ast
import asyncio
import inspect
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, cast

import msgspec
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from sessions.errors import LlamaTuiError, SettingsError
from sessions.protocol import Sampling
from sessions.settings import Settings
from tui import render, stop_texts

if TYPE_CHECKING:
    from tui.app import LlamaTuiApp

LATER = {"model", "quantization", "keep_alive", "chat_share", "prepare_anchors"}
"""Settings that a host reads when it starts."""
SAMPLING = {
    "temperature": "How freely the next token is drawn; 0 takes the likeliest.",
    "top_p": "Draw from the likeliest tokens that make up this share; 1 is off.",
    "top_k": "Draw from this many likeliest tokens; 0 is off.",
    "repetition_penalty": "Above 1, tokens said before become less likely.",
    "max_new_tokens": "A reply is cut after this many tokens.",
    "seed": "The same seed gives the same reply; empty: another each time.",
    "stop": 'A reply ends before this text, or any of several: "###" "User:"; \\n is a line end.',
}


class SettingsScreen(ModalScreen[None]):
    """One field a setting, with its meaning; Enter or leaving the field saves it."""

    CSS_PATH = "settings.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,f8", "app.pop_screen", "Close", priority=True),
        Binding("down", "app.focus_next", show=False, priority=True),
        Binding("up", "app.focus_previous", show=False, priority=True),
    ]

    def compose(self) -> ComposeResult:
        """All fields, one below the other."""
        settings = self._llama.workspace.settings
        with Vertical(id="settings"):
            with VerticalScroll(can_focus=False):
                yield Static("How replies are drawn", classes="title", markup=False)
                for name, value in msgspec.structs.asdict(self._llama.chat.sampling).items():
                    yield Setting(f"sampling.{name}", value, SAMPLING.get(name, ""))
                yield Static("Program", classes="title", markup=False)
                for name, value in msgspec.structs.asdict(settings).items():
                    if name != "sampling":
                        yield Setting(name, value, documentation().get(name, ""))
            yield Static("", classes="said", markup=False)
            yield Static(
                f"enter saves · esc closes · {self._llama.workspace.paths.config}", classes="keys", markup=False
            )

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter saves the field."""
        self._save(event.input)

    def on_input_blurred(self, event: Input.Blurred) -> None:
        """Leaving the field saves it."""
        self._save(event.input)

    def _save(self, field: Input) -> None:
        setting = field.query_ancestor(Setting)
        if field.value != setting.value:
            self._llama.attempt(self._change, setting, field.value)

    async def _change(self, setting: Setting, text: str) -> None:
        said = self.query_one(".said", Static)
        try:
            later = await self._llama.change_setting(setting.key, parsed(setting.key, text))
        except (LlamaTuiError, msgspec.MsgspecError) as error:
            still = render.line(setting.value, 40) or "empty"
            said.update(render.text(f"{setting.key}: {error} It is still {still}.", "$text-error"))
            return
        setting.value = text
        said.update(render.text(f"{setting.key} is saved{'; the next host uses it' if later else ''}."))

    @property
    def _llama(self) -> LlamaTuiApp:
        return cast("LlamaTuiApp", self.app)


class Setting(Horizontal):
    """One field with its name and meaning."""

    def __init__(self, key: str, value: Any, about: str) -> None:
        super().__init__()
        self.key = key
        self.value = shown(value)
        self.about = about

    def compose(self) -> ComposeResult:
        """Name, field, meaning."""
        yield Static(self.key.removeprefix("sampling."), classes="name", markup=False)
        yield Input(self.value, compact=True)
        yield Static(render.text(self.about), classes="about", markup=False)


def shown(value: Any) -> str:
    """A value as it is typed: text bare, stop texts in quotes, all else as JSON."""
    if isinstance(value, tuple):
        return stop_texts.told(value) if value else ""
    return value if isinstance(value, str) else "" if value is None else msgspec.json.encode(value).decode()


def parsed(key: str, text: str) -> Any:
    """A typed value as the setting's type. Raises SettingsError, msgspec.MsgspecError."""
    kind, _, name = key.rpartition(".")
    owner: type[msgspec.Struct] = Sampling if kind else Settings
    field = next(known for known in msgspec.structs.fields(owner) if known.name == name)
    if isinstance(field.default, str):
        return text
    if name == "stop":
        return stop_texts.read(text)
    try:
        return msgspec.json.decode(text.strip() or "null")
    except msgspec.DecodeError as error:
        raise SettingsError(
            f"{render.line(text, 40)!r} is no value for it.", remedy="Type a number, or true or false."
        ) from error


@cache
def documentation() -> dict[str, str]:
    """What each setting means, from the docstrings in `sessions/settings.py`."""
    body = ast.parse(inspect.getsource(Settings)).body[0]
    assert isinstance(body, ast.ClassDef)
    found = {}
    for field, text in zip(body.body, body.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
            found[ast.unparse(field.target)] = " ".join(str(text.value.value).split())
    return found


async def change(app: LlamaTuiApp, key: str, value: Any) -> bool:
    """Check, save and use a setting; True where only the next host uses it. Raises SettingsError."""
    workspace = app.workspace
    kind, _, name = key.rpartition(".")
    if kind:
        merged = {**msgspec.structs.asdict(workspace.settings.sampling), name: value}
        sampling = msgspec.convert(merged, Sampling)
        await asyncio.to_thread(lambda: workspace.change(sampling=sampling))
        app.chat.sampling = msgspec.convert({**msgspec.structs.asdict(app.chat.sampling), name: value}, Sampling)
    else:
        msgspec.convert({**msgspec.to_builtins(workspace.settings), name: value}, Settings)
        await asyncio.to_thread(lambda: workspace.change(**{name: value}))
        app.apply_settings()
    return name in LATER
