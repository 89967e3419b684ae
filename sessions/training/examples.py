"""Encoded rows as tensors: padding, labels and the order of micro-batches.

Padding has attention 0 and no label, so that no token id can be mistaken for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.utils.data import Sampler

from corpora.dialog import Example
from sessions.training.schedule import order

IGNORED = -100
"""The label that the loss leaves out."""

Batch = dict[str, torch.Tensor]


def columns(examples: Sequence[Example]) -> dict[str, list[list[int]]]:
    """The examples as the columns of a data set: ids, and labels that are IGNORED where nothing is trained."""
    return {
        "input_ids": [example.ids for example in examples],
        "labels": [
            [token if trained else IGNORED for token, trained in zip(example.ids, example.trained, strict=True)]
            for example in examples
        ],
    }


def collate(rows: Sequence[dict[str, Any]]) -> Batch:
    """Rows of `input_ids` and `labels` as (rows, longest) tensors, padded on the right."""
    longest = max(len(row["input_ids"]) for row in rows)
    batch = {
        "input_ids": torch.zeros(len(rows), longest, dtype=torch.long),
        "attention_mask": torch.zeros(len(rows), longest, dtype=torch.long),
        "labels": torch.full((len(rows), longest), IGNORED, dtype=torch.long),
    }
    for index, row in enumerate(rows):
        length = len(row["input_ids"])
        batch["input_ids"][index, :length] = torch.as_tensor(row["input_ids"])
        batch["attention_mask"][index, :length] = 1
        batch["labels"][index, :length] = torch.as_tensor(row["labels"])
    return batch


def batch(examples: Sequence[Example], device: torch.device | str = "cpu") -> Batch:
    """`collate` of examples, on a device."""
    table = columns(examples)
    rows = [{"input_ids": ids, "labels": labels} for ids, labels in zip(*table.values(), strict=True)]
    return {name: tensor.to(device) for name, tensor in collate(rows).items()}


class LikeLengths(Sampler[int]):
    """Each epoch's order depends on the seed and the epoch alone, so that a resumed run finds its place."""

    def __init__(self, lengths: Sequence[int], micro_batch: int, seed: int) -> None:
        self.lengths = lengths
        self.micro_batch = micro_batch
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by the loader before each pass."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        return iter(order(self.lengths, self.micro_batch, self.seed, self.epoch))
