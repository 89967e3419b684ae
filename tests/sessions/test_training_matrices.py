"""The trained matrices: in float32, saved as they are, scaled, never saved where they are not finite."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sessions.engine.base import LoadedBase
from sessions.errors import AdapterMismatch, RunDiverged, SettingsError
from sessions.paths import Paths
from sessions.training import adapting, schedule
from sessions.training.control import Control
from sessions.training.mixture import Lesson, Mixture
from sessions.training.recipe import Recipe
from sessions.training.trainer import Trainer, Watch
from tests.models import tiny_llama
from tests.sessions.training_help import adapted, loaded, rows_of

pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.filterwarnings("ignore::UserWarning")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("model"))


@pytest.fixture
def base(folder: Path, paths: Paths) -> LoadedBase:
    return loaded(folder, paths)


def trained(base: LoadedBase, folder: Path, recipe: Recipe, rate: float) -> tuple[dict, dict]:
    """Matrices before and after a short training."""
    made = trainer(base, folder, recipe, rate)
    before = adapting.matrices(made.model)
    made.train()
    return before, adapting.matrices(made.model)


def trainer(base: LoadedBase, folder: Path, recipe: Recipe, rate: float, control: Control | None = None) -> Trainer:
    rows = rows_of(base)
    model, _ = adapting.attach(base.model, recipe, "tiny", None)
    plan = schedule.plan(len(rows), 64, recipe)
    mixture = Mixture([Lesson(row) for row in rows], [], (), [], plan.portions, 0)
    return Trainer(model, mixture, recipe, plan, rate, Watch(folder, control or Control(folder), lambda event: None))


def test_small_learning_rates_move_the_matrices(base: LoadedBase, tmp_path: Path) -> None:
    """Where bf16 matrices would stay as they are: an update of 1e-6 on weights of 0.1."""
    before, after = trained(base, tmp_path, Recipe(max_steps=3), 1e-6)
    moved = torch.cat([(after[name] - before[name]).flatten() for name in before if "lora_A" in name])
    in_bf16 = torch.cat(
        [(after[name].bfloat16() - before[name].bfloat16()).flatten() for name in before if "lora_A" in name]
    )
    assert (moved != 0).float().mean() > 0.5
    assert (in_bf16 != 0).float().mean() < 0.2


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_matrices_gradients_and_moments_are_in_float32(
    folder: Path, paths: Paths, tmp_path: Path, dtype: torch.dtype
) -> None:
    made = trainer(loaded(folder, paths, dtype), tmp_path, Recipe(max_steps=1), 1e-3)
    made.train()
    assert made.parameters and all(one.dtype == torch.float32 for one in made.parameters)
    moments = [value for state in made.optimizer.state.values() for value in state.values()]
    assert moments and all(value.dtype == torch.float32 for value in moments)


def test_the_base_is_not_changed_by_training(base: LoadedBase, tmp_path: Path) -> None:
    before = base.arena.chunks()
    trained(base, tmp_path, Recipe(max_steps=2), 1e-2)
    assert base.arena.chunks() == before


def test_a_paged_optimizer_without_a_gpu_is_refused(base: LoadedBase, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="GPU"):
        trainer(base, tmp_path, Recipe(optimizer="paged_adamw_8bit"), 1e-3)


def test_matrices_are_saved_and_put_back_as_they_are(base: LoadedBase, tmp_path: Path) -> None:
    model, _ = adapting.attach(base.model, Recipe(), "tiny", None)
    own = {name: torch.randn_like(value) for name, value in adapting.matrices(model).items()}
    adapting.put_back(model, own)
    adapting.save(model, tmp_path / "saved")
    assert all(torch.equal(own[name], value) for name, value in adapting.read(tmp_path / "saved").items())
    with adapting.holding(model, {name: value + 1 for name, value in own.items()}):
        assert torch.equal(adapting.matrices(model)[min(own)], own[min(own)] + 1)
    assert torch.equal(adapting.matrices(model)[min(own)], own[min(own)])
    with pytest.raises(AdapterMismatch):
        adapting.put_back(model, {name: value[:2] for name, value in own.items()})


@pytest.mark.parametrize("strength", [0.0, 0.5, 0.85])
def test_scaled_matrices_have_that_share_of_the_effect(base: LoadedBase, strength: float) -> None:
    model = adapted(base)
    layer = next(module for module in model.modules() if hasattr(module, "lora_A"))
    x = torch.randn(3, layer.in_features)
    with torch.no_grad():
        plain, whole = layer.base_layer(x), layer(x)
        adapting.put_back(model, adapting.scaled(adapting.matrices(model), strength))
        assert torch.allclose(layer(x) - plain, strength * (whole - plain), atol=1e-4)


def test_rounded_matrices_are_those_that_are_saved(base: LoadedBase, tmp_path: Path) -> None:
    model = adapted(base)
    adapting.round_to(model, torch.bfloat16)
    own = adapting.matrices(model)
    adapting.save(model, tmp_path / "saved", torch.bfloat16)
    assert all(torch.equal(own[name], value) for name, value in adapting.read(tmp_path / "saved").items())


def test_peft_opens_what_is_saved(base: LoadedBase, folder: Path, tmp_path: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model, _ = adapting.attach(base.model, Recipe(), "demo", None)
    own = {name: torch.randn_like(value) for name, value in adapting.matrices(model).items()}
    adapting.put_back(model, own)
    adapting.save(model, tmp_path / "saved")
    opened = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(folder), tmp_path / "saved")
    assert opened.peft_config["default"].base_model_name_or_path == "demo"
    found = {name: value for name, value in opened.state_dict().items() if "lora_" in name}
    assert len(found) == len(own)
    assert all(torch.equal(own[name.replace(".default", "")], value) for name, value in found.items())


def test_matrices_that_are_not_finite_are_not_written(base: LoadedBase, tmp_path: Path) -> None:
    model, _ = adapting.attach(base.model, Recipe(), "tiny", None)
    next(one for one in model.parameters() if one.requires_grad).data[0, 0] = float("inf")
    with pytest.raises(RunDiverged):
        adapting.save(model, tmp_path / "saved")
    assert not (tmp_path / "saved").exists()


class Counting(Control):
    """Counts how often the chat could have gone first."""

    ways = 0

    def give_way(self) -> None:
        self.ways += 1
        super().give_way()


def test_the_chat_can_go_first_between_layers_forward_and_backward(base: LoadedBase, tmp_path: Path) -> None:
    control = Counting(tmp_path)
    made = trainer(base, tmp_path, Recipe(max_steps=1, batch_size=1), 1e-3, control)
    made.train()
    assert control.ways == 1 + 2 * base.model.config.num_hidden_layers
