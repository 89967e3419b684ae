"""How to train: a typed, documented value that `--recipe FILE`, `--set` and the Train screen all edit.

Knows nothing of data, models or screens.
"""

from __future__ import annotations

import ast
import contextlib
import inspect
import tomllib
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import msgspec
import tomlkit

from sessions.errors import SettingsError
from sessions.paths import write_atomic
from sessions.wording import misfit

AtLeast1 = Annotated[int, msgspec.Meta(ge=1)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Positive = Annotated[float, msgspec.Meta(gt=0)]
Count = Annotated[int, msgspec.Meta(ge=0)]


Hold: TypeAlias = Literal["loose", "normal", "firm"]


class Recipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Every setting of a run. 0 or `auto` where a field says so means: chosen by the size of the set."""

    hold: Hold = "normal"
    """How closely other replies keep to the base: firm, normal, or loose (for lessons of style, which change them)."""

    rank: AtLeast1 = 16
    """Rank r of the LoRA matrices."""

    alpha: Positive = 32.0
    """LoRA alpha; the delta is scaled by alpha / rank."""

    dropout: Share = 0.0
    """Dropout before the LoRA matrices."""

    target_modules: tuple[str, ...] = ("all-linear",)
    """Layers that get an adapter: `all-linear`, or names such as q_proj, v_proj."""

    learning_rate: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    """Peak learning rate; 0: chosen by the width of the model (2e-3 for the demo, 2.3e-4 for 7B)."""

    schedule: Literal["constant", "cosine", "linear"] = "cosine"
    """Learning rate after the warm-up, where the run counts epochs; else it is constant until the stopping rule."""

    warmup: Share = 0.03
    """Share of the steps over which the learning rate rises."""

    max_grad_norm: Positive = 1.0
    """Gradients are clipped to this norm."""

    weight_decay: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    """Decoupled weight decay of AdamW."""

    optimizer: Literal["auto", "adamw", "paged_adamw_8bit"] = "auto"
    """`auto`: paged 8-bit AdamW on CUDA, AdamW on a CPU."""

    epochs: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    """Passes over the set; 0: small sets are trained until each reply is reproduced, large ones for 3 to 20 passes."""

    max_steps: Annotated[int, msgspec.Meta(ge=0)] = 0
    """An upper bound on optimizer steps; 0: none."""

    batch_size: Annotated[int, msgspec.Meta(ge=0)] = 0
    """New replies per optimizer step; 0: chosen by the size of the set."""

    micro_batch: Annotated[int, msgspec.Meta(ge=0)] = 0
    """Rows in memory at once; 0: chosen by the device."""

    max_length: Annotated[int, msgspec.Meta(ge=16)] = 2048
    """Tokens of a row; older exchanges are cut from the front of a longer one."""

    held_out: Share = 0.1
    """Share of the replies that is only measured, in large sets (see `epochs`)."""

    early_stopping: Annotated[int, msgspec.Meta(ge=0)] = 3
    """Evaluations without a better held-out loss before the run ends; 0: never."""

    evaluations: AtLeast1 = 10
    """How often in a run the held-out loss is measured and a checkpoint is written."""

    replay: Count | None = None
    """Earlier replies per step, so that they stay reproduced; empty: as many as new ones."""

    anchors: Count | None = None
    """Replies of the base per step that the adapter is held to; empty: chosen by the size of the set."""

    neighbours: Count | None = None
    """Similar prompts per step that keep the base's reply; empty: chosen by the size of the set."""

    kl_weight: Annotated[float, msgspec.Meta(ge=0)] | None = None
    """Weight of KL(base ‖ adapter) on anchors in the loss; empty: by `hold` (0.05, 2.5 or 5)."""

    rewordings: Count = 24
    """Other wordings of each new prompt that are trained with the same reply, in sets of at most 1,000 replies."""

    alone: Annotated[int, msgspec.Meta(ge=0)] = 100
    """Exchanges from within chats are also trained by themselves, where they are at most so many; 0: never."""

    gradient_checkpointing: bool = True
    """Compute activations again instead of keeping them (on CUDA; small CPU models do without)."""

    samples: tuple[str, ...] = ()
    """Prompts answered at each evaluation, to watch the run learn."""

    tensorboard: bool = False
    """Also write TensorBoard files into the run's folder."""

    seed: int = 0
    """Seed of the shuffle, the initial matrices and dropout."""

    def __post_init__(self) -> None:
        if self.micro_batch and self.batch_size and self.batch_size % self.micro_batch:
            raise SettingsError(
                f"batch_size {self.batch_size} is no multiple of micro_batch {self.micro_batch}.",
                remedy="Make batch_size a multiple, or leave micro_batch at 0.",
            )


RECIPES: dict[str, Recipe] = {
    "default": Recipe(),
    "guanaco": Recipe(
        rank=64,
        alpha=16.0,
        dropout=0.1,
        learning_rate=2e-4,
        max_grad_norm=0.3,
        schedule="constant",
        warmup=0.03,
        epochs=1.0,
        batch_size=4,
        weight_decay=0.001,
    ),
}
"""Recipes by name; `guanaco` holds the values of the Llama 2 QLoRA tutorials."""


def load(source: str | Path) -> Recipe:
    """A recipe by name or from a TOML file. Raises SettingsError."""
    if isinstance(source, str) and source in RECIPES:
        return RECIPES[source]
    try:
        return msgspec.convert(tomllib.loads(Path(source).read_text("utf-8")), Recipe)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        why = misfit(error, Recipe) if isinstance(error, msgspec.ValidationError) else str(error)
        if isinstance(error, FileNotFoundError):
            why = "there is no such file"
        raise SettingsError(
            f"The recipe {source} cannot be used: {why}.",
            data="No run was started.",
            remedy=f"Give a TOML file with fields of a recipe, or one of: {', '.join(RECIPES)}.",
        ) from error


def save(recipe: Recipe, path: Path) -> None:
    """Write a recipe as TOML."""
    values = {key: value for key, value in msgspec.to_builtins(recipe).items() if value is not None}
    write_atomic(path, tomlkit.dumps(values).encode())


def changed(recipe: Recipe, **changes: Any) -> Recipe:
    """The recipe with some fields changed; text is read as the field's type. Raises SettingsError."""
    values = msgspec.to_builtins(recipe)
    unknown = [key for key in changes if key not in values]
    if unknown:
        raise SettingsError(f"A recipe has no field {unknown[0]!r}.", remedy=f"Fields: {', '.join(values)}.")
    read = {key: _read(value, values[key]) for key, value in changes.items()}
    try:
        return msgspec.convert({**values, **read}, Recipe)
    except msgspec.ValidationError as error:
        raise SettingsError(
            f"That does not fit the recipe: {misfit(error, Recipe)}.", data="The recipe is unchanged."
        ) from error


@cache
def documentation() -> dict[str, str]:
    """What each field means, from the docstrings above."""
    body = ast.parse(inspect.getsource(Recipe)).body[0]
    assert isinstance(body, ast.ClassDef)
    found = {}
    for field, text in zip(body.body, body.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
            found[ast.unparse(field.target)] = str(text.value.value)
    return found


def _read(value: Any, before: Any) -> Any:
    """Return text as the type of the field's present value; what cannot be read is left for validation."""
    if not isinstance(value, str) or isinstance(before, str):
        return value
    if isinstance(before, (list, tuple)):
        return [part.strip() for part in value.split(",") if part.strip()]
    lowered = value.strip().lower()
    if isinstance(before, bool):
        return {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}.get(lowered, value)
    if before is None and not lowered:
        return None
    return _number(value, int if isinstance(before, int) else float)


def _number(value: str, kind: type[int] | type[float]) -> int | float | str:
    """Return the number that a text means, whole ones as int, or the text where it means none."""
    for each in (int, kind):
        with contextlib.suppress(ValueError):
            return each(value)
    return value
