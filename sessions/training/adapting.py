"""The trainable part: LoRA matrices on a frozen base, in float32, new or continued, saved and put back.

bf16 matrices lose updates smaller than 1/256 of a weight, so the matrices and their optimizer stay in
float32. Knows nothing of rows or schedules.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
from safetensors.torch import load_file, save_file

from sessions import adapter_folder
from sessions.errors import AdapterMismatch, RunDiverged
from sessions.training.recipe import Recipe

ADAPTER = "default"


def attach(model: Any, recipe: Recipe, base_name: str, parent: Path | None) -> tuple[Any, tuple[str, ...]]:
    """The model with trainable LoRA matrices, and what the person should know.

    With a parent its matrices are the start, and its rank, alpha and layers are kept. Raises
    AdapterMismatch where they do not fit the base.
    """
    config, notes = _continued(recipe, parent) if parent else (_new(recipe), ())
    keep_unpacked(model)
    torch.manual_seed(recipe.seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        adapted = get_peft_model(model, config)
    adapted.peft_config[ADAPTER].base_model_name_or_path = base_name
    as_float32(adapted)
    if parent:
        put_back(adapted, read(parent), parent)
    return adapted, notes


def matrices(model: Any) -> dict[str, torch.Tensor]:
    """A copy of the trainable matrices on the CPU, by PEFT's names."""
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in _own(model).items()}


def read(folder: Path) -> dict[str, torch.Tensor]:
    """The matrices in a PEFT folder; raises AdapterDamaged."""
    adapter_folder.check(folder)
    return {name: tensor.float() for name, tensor in load_file(folder / adapter_folder.WEIGHTS).items()}


def put_back(model: Any, values: dict[str, torch.Tensor], source: Path | str = "a copy") -> None:
    """Make the trainable matrices equal to these. Raises AdapterMismatch, the matrices then being undefined."""
    wanted = _own(model)
    unfit = set(wanted) ^ set(values) or {name for name in wanted if wanted[name].shape != values[name].shape}
    if unfit:
        raise AdapterMismatch(
            f"The adapter in {source} does not fit this base: {min(unfit)} and {len(unfit) - 1} more differ.",
            data="Nothing was trained; the adapter is as it was.",
            remedy="Open the model it was made for, or train under another name.",
        )
    with torch.no_grad():
        for name, tensor in wanted.items():
            tensor.copy_(values[name])


def check_finite(values: dict[str, torch.Tensor]) -> None:
    """Raises RunDiverged where a matrix holds NaN or infinity."""
    for name, tensor in values.items():
        if not torch.isfinite(tensor).all():
            raise diverged(f"weights of {name}")


def save(model: Any, folder: Path, dtype: torch.dtype = torch.float32) -> None:
    """Write a PEFT folder: safetensors and config. Raises RunDiverged before anything is written."""
    values = matrices(model)
    check_finite(values)
    kept = {name: tensor.to(_published(dtype)) for name, tensor in values.items()}
    folder.mkdir(exist_ok=True)
    save_file(kept, folder / adapter_folder.WEIGHTS, metadata={"format": "pt"})
    config = copy(model.peft_config[ADAPTER])
    config.inference_mode = True
    config.save_pretrained(str(folder))


def round_to(model: Any, dtype: torch.dtype) -> None:
    """Round the matrices to what `save` keeps in that type, so that what is scored is what is published."""
    rounded = {name: tensor.to(_published(dtype)).float() for name, tensor in matrices(model).items()}
    put_back(model, rounded)


def _published(dtype: torch.dtype) -> torch.dtype:
    """float16 has too small a range for matrices that go on being trained."""
    return torch.float32 if dtype == torch.float16 else dtype


def is_linear(model: Any) -> bool:
    """Return whether the adapter's effect is proportional to its B matrices, so that it can be scaled."""
    config = model.peft_config[ADAPTER]
    return isinstance(config, LoraConfig) and not config.use_dora


def scaled(values: dict[str, torch.Tensor], strength: float) -> dict[str, torch.Tensor]:
    """Return LoRA matrices whose effect is scaled by a factor."""
    return {name: tensor * strength if "lora_B" in name else tensor for name, tensor in values.items()}


@contextmanager
def holding(model: Any, values: dict[str, torch.Tensor]) -> Iterator[None]:
    """The model with other matrices for a while."""
    own = matrices(model)
    put_back(model, values)
    try:
        yield
    finally:
        put_back(model, own)


def diverged(where: str) -> RunDiverged:
    """The end of a run whose numbers are no longer finite."""
    return RunDiverged(
        f"The training diverged: the {where} are not finite.",
        data="Nothing was published; earlier versions are untouched.",
        remedy="Lower learning_rate (halve it) or max_grad_norm, or use a longer warm-up.",
    )


def _own(model: Any) -> dict[str, torch.Tensor]:
    """The matrices themselves. Embeddings are never among them; PEFT would ask the hub whether they might be."""
    found: dict[str, torch.Tensor] = get_peft_model_state_dict(model, adapter_name=ADAPTER, save_embedding_layers=False)
    return found


def _new(recipe: Recipe) -> LoraConfig:
    targets = list(recipe.target_modules)
    return LoraConfig(
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        lora_dropout=recipe.dropout,
        target_modules="all-linear" if targets == ["all-linear"] else targets,
        bias="none",
        task_type="CAUSAL_LM",
    )


def _continued(recipe: Recipe, parent: Path) -> tuple[LoraConfig, tuple[str, ...]]:
    adapter_folder.check(parent)
    config = LoraConfig.from_pretrained(str(parent))
    config.inference_mode = False
    config.lora_dropout = recipe.dropout
    notes = []
    if config.r != recipe.rank:
        notes.append(f"The recipe's rank is {recipe.rank}; the run keeps rank {config.r} of the adapter it continues.")
    if config.lora_alpha != recipe.alpha and config.r == recipe.rank:
        notes.append(f"The recipe's alpha is {recipe.alpha:g}; the run keeps the adapter's {config.lora_alpha:g}.")
    return config, tuple(notes)


def keep_unpacked(model: Any) -> None:
    """A forward pass in eval mode repacks 4-bit weights on some CPUs, and gradients are wrong from then on."""
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def as_float32(model: Any) -> None:
    """Trainable matrices in float32, after libraries that make them bf16."""
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
