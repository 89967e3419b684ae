"""What a published version does, compared with its base: greedy replies, KL, loss on prose. Loads it with PEFT.

Everything is greedy and in the model's own chat format, in batches padded on the left.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch.nn import functional

from corpora.llama2 import encode_prompt
from sessions.engine.base import LoadedBase, load_base
from sessions.paths import Paths, write_atomic
from sessions.settings import Settings

REPLY_TOKENS = 48
BATCH_TOKENS, SCORED_TOKENS = 4096, 1024
"""Tokens of a batch, padding and replies included: of one that generates, and of one whose logits are all kept."""
WINDOW = 256


@dataclass(slots=True)
class Measured:
    """A base model, and for a while one adapter on it. What the base replies is computed once and kept in a file."""

    base: LoadedBase
    file: Path
    _model: Any = None
    _known: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def load(cls, model: str, paths: Paths) -> Measured:
        """Load a base as the chat does."""
        base = load_base(model, paths, Settings(quantization="nf4"), lambda *_: None)
        # Without this, the last position of a whole batch is multiplied with a copy of the matrix for each row.
        base.model.get_output_embeddings().register_forward_pre_hook(lambda _, given: (given[0].contiguous(),))
        file = paths.cache / "learning" / f"{base.digest[:32]}-torch-{torch.__version__}.json"
        return cls(base, file, _known=json.loads(file.read_text("utf-8")) if file.exists() else {})

    @contextmanager
    def version(self, folder: Path) -> Iterator[None]:
        """Measure the version in a PEFT folder; outside, and with `base=True`, the base is measured."""
        self._model = PeftModel.from_pretrained(self.base.model, str(folder)).eval()
        try:
            yield
        finally:
            self.base.model = self._model.unload()
            self._model = None

    def replies(self, prompts: Sequence[str], tokens: int = REPLY_TOKENS, *, base: bool = False) -> list[str]:
        """Return a greedy reply of at most `tokens` tokens to each prompt."""
        return [self._text(ids) for ids in self.reply_ids(prompts, tokens, base=base)]

    def reply_ids(self, prompts: Sequence[str], tokens: int = REPLY_TOKENS, *, base: bool = False) -> list[list[int]]:
        """Return the ids of greedy replies, the end of a reply included where it came."""
        if not base:
            return self._generate(prompts, tokens, base=False)
        keys = [f"{tokens} {prompt}" for prompt in prompts]
        missing = [index for index, key in enumerate(keys) if key not in self._known]
        if missing:
            made = self._generate([prompts[index] for index in missing], tokens, base=True)
            self._remember({keys[index]: ids for index, ids in zip(missing, made, strict=True)})
        return [self._known[key] for key in keys]

    def kl(self, prompts: Sequence[str], tokens: int = REPLY_TOKENS) -> float:
        """Return KL(base ‖ version) in nats per token, the mean over the tokens of the base's greedy replies."""
        replies = self.reply_ids(prompts, tokens, base=True)
        asked = [self._asked(prompt) for prompt in prompts]
        total, count = 0.0, 0
        for part in _batches([len(one) + len(other) for one, other in zip(asked, replies, strict=True)], SCORED_TOKENS):
            ids, mask = _padded([asked[index] + replies[index] for index in part])
            wanted = torch.zeros_like(mask, dtype=torch.bool)
            for row, index in enumerate(part):
                wanted[row, -len(replies[index]) - 1 : -1] = True
            before, after = (self._log_probabilities(ids, mask, wanted, base=which) for which in (True, False))
            total += float((before.exp() * (before - after)).sum())
            count += int(wanted.sum())
        return total / count

    def text_loss(self, texts: Sequence[str], *, base: bool = False) -> float:
        """Return the mean loss per token, in nats, on texts that are read as one stream."""
        if not base:
            return self._text_loss(texts, base=False)
        key = f"loss {hashlib.sha256(repr(texts).encode()).hexdigest()}"
        if key not in self._known:
            self._remember({key: self._text_loss(texts, base=True)})
        return float(self._known[key])

    def _remember(self, found: dict[str, Any]) -> None:
        self._known |= found
        write_atomic(self.file, json.dumps(self._known).encode())

    # the model

    def _text_loss(self, texts: Sequence[str], base: bool) -> float:
        stream: list[int] = self.base.words.backend.encode("\n\n".join(texts), add_special_tokens=False).ids
        windows = [stream[start : start + WINDOW] for start in range(0, len(stream), WINDOW)]
        total, count = 0.0, 0
        for part in _batches([len(window) for window in windows], SCORED_TOKENS):
            ids, mask = _padded([windows[index] for index in part])
            wanted = mask[:, :-1].bool()
            found = self._log_probabilities(ids, mask, functional.pad(wanted, (0, 1)), base=base)
            total -= float(found.gather(1, ids[:, 1:][wanted][:, None]).sum())
            count += int(wanted.sum())
        return total / count

    @torch.inference_mode()
    def _generate(self, prompts: Sequence[str], tokens: int, *, base: bool) -> list[list[int]]:
        asked = [self._asked(prompt) for prompt in prompts]
        found: list[list[int]] = [[] for _ in prompts]
        words = self.base.words
        for part in _batches([len(one) + tokens for one in asked], BATCH_TOKENS):
            ids, mask = _padded([asked[index] for index in part])
            with self._side(base) as model:
                made = model.generate(
                    input_ids=ids.to(self.base.device),
                    attention_mask=mask.to(self.base.device),
                    do_sample=False,
                    max_new_tokens=tokens,
                    eos_token_id=sorted(words.ends),
                    pad_token_id=words.vocabulary.eos_id,
                )
            for row, index in enumerate(part):
                found[index] = self._ended(made[row, ids.shape[1] :].tolist())
        return found

    @torch.inference_mode()
    def _log_probabilities(
        self, ids: torch.Tensor, mask: torch.Tensor, wanted: torch.Tensor, *, base: bool
    ) -> torch.Tensor:
        """Return the log-probabilities at the wanted positions, in float32."""
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        device = self.base.device
        with self._side(base) as model:
            logits = model(
                input_ids=ids.to(device),
                attention_mask=mask.to(device),
                position_ids=positions.to(device),
                use_cache=False,
            ).logits
        return functional.log_softmax(logits[wanted.to(device)].float(), dim=-1).cpu()

    @contextmanager
    def _side(self, base: bool) -> Iterator[Any]:
        """Give the version, or the base with the adapter off."""
        if self._model is None:
            yield self.base.model.eval()
            return
        with self._model.disable_adapter() if base else nullcontext():
            yield self._model

    def _asked(self, prompt: str) -> list[int]:
        return encode_prompt([{"role": "user", "content": prompt}], self.base.words.vocabulary)

    def _ended(self, ids: list[int]) -> list[int]:
        ends = (place for place, token in enumerate(ids) if token in self.base.words.ends)
        return ids[: next(ends, len(ids) - 1) + 1]

    def _text(self, ids: Sequence[int]) -> str:
        words = self.base.words
        return words.vocabulary.decode([token for token in ids if token not in words.special]).strip()


def _batches(lengths: Sequence[int], tokens: int) -> Iterator[list[int]]:
    """Give the places of rows by length, as many at once as fill so many tokens with padding."""
    waiting: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda place: lengths[place]):
        if waiting and (len(waiting) + 1) * lengths[index] > tokens:
            yield waiting
            waiting = []
        waiting.append(index)
    if waiting:
        yield waiting


def _padded(rows: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ids padded on the left, and the mask."""
    width = max(map(len, rows))
    ids = torch.tensor([[0] * (width - len(row)) + list(row) for row in rows])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
    return ids, mask
