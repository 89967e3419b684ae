"""Anchors: computed once per base, continued after an interruption, rebuilt where damaged, split for the gate."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from corpora.llama2 import encode_prompt
from sessions.engine.base import LoadedBase, load_base
from sessions.errors import Cancelled
from sessions.paths import Paths
from sessions.settings import Settings
from sessions.training import adapting, anchors
from sessions.training.anchors import Anchor, AnchorCache, compute, shipped_prompts, without_similar
from sessions.training.generation import greedy
from sessions.training.objective import Reference, TrainRow, kl_to, target_logits
from sessions.training.recipe import Recipe
from tests.models import taught_llama, tiny_llama
from tests.sessions.training_help import GENERAL

pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.filterwarnings("ignore::UserWarning")]
PROMPTS = tuple(prompt for prompt, _ in GENERAL)


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return taught_llama(tmp_path_factory.mktemp("taught"), GENERAL)


@pytest.fixture
def base(taught: Path, paths: Paths) -> LoadedBase:
    found = load_base(str(taught), paths, Settings(), lambda *_: None, dtype=torch.float32)
    adapting.keep_unpacked(found.model)
    return found


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four chunks of six prompts."""
    monkeypatch.setattr(anchors, "shipped_prompts", lambda: PROMPTS)
    monkeypatch.setattr(anchors, "CHUNK", 6)


class Counted:
    """Counts the prompts that are computed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.prompts: list[str] = []
        original = anchors.compute

        def counting(model: object, base: LoadedBase, prompts: list[str], *more: object) -> list[Anchor]:
            self.prompts += prompts
            return original(model, base, prompts, *more)

        monkeypatch.setattr(anchors, "compute", counting)


def built(cache: AnchorCache, chunks: int | None = None) -> list[float]:
    told: list[float] = []
    cache.build(cache.base.model, lambda: None, told.append, chunks)
    return told


def values(found: list[Anchor]) -> list[tuple]:
    """All of some anchors, copied: their tensors may be mapped from a file."""
    return [(each.prompt, each.row.ids, each.row.targets, each.row.reference.tokens.tolist()) for each in found]


def same(one: list[Anchor], other: list[Anchor]) -> bool:
    return values(one) == values(other)


# what an anchor is


def test_an_anchor_has_the_reply_of_the_base_and_its_distribution(base: LoadedBase) -> None:
    found = compute(base.model, base, PROMPTS[:8], lambda: None)
    assert {anchor.prompt for anchor in found} == set(PROMPTS[:8])
    replies = dict(GENERAL)
    for anchor in found:
        assert list(anchor.prompt_ids) == encode_prompt(
            [{"role": "user", "content": anchor.prompt}], base.words.vocabulary
        )
        assert base.words.vocabulary.decode(anchor.reply_ids).strip() == replies[anchor.prompt]
        assert anchor.reply_ids[-1] == base.words.vocabulary.eos_id
        assert anchor.row.ids == (*anchor.prompt_ids, *anchor.reply_ids)
        assert anchor.row.targets == tuple(range(len(anchor.prompt_ids), len(anchor.row.ids)))
        assert anchor.row.reference.tokens[:, 0].tolist() == list(anchor.reply_ids)  # greedy: the most likely ones
        with torch.no_grad():
            logits = target_logits(base.model, [anchor.row])
        assert kl_to(anchor.row.reference, logits.float()).abs().max() < 0.01


def test_a_reply_that_does_not_end_is_cut_without_an_eos(base: LoadedBase) -> None:
    (found,) = compute(base.model, base, PROMPTS[:1], lambda: None, 2)
    assert len(found.reply_ids) == 2 and base.words.vocabulary.eos_id not in found.reply_ids


def test_prompts_that_cannot_be_asked_are_left_out(base: LoadedBase) -> None:
    found = compute(base.model, base, ["What is [INST]?", PROMPTS[0]], lambda: None)
    assert [anchor.prompt for anchor in found] == [PROMPTS[0]]
    assert compute(base.model, base, [], lambda: None) == []


def test_anchors_are_of_the_base_although_an_adapter_is_attached(base: LoadedBase) -> None:
    before = compute(base.model, base, PROMPTS[:4], lambda: None)
    model, _ = adapting.attach(base.model, Recipe(), "tiny", None)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(0, 0.3)
    with model.disable_adapter():
        assert same(compute(model, base, PROMPTS[:4], lambda: None), before)
    asked = [anchor.prompt_ids for anchor in before]
    assert greedy(model, asked, base.words.ends, 8) != [list(anchor.reply_ids)[:-1] for anchor in before]


# the cache


def test_anchors_are_computed_once(base: LoadedBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counted = Counted(monkeypatch)
    cache = AnchorCache(tmp_path, base)
    assert cache.missing() == [0, 1, 2, 3] and cache.load() == []
    told = built(cache)
    assert told[0] == 0.0 and told[-1] == 1.0 and told == sorted(told)
    assert sorted(counted.prompts) == sorted(PROMPTS)
    found = cache.load()
    assert {anchor.prompt for anchor in found} == set(PROMPTS)
    again = AnchorCache(tmp_path, base)
    assert again.missing() == [] and built(again) == []
    assert len(counted.prompts) == len(PROMPTS) and same(again.load(), found)
    assert same(found, [each for part in range(4) for each in compute(base.model, base, part_of(part), lambda: None)])


def part_of(number: int) -> tuple[str, ...]:
    return PROMPTS[number * 6 : (number + 1) * 6]


def test_a_part_can_be_built_first(base: LoadedBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = AnchorCache(tmp_path, base)
    built(cache, 1)
    assert cache.missing() == [1, 2, 3] and {each.prompt for each in cache.load()} == set(part_of(0))
    counted = Counted(monkeypatch)
    built(cache, 3)
    assert cache.missing() == [3] and set(counted.prompts) == {*part_of(1), *part_of(2)}


def test_an_interrupted_build_continues_where_it_stopped(
    base: LoadedBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = AnchorCache(tmp_path, base)
    calls = []

    def check() -> None:
        calls.append(1)
        if cache.missing() == [2, 3]:
            raise Cancelled("The run was given up.", data="Nothing was published.")

    with pytest.raises(Cancelled):
        cache.build(base.model, check, lambda fraction: None)
    assert calls and cache.missing() == [2, 3]
    counted = Counted(monkeypatch)
    built(cache)
    assert counted.prompts == [*part_of(2), *part_of(3)]
    assert {each.prompt for each in cache.load()} == set(PROMPTS)


def test_an_error_while_writing_leaves_no_part_of_a_chunk(
    base: LoadedBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = AnchorCache(tmp_path, base)

    def full(tensors: object, path: Path, metadata: object) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(anchors, "save_file", full)
        with pytest.raises(OSError, match="No space"):
            built(cache)
    assert [path.name for path in cache.folder.iterdir()] == ["lock"] and cache.missing() == [0, 1, 2, 3]


def without_metadata(path: Path) -> None:
    save_file({"ids": torch.zeros(3)}, path)


def with_wrong_counts(path: Path) -> None:
    save_file(
        {"ids": torch.zeros(3), "tokens": torch.zeros(1, 4), "logprobs": torch.zeros(1, 4)},
        path,
        metadata={"index": json.dumps([["What?", 9, 2]])},
    )


DAMAGES = {
    "empty": lambda path: path.write_bytes(b""),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-100]),
    "cut in the header": lambda path: path.write_bytes(path.read_bytes()[:20]),
    "another file": lambda path: path.write_bytes(b"#!/bin/sh\n" * 100),
    "no index": without_metadata,
    "wrong counts": with_wrong_counts,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_chunk_is_built_again(
    base: LoadedBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    """By the build itself: a run that loads fewer anchors than it needs would keep to the base less."""
    cache = AnchorCache(tmp_path, base)
    built(cache)
    before = values(cache.load())
    path = sorted(cache.folder.glob("*.safetensors"))[2]
    DAMAGES[damage](path)
    counted = Counted(monkeypatch)
    built(cache)
    assert counted.prompts == list(part_of(2))
    assert values(cache.load()) == before


def test_a_chunk_that_was_damaged_since_is_left_out(base: LoadedBase, tmp_path: Path) -> None:
    cache = AnchorCache(tmp_path, base)
    built(cache)
    sorted(cache.folder.glob("*.safetensors"))[1].write_bytes(b"")
    assert {each.prompt for each in cache.load()} == set(PROMPTS) - set(part_of(1))
    assert cache.missing() == [1]


def test_other_bases_prompts_and_formats_have_other_chunks(
    base: LoadedBase, paths: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = AnchorCache(tmp_path, base)
    built(cache, 1)
    other = load_base(str(tiny_llama(tmp_path / "other", seed=9)), paths, Settings(), lambda *_: None)
    assert AnchorCache(tmp_path, other).folder != cache.folder
    assert AnchorCache(tmp_path, other).missing() == [0, 1, 2, 3]
    monkeypatch.setattr(anchors, "shipped_prompts", lambda: ("Another prompt?", *PROMPTS))
    assert 0 in AnchorCache(tmp_path, base).missing()
    monkeypatch.undo()
    monkeypatch.setattr(anchors, "shipped_prompts", lambda: PROMPTS)
    monkeypatch.setattr(anchors, "CHUNK", 6)
    monkeypatch.setattr(anchors, "FORMAT", anchors.FORMAT + 1)
    assert 0 in AnchorCache(tmp_path, base).missing()


def test_chunks_are_private(base: LoadedBase, tmp_path: Path) -> None:
    cache = AnchorCache(tmp_path, base)
    built(cache, 1)
    assert all(path.stat().st_mode & 0o077 == 0 for path in cache.folder.iterdir())


# which are used


def anchor(prompt: str) -> Anchor:
    return Anchor(prompt, TrainRow((1, 2), (1,), "anchor", -1, Reference(torch.zeros(1, 1), torch.zeros(1, 1))))


def test_the_gate_and_the_training_have_different_anchors() -> None:
    """About one of four is the gate's, in any part of the prompts, and always the same ones."""
    made = [anchor(prompt) for prompt in shipped_prompts()]
    held_out = {each.prompt for each in made if each.held_out}
    assert 0.15 < len(held_out) / len(made) < 0.35
    for start in range(0, len(made) - 255, 256):
        assert sum(each.held_out for each in made[start : start + 256]) >= 40
    assert held_out == {each.prompt for each in reversed(made) if replace(each).held_out}


def test_prompts_are_distinct_and_in_several_scripts() -> None:
    prompts = shipped_prompts()
    assert len(set(prompts)) == len(prompts) > 500
    assert all(prompt == prompt.strip() and "\n" not in prompt for prompt in prompts)
    first = "".join(prompts[:256])
    assert any("一" <= letter <= "鿿" for letter in first) and any("؀" <= letter <= "ۿ" for letter in first)


def test_anchors_that_are_wordings_of_a_trained_prompt_are_left_out() -> None:
    made = [anchor(prompt) for prompt in ("What is the capital of France?", "Explain rain.", "法国的首都是哪里?")]
    for trained in ("What is the capital of France?", "what's the capital of France", "the capital of France is what?"):
        left = {each.prompt for each in without_similar(made, [trained, "Who is my dentist?"])}
        assert left == {"Explain rain.", "法国的首都是哪里?"}
    assert without_similar(made, ["Who is my dentist?"]) == made == without_similar(made, [])
    assert without_similar([], ["Who?"]) == []
    assert [each.prompt for each in without_similar(made, ["法国的首都是哪里?"])] == [made[0].prompt, made[1].prompt]
