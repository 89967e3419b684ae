"""Supervised fine-tuning of LoRA matrices on encoded examples, with TRL's SFTTrainer.

The loss is the mean over trained tokens of an optimizer step. Knows nothing of files of adapters or of
how a run ends.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset, disable_progress_bars
from torch.nn import functional
from transformers import PrinterCallback
from trl import SFTConfig, SFTTrainer

from corpora.dialog import Example
from sessions.errors import SettingsError
from sessions.training import adapting
from sessions.training.examples import IGNORED, collate, columns
from sessions.training.recipe import Recipe
from sessions.training.schedule import Schedule
from sessions.training.watching import Watched

SCHEDULES = {"constant": "constant_with_warmup", "cosine": "cosine", "linear": "linear"}


class Supervised(Watched, SFTTrainer):  # type: ignore[misc]
    """TRL's trainer under watch."""

    def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, **more: Any) -> Any:
        """On a GPU TRL's fused head; on a CPU, where that head runs over every position, trained ones alone."""
        if inputs["input_ids"].device.type == "cuda":
            return super().compute_loss(model, inputs, *args, **more)
        return compact_loss(model, inputs, more.get("num_items_in_batch"))


def compact_loss(model: Any, inputs: dict[str, torch.Tensor], tokens: torch.Tensor | int | None) -> torch.Tensor:
    """Summed loss of the trained positions over `tokens` (their own number where None)."""
    whole = model.get_base_model()
    hidden = whole.base_model(
        input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], use_cache=False
    ).last_hidden_state
    labels = inputs["labels"][:, 1:]
    wanted = labels != IGNORED
    logits = whole.get_output_embeddings()(hidden[:, :-1][wanted]).float()
    total = functional.cross_entropy(logits, labels[wanted], reduction="sum")
    return total / torch.as_tensor(wanted.sum() if tokens is None else tokens).clamp(min=1)


def trainer(
    model: Any,
    tokenizer: Any,
    examples: Sequence[Example],
    recipe: Recipe,
    schedule: Schedule,
    *,
    folder: Path,
    rate: float,
) -> Supervised:
    """A trainer that is ready but for `watched_by`; the model has its LoRA matrices already."""
    disable_progress_bars()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = Supervised(
            model=model,
            args=_config(recipe, schedule, folder, rate, model.device.type),
            data_collator=collate,
            train_dataset=Dataset.from_dict(columns(examples)),
            processing_class=tokenizer,
        )
    made.remove_callback(PrinterCallback)
    if recipe.tensorboard:
        made.add_callback(_tensorboard(folder / "tensorboard"))
    adapting.as_float32(model)
    logging.getLogger("trl").setLevel(logging.ERROR)
    return made


def _tensorboard(folder: Path) -> Any:
    from transformers.integrations import TensorBoardCallback

    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise SettingsError(
            "The recipe asks for TensorBoard files, and tensorboard is not installed.",
            data="Nothing was trained.",
            remedy="pip install tensorboard, or set tensorboard = false.",
        ) from error
    return TensorBoardCallback(SummaryWriter(str(folder)))


def _config(recipe: Recipe, schedule: Schedule, folder: Path, rate: float, device: str) -> SFTConfig:
    cuda = device == "cuda"
    bf16 = cuda and torch.cuda.is_bf16_supported()
    return SFTConfig(
        output_dir=str(folder),
        per_device_train_batch_size=schedule.micro_batch,
        gradient_accumulation_steps=schedule.accumulation,
        max_steps=schedule.steps,
        learning_rate=rate,
        lr_scheduler_type=SCHEDULES[recipe.schedule],
        warmup_steps=schedule.warmup_steps,
        weight_decay=recipe.weight_decay,
        max_grad_norm=recipe.max_grad_norm,
        optim=_optimizer(recipe, cuda),
        bf16=bf16,
        fp16=cuda and not bf16,
        use_cpu=not cuda,
        gradient_checkpointing=recipe.gradient_checkpointing and cuda,
        gradient_checkpointing_kwargs={"use_reentrant": False},
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="no",
        eval_strategy="no",
        report_to=[],
        disable_tqdm=True,
        seed=recipe.seed,
        dataloader_num_workers=0,
        dataloader_pin_memory=cuda,
        max_length=None,
        packing=False,
        remove_unused_columns=False,
        dataset_kwargs={"skip_prepare_dataset": True},
    )


def _optimizer(recipe: Recipe, cuda: bool) -> str:
    if recipe.optimizer == "auto":
        return "paged_adamw_8bit" if cuda else "adamw_torch"
    return "adamw_torch" if recipe.optimizer == "adamw" else recipe.optimizer
