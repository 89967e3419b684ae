"""The registry: whole or absent, versions and their tree, remove, rename, import and export."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from sessions.adapter_folder import CONFIG, WEIGHTS
from sessions.errors import AdapterDamaged, AdapterError, AdapterNotFound, UsageError
from sessions.paths import Paths
from sessions.registry import Lineage, Registry
from sessions.training.report import GateReport, Tally


def fill(folder: Path, value: float = 1.0, rank: int = 4) -> Path:
    """A PEFT folder with one small matrix."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file({"layer.lora_A.weight": np.full((rank, 8), value, np.float32)}, folder / WEIGHTS)
    config = {"peft_type": "LORA", "r": rank, "lora_alpha": 8, "base_model_name_or_path": "org/model"}
    (folder / CONFIG).write_text(json.dumps(config))
    return folder


CONTENT = itertools.count(1.0)


def publish(registry: Registry, name: str = "mine", parent: str = "base", seen: tuple[str, ...] = (), **more) -> str:
    """A version with content of its own."""
    lineage = Lineage(adapter=name, version=0, parent=parent, base_model="org/model", seen=seen, **more)
    return registry.publish(fill(registry.stage(name), value=next(CONTENT)), lineage)


FAILED = GateReport(passed=False, general=Tally(70, 100), reasons=("The old rows | got worse.",))
PASSED = GateReport(passed=True, new=Tally(5, 5), general=Tally(100, 100))


@pytest.fixture
def registry(paths: Paths) -> Registry:
    return Registry(paths)


def test_versions_count_up_and_none_is_in_use(registry: Registry) -> None:
    assert [publish(registry), publish(registry), publish(registry, "other")] == ["mine/v1", "mine/v2", "other/v1"]
    assert registry.names() == ["mine", "other"]
    assert [lineage.address for lineage in registry.all()] == ["mine/v1", "mine/v2", "other/v1"]
    assert registry.current("mine") == registry.current("nobody") == "base"


def test_a_version_has_its_files_private_and_a_card(registry: Registry) -> None:
    folder = registry.folder(publish(registry, gate=FAILED, held_out=1.5))
    assert {path.name for path in folder.iterdir()} == {CONFIG, WEIGHTS, "lineage.json", "README.md"}
    assert folder.stat().st_mode & 0o777 == 0o700
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in folder.iterdir())
    card = (folder / "README.md").read_text()
    assert 'base_model: "org/model"' in card and "1.5000" in card and "rows \\| got" in card
    assert "| gate | failed |" in card and "70 of 100 general replies unchanged" in card


def test_names_of_one_version(registry: Registry) -> None:
    publish(registry), publish(registry)
    registry.use("mine/v2")
    assert {registry.resolve(one) for one in ("mine", "mine/v2", "mine@v2", "mine@2")} == {"mine/v2"}
    assert registry.resolve("base") == "base"
    for unknown in ("mine/v3", "other"):
        with pytest.raises(AdapterNotFound, match="There are"):
            registry.resolve(unknown)
    for wrong in ("../etc", "", ".hidden", "mine/../x"):
        with pytest.raises(UsageError):
            registry.resolve(wrong)


def test_base_is_no_name(registry: Registry) -> None:
    with pytest.raises(UsageError):
        registry.stage("base")


def test_seen_goes_over_all_ancestors_also_removed_ones(registry: Registry) -> None:
    publish(registry, seen=("a",)), publish(registry, parent="mine/v1", seen=("b",))
    publish(registry, parent="mine/v2", seen=("c",)), publish(registry, "other", seen=("d",))
    registry.use("mine/v3")
    registry.remove("mine@2")
    assert registry.seen("mine/v3") == {"a", "b", "c"}
    assert registry.seen("mine/v1") == {"a"}
    assert registry.seen("base") == set()


def test_a_number_is_never_given_twice(registry: Registry) -> None:
    publish(registry), publish(registry)
    registry.remove("mine/v2")
    assert publish(registry) == "mine/v3"
    registry.remove("mine")
    assert registry.names() == []
    assert publish(registry) == "mine/v4"
    assert registry.current("mine") == "base"


@pytest.mark.parametrize("harm", [b"", b"{}", b"\xff"])
def test_the_number_of_a_damaged_version_is_not_given_again(registry: Registry, harm: bytes) -> None:
    publish(registry), publish(registry)
    (registry.paths.adapter("mine", 2) / "lineage.json").write_bytes(harm)
    registry.remove("mine/v2")
    assert publish(registry) == "mine/v3"


def test_the_version_in_use_is_not_removed(registry: Registry) -> None:
    publish(registry)
    registry.use("mine/v1")
    with pytest.raises(AdapterError, match="in use"):
        registry.remove("mine/v1")
    assert registry.current("mine") == "mine/v1"


def test_tree(registry: Registry) -> None:
    publish(registry), publish(registry, parent="mine/v1"), publish(registry)
    publish(registry, "other", parent="mine/v2")
    registry.use("mine/v1"), registry.use("other/v1")
    lines = [(branch.depth, branch.lineage.address, branch.current) for branch in registry.tree()]
    assert lines == [
        (0, "mine/v1", True),
        (1, "mine/v2", False),
        (2, "other/v1", True),
        (0, "mine/v3", False),
    ]


def test_rename_keeps_parents(registry: Registry) -> None:
    publish(registry, seen=("a",)), publish(registry, parent="mine/v1", seen=("b",))
    publish(registry, "other", parent="mine/v2", seen=("c",))
    registry.rename("mine", "ours")
    assert registry.names() == ["other", "ours"]
    assert (registry.lineage("ours/v2").parent, registry.lineage("other/v1").parent) == ("ours/v1", "ours/v2")
    assert registry.seen("other/v1") == {"a", "b", "c"}
    with pytest.raises(UsageError, match="already"):
        registry.rename("ours", "other")
    registry.remove("other")
    with pytest.raises(UsageError, match="removed"):
        registry.rename("ours", "other")


def test_a_new_version_under_an_old_name_is_no_parent(registry: Registry) -> None:
    publish(registry, seen=("a",)), publish(registry, parent="mine/v1", seen=("b",))
    registry.rename("mine", "ours")
    assert publish(registry, seen=("z",)) == "mine/v1"
    assert registry.lineage("ours/v2").parent == "ours/v1" and registry.seen("ours/v2") == {"a", "b"}
    registry.remove("ours/v1")
    assert registry.lineage("ours/v2").parent == "ours/v1 (removed)" and registry.seen("ours/v2") == {"a", "b"}
    assert [(branch.depth, branch.lineage.address) for branch in registry.tree()] == [(0, "mine/v1"), (0, "ours/v2")]


def test_versions_with_the_same_content_are_one_identity(registry: Registry, tmp_path: Path) -> None:
    folder = fill(tmp_path / "given", value=next(CONTENT))
    assert registry.import_folder(folder, "one") == registry.import_folder(folder, "one") == "one/v1"
    assert registry.import_folder(folder, "two") == "two/v1"
    assert registry.identity("one/v1") == registry.identity("two/v1")
    registry.use("two/v1")
    assert registry.current("two") == "two/v1" and registry.current("one") == "base"
    publish(registry, "two", parent="two/v1")
    assert len(registry.tree()) == 3


def test_an_identity_leads_to_where_the_version_is(registry: Registry) -> None:
    identity = registry.identity(publish(registry))
    assert registry.address("base") == registry.identity("base") == "base"
    registry.rename("mine", "ours")
    assert registry.address(identity) == "ours/v1"
    registry.remove("ours")
    with pytest.raises(AdapterNotFound, match=r"ours/v1 was removed"):
        registry.address(identity)
    with pytest.raises(AdapterNotFound, match="not in this data home"):
        registry.address("f" * 64)


@pytest.mark.parametrize("harm", ["cut", "no weights", "no config", "bad config", "no lineage", "not ours", "header"])
def test_damage_is_told_and_never_listed(registry: Registry, harm: str) -> None:
    publish(registry), publish(registry)
    folder = registry.paths.adapter("mine", 2)
    weights = (folder / WEIGHTS).read_bytes()
    match harm:
        case "cut":
            (folder / WEIGHTS).write_bytes(weights[:-3])
        case "no weights":
            (folder / WEIGHTS).rename(folder / "adapter_model.bin")
        case "no config":
            (folder / CONFIG).unlink()
        case "bad config":
            (folder / CONFIG).write_text("[" * 100_000)
        case "no lineage":
            (folder / "lineage.json").unlink()
        case "not ours":
            (folder / CONFIG).write_text('{"peft_type": "LOHA"}')
        case "header":
            (folder / WEIGHTS).write_bytes(b"\xff" * 8 + weights[8:])
    assert [lineage.version for lineage in registry.versions("mine")] == [1]
    assert len(registry.damaged("mine")) == 1
    with pytest.raises(AdapterDamaged):
        registry.folder("mine/v2")
    assert publish(registry) == "mine/v3"


def test_a_changed_byte_is_noticed_by_the_digest(registry: Registry) -> None:
    folder = registry.folder(publish(registry))
    weights = bytearray((folder / WEIGHTS).read_bytes())
    assert registry.verified("mine/v1") == folder
    weights[-1] ^= 1
    (folder / WEIGHTS).write_bytes(weights)
    assert registry.folder("mine/v1") == folder
    with pytest.raises(AdapterDamaged, match="not what was published"):
        registry.verified("mine/v1")


def test_an_unfinished_folder_is_not_published(registry: Registry) -> None:
    staged = registry.stage("mine")
    with pytest.raises(AdapterDamaged):
        registry.publish(staged, Lineage(adapter="mine", version=0, parent="base", base_model=""))
    assert registry.names() == []


def test_a_number_taken_meanwhile_is_not_overwritten(registry: Registry) -> None:
    lineage = Lineage(adapter="mine", version=0, parent="base", base_model="m")
    staged = fill(registry.stage("mine"))
    publish(registry)
    assert not registry._put(staged, Lineage(adapter="mine", version=1, parent="base", base_model="m"))
    assert registry.publish(staged, lineage) == "mine/v2"


def test_export_and_import_give_the_same_content(registry: Registry, tmp_path: Path) -> None:
    publish(registry, seen=("a", "b"), held_out=2.0, gate=FAILED)
    out = registry.export("mine/v1", tmp_path / "out" / "mine-v1")
    address = registry.import_folder(out, "again")
    first, second = registry.lineage("mine/v1"), registry.lineage(address)
    assert (second.digest, second.seen, second.parent) == (first.digest, first.seen, "base")
    assert second.gate == FAILED and second.accepted == 0
    with pytest.raises(UsageError):
        registry.export("mine/v1", out)


def test_the_result_of_the_gate_does_not_come_with_other_content(registry: Registry, tmp_path: Path) -> None:
    publish(registry, gate=PASSED, rows=7)
    out = registry.export("mine/v1", tmp_path / "out")
    fill(out, value=next(CONTENT))
    lineage = registry.lineage(registry.import_folder(out, "again"))
    assert (lineage.checked, lineage.rows) == ("not checked", 7)


def test_import_of_another_programs_folder(registry: Registry, tmp_path: Path) -> None:
    lineage = registry.lineage(registry.import_folder(fill(tmp_path / "foreign", rank=8), "foreign"))
    assert (lineage.rank, lineage.base_model, lineage.seen) == (8, "org/model", ())
    (tmp_path / "foreign" / WEIGHTS).rename(tmp_path / "foreign" / "adapter_model.bin")
    with pytest.raises(AdapterDamaged, match="pickle"):
        registry.import_folder(tmp_path / "foreign", "foreign")


@given(st.binary(max_size=200))
def test_any_bytes_as_weights_are_refused_or_whole(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    from sessions import adapter_folder

    folder = fill(tmp_path_factory.mktemp("any"))
    (folder / WEIGHTS).write_bytes(content)
    with pytest.raises(AdapterDamaged):
        adapter_folder.check(folder)
