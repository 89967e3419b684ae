"""Nothing is used that the person has not accepted: not by being first, by a restart, a rename or a removal."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from sessions.adapter_folder import WEIGHTS, checksum
from sessions.errors import AdapterDamaged, AdapterError, AdapterNotFound, GateFailed, UsageError
from sessions.paths import Paths
from sessions.registry import Registry
from sessions.settings import Settings, load
from sessions.training import events
from sessions.workspace import Workspace
from tests.sessions.test_registry import FAILED, PASSED, publish
from tests.tui import worlds


@pytest.fixture
def registry(paths: Paths) -> Registry:
    return Registry(paths)


@pytest.fixture
def workspace(paths: Paths) -> Workspace:
    return Workspace(paths, Settings())


def wreck(paths: Paths, address: str) -> None:
    """Change one byte of the weights, as a bad disk does."""
    name, _, version = address.partition("/v")
    file = paths.adapter(name, int(version)) / WEIGHTS
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def test_publishing_accepts_nothing(registry: Registry) -> None:
    for gate in (None, PASSED, FAILED):
        publish(registry, gate=gate)
        assert registry.current("mine") == "base"
    with pytest.raises(AdapterNotFound, match="No version of mine is in use"):
        registry.resolve("mine")


def test_what_was_accepted_stays_so(registry: Registry, paths: Paths) -> None:
    publish(registry), publish(registry, parent="mine/v1")
    assert registry.use("mine/v2") == "mine/v2" == Registry(paths).current("mine")
    publish(registry, parent="mine/v2")
    assert registry.current("mine") == "mine/v2"
    registry.rename("mine", "ours")
    assert registry.current("ours") == "ours/v2" and registry.current("mine") == "base"
    publish(registry)
    assert registry.current("mine") == "base" and registry.current("ours") == "ours/v2"
    registry.remove("ours")
    publish(registry, "ours")
    assert registry.current("ours") == "base"


def test_the_file_holds_the_identity(registry: Registry, paths: Paths) -> None:
    publish(registry)
    registry.use("mine/v1")
    assert (paths.adapters / "mine" / "current").read_text().strip() == registry.lineage("mine/v1").digest


def test_accepting_a_version_of_an_older_program_adds_its_checksum(registry: Registry, paths: Paths) -> None:
    file = paths.adapter("mine", 1) / "lineage.json"
    publish(registry)
    checksum_before = registry.lineage("mine/v1").checksum
    file.write_bytes(msgspec.structs.replace(registry.stored("mine/v1"), checksum="").encoded())
    registry.use("mine/v1")
    assert registry.lineage("mine/v1").checksum == checksum_before


@pytest.mark.parametrize("content", ["v1", "v7", "nonsense", "", "0" * 64])
def test_a_file_that_names_nothing_accepts_nothing(registry: Registry, paths: Paths, content: str) -> None:
    publish(registry)
    (paths.adapters / "mine" / "current").write_text(content)
    assert registry.current("mine") == "base"


def test_rollback_goes_to_what_was_accepted_before(registry: Registry) -> None:
    publish(registry), publish(registry, parent="mine/v1"), publish(registry, parent="mine/v2")
    registry.use("mine/v1"), registry.use("mine/v3")
    assert registry.rollback("mine") == "mine/v1"
    assert registry.rollback("mine") == "base" == registry.current("mine")
    with pytest.raises(AdapterError, match="No version of mine is in use"):
        registry.rollback("mine")


def test_rollback_never_goes_to_what_was_not_accepted(registry: Registry) -> None:
    publish(registry), publish(registry, parent="mine/v1")
    registry.use("mine/v2")
    assert registry.rollback("mine") == "base"


def test_rollback_skips_removed_and_damaged_versions(registry: Registry, paths: Paths) -> None:
    for parent in ("base", "mine/v1", "mine/v2", "mine/v3"):
        registry.use(publish(registry, parent=parent))
    registry.remove("mine/v3")
    (paths.adapter("mine", 2) / WEIGHTS).write_bytes(b"short")
    assert registry.rollback("mine") == "mine/v1"


def test_a_version_that_failed_the_gate_is_used_only_by_force(registry: Registry) -> None:
    publish(registry, gate=PASSED), publish(registry, gate=FAILED)
    registry.use("mine/v1")
    with pytest.raises(GateFailed, match="got worse") as caught:
        registry.use("mine/v2")
    assert caught.value.reasons == FAILED.reasons and registry.current("mine") == "mine/v1"
    registry.use("mine/v2", force=True)
    assert registry.current("mine") == "mine/v2"


def test_a_wrecked_version_cannot_be_accepted(registry: Registry, paths: Paths) -> None:
    wreck(paths, publish(registry))
    with pytest.raises(AdapterDamaged, match="not what was published"):
        registry.use("mine/v1", force=True)
    assert registry.current("mine") == "base"


def test_the_checksum_is_that_of_the_content(registry: Registry, paths: Paths) -> None:
    publish(registry)
    assert registry.lineage("mine/v1").checksum == checksum(paths.adapter("mine", 1))
    wreck(paths, "mine/v1")
    assert registry.lineage("mine/v1").checksum != checksum(paths.adapter("mine", 1))


# offers


def test_a_new_version_is_offered_unless_it_failed(registry: Registry) -> None:
    def offered() -> str | None:
        found = registry.acceptance.offered("mine")
        return found.address if found else None

    publish(registry, gate=FAILED)
    assert offered() is None
    publish(registry, gate=PASSED)
    publish(registry, gate=FAILED)
    assert offered() == "mine/v2"
    assert [branch.state for branch in registry.tree()] == ["", "new", ""]
    registry.rename("mine", "ours")
    assert registry.acceptance.offered("ours").address == "ours/v2"
    registry.use("ours/v2")
    assert registry.acceptance.offered("ours") is None
    registry.rollback("ours")
    assert registry.acceptance.offered("ours") is None


def test_a_removed_version_is_offered_no_more(registry: Registry) -> None:
    publish(registry, gate=PASSED)
    registry.remove("mine/v1")
    publish(registry, gate=FAILED)
    assert registry.acceptance.offered("mine") is None


def test_the_newest_offer_for_the_model_is_made(workspace: Workspace) -> None:
    registry = workspace.registry
    publish(registry, created=1.0), publish(registry, "other", created=2.0)
    assert workspace.offer("org/model").address == "other/v1"
    assert workspace.offer("another") is None


@pytest.mark.parametrize(("gate", "used"), [(PASSED, "mine/v1"), (FAILED, None), (None, None)])
def test_only_what_passed_is_used_unasked(paths: Paths, gate: object, used: str | None) -> None:
    publish(Registry(paths), gate=gate)
    assert Workspace(paths, Settings()).to_use_unasked("org/model") is None
    unasked = Workspace(paths, Settings(auto_use="passed"))
    found = unasked.to_use_unasked("org/model")
    assert (found.address if found else None) == used
    assert unasked.answering(None, "another").adapter == "base" == Registry(paths).current("mine")
    assert unasked.answering(None, "org/model").adapter == (used or "base") == Registry(paths).current("mine")


# the version that a chat starts with


def test_a_chat_starts_with_the_accepted_version(workspace: Workspace) -> None:
    publish(workspace.registry), publish(workspace.registry)
    assert workspace.answering(None, "org/model").adapter == "base"
    workspace.accept("mine/v2")
    assert workspace.answering(None, "org/model").adapter == "mine/v2"
    assert workspace.answering("mine/v1", "org/model").adapter == "mine/v1"
    other = workspace.answering(None, "another")
    assert other.adapter == "base" and "made for org/model" in other.note and other.problem is None
    workspace.accept("base")
    assert workspace.answering(None, "org/model").adapter == "base"


def test_accepting_a_version_makes_its_adapter_the_configured_one(workspace: Workspace, paths: Paths) -> None:
    publish(workspace.registry), publish(workspace.registry, "other")
    workspace.accept("mine/v1")
    assert not paths.config.exists()
    workspace.accept("other/v1")
    again = Workspace(paths, load(paths.config))
    assert again.answering(None, "org/model").adapter == "other/v1"


def test_a_rename_takes_the_setting_along(workspace: Workspace, paths: Paths) -> None:
    publish(workspace.registry)
    workspace.accept("mine/v1")
    workspace.rename("mine", "ours")
    assert load(paths.config).adapter == "ours"
    assert Workspace(paths, load(paths.config)).answering(None, "org/model").adapter == "ours/v1"
    elsewhere = Workspace(paths, Settings())
    elsewhere.look_again()
    assert elsewhere.settings.adapter == "ours"


@pytest.mark.parametrize("harm", ["lineage", "folder"])
def test_the_loss_of_the_accepted_version_is_told(workspace: Workspace, paths: Paths, harm: str) -> None:
    publish(workspace.registry), publish(workspace.registry)
    workspace.accept("mine/v2")
    folder = paths.adapter("mine", 2)
    if harm == "lineage":
        (folder / "lineage.json").write_bytes(b"{")
    else:
        folder.rename(paths.home / "elsewhere")
    found = workspace.answering(None, "org/model")
    assert (
        found.adapter == "base" and isinstance(found.problem, AdapterDamaged) and "base answers" in found.problem.data
    )


def test_an_adapter_that_is_being_trained_is_not_renamed(workspace: Workspace, paths: Paths) -> None:
    publish(workspace.registry), publish(workspace.registry, "other")
    worlds.take_up(worlds.run_folder(paths, "r1", parent="other/v1"))
    for act in (lambda: workspace.rename("mine", "ours"), lambda: workspace.remove("other/v1")):
        with pytest.raises(UsageError, match="A run is training mine from other/v1"):
            act()
    events.append(paths.run("r1"), events.RunCancelled())
    workspace.rename("mine", "ours")


# records


def test_records_follow_renames_and_removals(workspace: Workspace, paths: Paths) -> None:
    worlds.fill_corpus(paths, 4)
    publish(workspace.registry)
    store, identity = workspace.store, workspace.registry.identity("mine/v1")
    store.mark_trained([1], identity, address="mine/v1")
    workspace.rename("mine", "ours")
    assert workspace.name_versions() and not workspace.name_versions()
    assert store.trained_in(1) == ("ours/v1",)
    workspace.remove("ours")
    workspace.name_versions()
    assert store.trained_in(1) == ("ours/v1 (removed)",)
    workspace.close()
    publish(workspace.registry, "ours")
    with Workspace(paths, Settings()).store as again:
        assert again.trained_in(1) == ("ours/v1 (removed)",)


def test_addresses_that_older_programs_recorded_are_connected_once(paths: Paths, tmp_path: Path) -> None:
    worlds.fill_corpus(paths, 6)
    registry = Registry(paths)
    publish(registry), publish(registry)
    registry.remove("mine/v2")
    from corpora.store import Store

    with Store(paths.corpus) as old:
        for exchange, address in enumerate(("mine/v1", "mine/v2", "lost/v1"), start=1):
            old.mark_trained([exchange], address)
    with Workspace(paths, Settings()).store as store:
        found = [store.trained_in(exchange) for exchange in (1, 2, 3)]
        assert found == [("mine/v1",), ("mine/v2 (removed)",), ("lost/v1 (removed)",)]
    registry.rename("mine", "ours")
    publish(registry, "lost"), publish(registry, "mine")
    with Workspace(paths, Settings()).store as store:
        found = [store.trained_in(exchange) for exchange in (1, 2, 3)]
        assert found == [("ours/v1",), ("ours/v2 (removed)",), ("lost/v1 (removed)",)]
