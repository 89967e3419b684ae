"""The training loss: cross-entropy on kept replies plus KL(base ‖ adapter) on cached replies of the base.

One forward pass serves all rows of a micro-batch. Tokens that all rows begin with (a chat template's system prompt)
are computed once. Knows nothing of where rows come from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

import torch
from torch.nn import functional
from transformers import DynamicCache

from corpora.dialog import Example
from sessions.training.generation import undisturbed

Kind: TypeAlias = Literal["new", "reworded", "earlier", "anchor"]
SHORTEST_PREFIX = 8
"""Tokens that a common prefix has at least; below that a second forward pass costs more than it saves."""


@dataclass(frozen=True, slots=True)
class Reference:
    """The base's distribution at each target position: the most likely tokens with their log-probabilities.

    `tokens` and `logprobs` have the shape (targets, k).
    """

    tokens: torch.Tensor
    logprobs: torch.Tensor


@dataclass(frozen=True, slots=True)
class TrainRow:
    """A sequence with the positions of its target tokens. `reference` is given for anchors alone.

    `source` is the index of the kept row or of the anchor in the mixture.
    """

    ids: tuple[int, ...]
    targets: tuple[int, ...]
    kind: Kind
    source: int = -1
    reference: Reference | None = None
    prompt: str = ""
    """The text of the last prompt, for reports."""

    @classmethod
    def of(cls, example: Example, kind: Kind, source: int = -1, prompt: str = "") -> TrainRow:
        """Return an encoded example as a row."""
        places = tuple(place for place, trained in enumerate(example.trained) if trained and place)
        return cls(tuple(example.ids), places, kind, source, prompt=prompt)

    def shortened(self, targets: int) -> TrainRow:
        """Return the row of an anchor without the tokens after its first `targets` targets."""
        if self.reference is None or len(self.targets) <= targets:
            return self
        reference = Reference(self.reference.tokens[:targets], self.reference.logprobs[:targets])
        return replace(self, ids=self.ids[: self.targets[targets]], targets=self.targets[:targets], reference=reference)


@dataclass(slots=True)
class StepLoss:
    """The result of one micro-batch. `loss` carries the gradient; the sums are detached.

    `found` has, for each row, the probability of its least likely target token, or the KL per token of an anchor.
    """

    loss: torch.Tensor
    cross_entropy: float = 0.0
    kl: float = 0.0
    found: list[float] = field(default_factory=list)


def step_loss(
    model: Any, rows: Sequence[TrainRow], *, ce_tokens: int, kl_tokens: int, kl_weight: float, share_prefix: bool = True
) -> StepLoss:
    """Return the part of a step's loss that these rows contribute.

    The step's loss is the mean cross-entropy over `ce_tokens` target tokens plus `kl_weight` times the mean KL over
    `kl_tokens`; both count the targets of the whole step, which may have several micro-batches.
    """
    logits = target_logits(model, rows, share_prefix=share_prefix)
    result = StepLoss(logits.new_zeros((), dtype=torch.float32))
    start = 0
    for row in rows:
        part = logits[start : start + len(row.targets)].float()
        start += len(row.targets)
        if row.reference is not None:
            kl = kl_to(row.reference, part).sum()
            result.loss = result.loss + kl_weight * kl / kl_tokens
            result.kl += float(kl.detach())
            result.found.append(float(kl.detach()) / len(row.targets))
        else:
            wanted = torch.tensor([row.ids[place] for place in row.targets], device=part.device)
            losses = functional.cross_entropy(part, wanted, reduction="none")
            result.loss = result.loss + losses.sum() / ce_tokens
            result.cross_entropy += float(losses.detach().sum())
            result.found.append(float(torch.exp(-losses.detach().max())))
    return result


def kl_to(reference: Reference, logits: torch.Tensor) -> torch.Tensor:
    """Return KL(base ‖ model) in nats at each position, shape (targets,).

    The tokens outside the k most likely ones count as one event, so this is a lower bound of the full KL.
    """
    known = reference.logprobs.to(logits.device, torch.float32)
    ours = functional.log_softmax(logits, dim=-1).gather(1, reference.tokens.to(logits.device, torch.long))
    rest, our_rest = _log_rest(known), _log_rest(ours)
    return (known.exp() * (known - ours)).sum(-1) + rest.exp() * (rest - our_rest)


def _log_rest(logprobs: torch.Tensor) -> torch.Tensor:
    """Return the logarithm of the probability that the listed tokens leave to all others."""
    return torch.log1p(-logprobs.exp().sum(-1).clamp(max=1 - 1e-4))


def target_logits(model: Any, rows: Sequence[TrainRow], *, share_prefix: bool = True) -> torch.Tensor:
    """Return the logits that predict each target, rows after one another, shape (all targets, vocabulary)."""
    whole, device = undisturbed(model), model.device
    shared = common_prefix(rows) if share_prefix else 0
    longest = max(len(row.ids) for row in rows) - shared
    ids = torch.zeros(len(rows), longest, dtype=torch.long)
    mask = torch.zeros(len(rows), shared + longest, dtype=torch.long)
    wanted = torch.zeros(len(rows), longest, dtype=torch.bool)
    for index, row in enumerate(rows):
        ids[index, : len(row.ids) - shared] = torch.as_tensor(row.ids[shared:])
        mask[index, : len(row.ids)] = 1
        wanted[index, torch.as_tensor(row.targets) - shared - 1] = True
    cache = None
    with torch.autocast(device.type, whole.dtype, enabled=whole.dtype != torch.float32):
        if shared:
            prefix = torch.as_tensor(rows[0].ids[:shared], device=device)[None]
            cache = whole.base_model(input_ids=prefix, past_key_values=DynamicCache(), use_cache=True).past_key_values
            cache.batch_repeat_interleave(len(rows))
        hidden = whole.base_model(
            input_ids=ids.to(device),
            attention_mask=mask.to(device),
            past_key_values=cache,
            use_cache=cache is not None,
        ).last_hidden_state
        logits: torch.Tensor = whole.get_output_embeddings()(hidden[wanted.to(device)])
    return logits


def common_prefix(rows: Sequence[TrainRow]) -> int:
    """Return how many leading tokens all rows share; 0 where that is too few to pay.

    The token before the first target of each row is left out: its hidden state predicts the target.
    """
    most = min(row.targets[0] for row in rows) - 1
    first = rows[0].ids
    shared = 0
    while shared < most and all(row.ids[shared] == first[shared] for row in rows):
        shared += 1
    return shared if len(rows) > 1 and shared >= SHORTEST_PREFIX else 0
