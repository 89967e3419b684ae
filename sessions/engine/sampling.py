"""Draws the next token from logits, on their device. Knows nothing of models or text."""

from __future__ import annotations

import secrets

import torch

from sessions.protocol import Sampling


class Sampler:
    """One column's stream of draws: its random numbers, and the ids that the penalty looks at."""

    def __init__(self, how: Sampling, prompt: list[int], vocabulary: int, device: torch.device) -> None:
        self.how = how
        seed = secrets.randbits(63) if how.seed is None else how.seed
        self._random = torch.Generator(device).manual_seed(seed % 2**63)
        self._seen: torch.Tensor | None = None
        if how.repetition_penalty != 1:
            self._seen = torch.zeros(vocabulary, dtype=torch.bool, device=device)
            self._seen[torch.tensor(prompt, dtype=torch.long, device=device)] = True

    @torch.inference_mode()
    def draw(self, logits: torch.Tensor) -> torch.Tensor:
        """The next id, shape [1], out of logits [vocabulary]; it counts as seen from now on."""
        scores = self._penalized(logits.float())
        chosen = scores.argmax(dim=-1, keepdim=True) if self.how.temperature == 0 else self._sampled(scores)
        if self._seen is not None:
            self._seen.scatter_(0, chosen, True)
        return chosen

    def _penalized(self, scores: torch.Tensor) -> torch.Tensor:
        """Scores of ids seen before, pushed down: positive ones divided, negative ones multiplied."""
        if self._seen is None:
            return scores
        penalty = self.how.repetition_penalty
        pushed = torch.where(scores > 0, scores / penalty, scores * penalty)
        return torch.where(self._seen, pushed, scores)

    def _sampled(self, scores: torch.Tensor) -> torch.Tensor:
        scores = scores / self.how.temperature
        ids: torch.Tensor | None = None
        if 0 < self.how.top_k < scores.numel():
            scores, ids = scores.topk(self.how.top_k)
        elif self.how.top_p < 1:
            scores, ids = scores.sort(descending=True)
        chances = scores.softmax(dim=-1)
        if self.how.top_p < 1:
            before = chances.cumsum(dim=-1) - chances
            chances = chances.masked_fill(before >= self.how.top_p, 0)
        drawn = torch.multinomial(chances, 1, generator=self._random)
        return drawn if ids is None else ids[drawn]
